#include "handle.hpp"

#include "common/export.hpp"
#include "common/guard.hpp"

using namespace mioconv::provider;

namespace {

constexpr std::size_t kMaxExecutables = 2048;

mioconv::cuda::SolutionPtr choose(
    const mioconv::cuda::ConvProblem& problem, std::uint64_t solution_id) {
    const auto entry = mioconv::cuda::lookup(problem);
    if (solution_id != mioconv::cuda::kBestSolution) {
        auto solution = entry->find(solution_id);
        require(solution != nullptr);
        return solution;
    }
    const auto ranked = entry->ranked(mioconv::cuda::Extent::first);
    require(!ranked.empty(), miopenStatusUnsupportedOp);
    return ranked.front().solution;
}

}  // namespace

miopenHandle::miopenHandle(hipStream_t stream) : device(mioconv::cuda::current_device()) {
    using mioconv::cuda::check;
    check(mioconv::cuda::cudnn().cudnnCreate(&cudnn_));
    try {
        set_stream(stream);
    } catch (...) {
        mioconv::cuda::cudnn().cudnnDestroy(cudnn_);
        throw;
    }
}

miopenHandle::~miopenHandle() { mioconv::cuda::cudnn().cudnnDestroy(cudnn_); }

void miopenHandle::set_stream(hipStream_t stream) {
    // A new handle is on the null stream.
    if (stream == stream_) return;
    mioconv::cuda::check(
        mioconv::cuda::cudnn().cudnnSetStream(cudnn_, mioconv::cuda::to_cuda(stream)));
    stream_ = stream;
}

mioconv::cuda::Executable& miopenHandle::executable(
    const mioconv::cuda::ConvProblem& problem, std::uint64_t solution_id) {
    if (__builtin_expect(
            last_ != nullptr && last_key_.solution_id == solution_id &&
                last_key_.problem == problem,
            1)) {
        return *last_;
    }
    const Key key{problem, solution_id};
    auto found = executables_.find(key);
    if (found == executables_.end()) {
        auto solution = choose(problem, solution_id);
        if (executables_.size() >= kMaxExecutables) {
            last_ = nullptr;
            executables_.clear();
        }
        auto made = std::make_unique<mioconv::cuda::Executable>(problem, std::move(solution));
        found = executables_.emplace(key, std::move(made)).first;
    }
    last_key_ = key;
    last_ = found->second.get();
    return *last_;
}

namespace mioconv::provider {
Profile& profile_of(miopenHandle& handle) noexcept { return handle.profile; }
}  // namespace mioconv::provider

MIOCONV_EXPORT miopenStatus_t miopenCreate(miopenHandle_t* handle) {
    return guarded({__func__}, [&] { deref(handle) = new miopenHandle(nullptr); });
}

MIOCONV_EXPORT miopenStatus_t
miopenCreateWithStream(miopenHandle_t* handle, miopenAcceleratorQueue_t stream) {
    return guarded({__func__}, [&] { deref(handle) = new miopenHandle(stream); });
}

MIOCONV_EXPORT miopenStatus_t miopenDestroy(miopenHandle_t handle) {
    return guarded({__func__}, [&] { delete handle; });
}

MIOCONV_EXPORT miopenStatus_t
miopenSetStream(miopenHandle_t handle, miopenAcceleratorQueue_t streamID) {
    return guarded({__func__}, [&] {
        std::lock_guard lock(deref(handle).mutex);
        handle->set_stream(streamID);
    });
}

MIOCONV_EXPORT miopenStatus_t
miopenGetStream(miopenHandle_t handle, miopenAcceleratorQueue_t* streamID) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && streamID != nullptr);
        std::lock_guard lock(handle->mutex);
        *streamID = handle->stream();
    });
}
