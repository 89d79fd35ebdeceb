// MIOpen's handle: a stream, and the executables that were made on it.
#pragma once

#include <dnnl.hpp>
#include <memory>
#include <mutex>

#include "common/counters.hpp"
#include "common/executables.hpp"
#include "common/found.hpp"
#include "common/profile.hpp"
#include "executable.hpp"

namespace mioconv::cpu {

using provider::kBestSolution;

// Memory that grows and is kept, for calls whose ABI hands over no workspace, and behind which
// their caller cannot look.
class ScratchMemory {
public:
    // So many bytes, with a zone behind them that nobody may write to.
    void* at_least(std::size_t bytes);
    // Whether the zone behind so many bytes, as were asked for last, is as it was.
    bool intact(std::size_t bytes) const noexcept;
    void release() noexcept {
        memory_.reset();
        size_ = 0;
    }

private:
    struct Free {
        void operator()(void* memory) const noexcept;
    };
    std::unique_ptr<void, Free> memory_;
    std::size_t size_ = 0;
};

}  // namespace mioconv::cpu

// MIOpen's handles are for one thread at a time. The mutex, uncontended when that is kept to, makes
// sure that a caller who does not corrupts nothing.
struct miopenHandle : mioconv::provider::Counted<&mioconv::provider::Counters::handles> {
public:
    miopenHandle();
    ~miopenHandle();

    std::mutex mutex;
    mioconv::provider::Profile profile;
    hipStream_t stream = nullptr;

    // The rest needs `mutex` held.

    mioconv::provider::FoundProblems found;

    // The solution of that id, ready to run; BadParm if the problem has none. With kBestSolution
    // the one that ranks first when it is first asked for (UnsupportedOp if the problem has none at
    // all).
    mioconv::cpu::Executable& executable(
        const mioconv::cpu::ConvProblem& problem, std::uint64_t solution_id);

    // Lets go of the executables of forgotten problems.
    void sweep();

    dnnl_stream_t dnnl_stream() const noexcept { return dnnl_stream_; }
    mioconv::cpu::ScratchMemory scratch;

private:
    dnnl::stream stream_object_;
    dnnl_stream_t dnnl_stream_;
    mioconv::provider::Executables<mioconv::cpu::Executable> executables_;
};
