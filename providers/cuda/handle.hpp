// MIOpen's handle: a cuDNN handle, a stream, and what is ready to run on them.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "common/counters.hpp"
#include "common/found.hpp"
#include "common/profile.hpp"
#include "executable.hpp"

namespace mioconv::cuda {

constexpr std::uint64_t kBestSolution = 0;  // MIOpen's "no id"

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
    // all). The one that ran last is found by one comparison.
    mioconv::cuda::Executable& executable(
        const mioconv::cuda::ConvProblem& problem, std::uint64_t solution_id);

private:
    struct Key {
        mioconv::cuda::ConvProblem problem;
        std::uint64_t solution_id;
        bool operator==(const Key& other) const noexcept {
            return solution_id == other.solution_id && problem == other.problem;
        }
    };
    struct KeyHash {
        std::size_t operator()(const Key& key) const noexcept {
            return mioconv::provider::ConvProblemHash{}(key.problem) ^ key.solution_id;
        }
    };

    hipStream_t stream_ = nullptr;
    cudnnHandle_t cudnn_ = nullptr;
    std::unordered_map<Key, std::unique_ptr<mioconv::cuda::Executable>, KeyHash> executables_;
    Key last_key_{};
    mioconv::cuda::Executable* last_ = nullptr;
};
