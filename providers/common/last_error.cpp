// hipGetLastError: what HIP's functions of this thread answered.
#include <utility>

#include "counters.hpp"
#include "export.hpp"
#include "guard.hpp"

namespace {

thread_local hipError_t last_error = hipSuccess;

}  // namespace

namespace mioconv::provider {
void set_last_hip_error(hipError_t error) noexcept { last_error = error; }
}  // namespace mioconv::provider

// Returns the error and clears it. Not guarded: it would record its own answer.
MIOCONV_EXPORT hipError_t hipGetLastError(void) {
    using namespace mioconv::provider;
    if (watched()) counters().count_call();
    return std::exchange(last_error, hipSuccess);
}
