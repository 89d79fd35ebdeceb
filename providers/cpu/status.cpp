// What this provider's exceptions mean, and its engine.
#include "common/guard.hpp"
#include "dnnl_error.hpp"

namespace mioconv::provider {

miopenStatus_t status_of_current_exception() noexcept {
    try {
        throw;
    } catch (const StatusError& failure) {
        return failure.status();
    } catch (const dnnl::error& failure) {
        return cpu::to_miopen(failure.status);
    } catch (const std::bad_alloc&) {
        return miopenStatusAllocFailed;
    } catch (...) {
        return miopenStatusUnknownError;
    }
}

const char* foreign_error_text(hipError_t) noexcept { return nullptr; }

}  // namespace mioconv::provider

namespace mioconv::cpu {

const dnnl::engine& engine() {
    static const auto* const instance = [] {
        // oneDNN 3.2's own cache takes reorders for one another whose descriptors differ only in
        // the strides of dimensions of size 1, and then moves the wrong elements. Ours serve
        // instead.
        check(dnnl_set_primitive_cache_capacity(0));
        return new dnnl::engine(dnnl::engine::kind::cpu, 0);
    }();
    return *instance;
}

}  // namespace mioconv::cpu
