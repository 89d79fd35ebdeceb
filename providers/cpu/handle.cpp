#include "handle.hpp"

#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <unordered_set>

#include "common/export.hpp"
#include "common/fork_gate.hpp"
#include "common/guard.hpp"
#include "common/handle.hpp"
#include "database.hpp"
#include "dnnl_error.hpp"
#include "host_memory.hpp"

using namespace mioconv::provider;

namespace mioconv::cpu {
namespace {

constexpr std::size_t kZone = 256;
constexpr unsigned char kUntouched = 0xa5;

}  // namespace

void ScratchMemory::Free::operator()(void* memory) const noexcept { std::free(memory); }

void* ScratchMemory::at_least(std::size_t bytes) {
    if (bytes > SIZE_MAX - kZone) throw std::bad_alloc();
    if (memory_ == nullptr || bytes > size_) {
        size_ = 0;
        memory_.reset();
        memory_.reset(allocate_host(bytes + kZone));
        if (memory_ == nullptr) throw std::bad_alloc();
        size_ = bytes;
    }
    std::memset(static_cast<char*>(memory_.get()) + bytes, kUntouched, kZone);
    return memory_.get();
}

bool ScratchMemory::intact(std::size_t bytes) const noexcept {
    const auto* const zone = static_cast<const unsigned char*>(memory_.get()) + bytes;
    return std::all_of(zone, zone + kZone, [](unsigned char byte) { return byte == kUntouched; });
}

}  // namespace mioconv::cpu

namespace {

// All handles there are, for trimming what they keep.
struct Handles {
    std::mutex mutex;
    std::unordered_set<miopenHandle*> all;
};

Handles& handles() {
    // Never destroyed: threads may use handles while the process ends.
    static auto* const instance = new Handles;
    return *instance;
}

mioconv::cpu::SolutionPtr choose(
    const mioconv::cpu::ConvProblem& problem, std::uint64_t solution_id) {
    const auto entry = mioconv::cpu::lookup(problem);
    if (solution_id != mioconv::cpu::kBestSolution) {
        auto solution = entry->find(solution_id);
        require(solution != nullptr);
        return solution;
    }
    const auto ranked = entry->ranked();
    require(!ranked.empty(), miopenStatusUnsupportedOp);
    return ranked.front().solution;
}

}  // namespace

miopenHandle::miopenHandle()
    : stream_object_([] {
          const ForkGate gate;
          return dnnl::stream(mioconv::cpu::engine());
      }()),
      dnnl_stream_(stream_object_.get()) {
    const ForkGate gate;
    std::lock_guard lock(handles().mutex);
    handles().all.insert(this);
}

miopenHandle::~miopenHandle() {
    const ForkGate gate;
    std::lock_guard lock(handles().mutex);
    handles().all.erase(this);
}

void miopenHandle::sweep() {
    executables_.sweep([](const auto& executable) { return executable.solution().retired(); });
}

mioconv::cpu::Executable& miopenHandle::executable(
    const mioconv::cpu::ConvProblem& problem, std::uint64_t solution_id) {
    return executables_.get(problem, solution_id, [&] {
        const ForkGate gate;
        auto solution = choose(problem, solution_id);
        // That may have made others leave.
        sweep();
        return std::make_unique<mioconv::cpu::Executable>(std::move(solution));
    });
}

namespace mioconv::provider {

Profile& profile_of(miopenHandle& handle) noexcept { return handle.profile; }

miopenHandle* make_handle(hipStream_t stream) {
    auto* const handle = new miopenHandle;
    handle->stream = stream;
    return handle;
}

void destroy_handle(miopenHandle* handle) { delete handle; }

void set_stream(miopenHandle& handle, hipStream_t stream) {
    std::lock_guard lock(handle.mutex);
    handle.stream = stream;
}

hipStream_t get_stream(miopenHandle& handle) {
    std::lock_guard lock(handle.mutex);
    return handle.stream;
}

}  // namespace mioconv::provider

MIOCONV_EXPORT miopenStatus_t mioconvSetCacheCapacity(size_t problems) {
    return guarded({__func__}, [&] { mioconv::cpu::set_capacity(problems); });
}

MIOCONV_EXPORT miopenStatus_t mioconvTrimCache(size_t problems) {
    return guarded({__func__}, [&] {
        mioconv::cpu::trim(problems);
        const ForkGate gate;
        std::lock_guard lock(handles().mutex);
        for (miopenHandle* handle : handles().all) {
            // One that is in use does it when it meets another problem.
            std::unique_lock own(handle->mutex, std::try_to_lock);
            if (!own.owns_lock()) continue;
            handle->sweep();
            handle->scratch.release();
        }
        // Descriptors are many small pieces, which the allocator would keep.
        malloc_trim(0);
    });
}
