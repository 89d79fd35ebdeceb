// MIOpen's handle: a cuDNN handle, a stream, and what is ready to run on them.
#pragma once

#include <memory>
#include <mutex>

#include "common/counters.hpp"
#include "common/executables.hpp"
#include "common/found.hpp"
#include "common/profile.hpp"
#include "executable.hpp"

namespace mioconv::cuda {

using provider::kBestSolution;

}  // namespace mioconv::cuda

// Belongs to the device that was current when it was made. MIOpen's handles are for one thread at a
// time; the mutex, uncontended when that is kept to, makes sure that a caller who does not corrupts
// nothing.
struct miopenHandle : mioconv::provider::Counted<&mioconv::provider::Counters::handles> {
public:
    explicit miopenHandle(hipStream_t stream);
    ~miopenHandle();
    miopenHandle(const miopenHandle&) = delete;
    miopenHandle& operator=(const miopenHandle&) = delete;

    const int device;
    std::mutex mutex;
    mioconv::provider::Profile profile;

    // The rest needs `mutex` held.

    mioconv::provider::FoundProblems found;

    hipStream_t stream() const noexcept { return stream_; }
    void set_stream(hipStream_t stream);
    cudnnHandle_t cudnn() const noexcept { return cudnn_; }

    // The solution of that id, ready to run; BadParm if the problem has none. With kBestSolution
    // the one that ranks first when it is first asked for (UnsupportedOp if the problem has none at
    // all).
    mioconv::cuda::Executable& executable(
        const mioconv::cuda::ConvProblem& problem, std::uint64_t solution_id);

private:
    hipStream_t stream_ = nullptr;
    cudnnHandle_t cudnn_ = nullptr;
    mioconv::provider::Executables<mioconv::cuda::Executable> executables_;
};
