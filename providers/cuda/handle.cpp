#include "handle.hpp"

#include "common/guard.hpp"
#include "common/handle.hpp"

using namespace mioconv::provider;

namespace {

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
    return executables_.get(problem, solution_id, [&] {
        return std::make_unique<mioconv::cuda::Executable>(problem, choose(problem, solution_id));
    });
}

namespace mioconv::provider {

Profile& profile_of(miopenHandle& handle) noexcept { return handle.profile; }

miopenHandle* make_handle(hipStream_t stream) { return new miopenHandle(stream); }

void destroy_handle(miopenHandle* handle) { delete handle; }

void set_stream(miopenHandle& handle, hipStream_t stream) {
    std::lock_guard lock(handle.mutex);
    handle.set_stream(stream);
}

hipStream_t get_stream(miopenHandle& handle) {
    std::lock_guard lock(handle.mutex);
    return handle.stream();
}

}  // namespace mioconv::provider
