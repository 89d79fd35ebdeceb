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

constexpr std::size_t kMaxExecutables = 2048;

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
    for (auto at = executables_.begin(); at != executables_.end();) {
        if (!at->second->solution().retired()) {
            ++at;
            continue;
        }
        if (last_ == at->second.get()) last_ = nullptr;
        at = executables_.erase(at);
    }
}

mioconv::cpu::Executable& miopenHandle::executable(
    const mioconv::cpu::ConvProblem& problem, std::uint64_t solution_id) {
    if (__builtin_expect(
            last_ != nullptr && last_key_.solution_id == solution_id &&
                last_key_.problem == problem,
            1)) {
        return *last_;
    }
    const Key key{problem, solution_id};
    auto found = executables_.find(key);
    if (found == executables_.end()) {
        const ForkGate gate;
        auto solution = choose(problem, solution_id);
        // That may have made others leave.
        sweep();
        if (executables_.size() >= kMaxExecutables) {
            last_ = nullptr;
            executables_.clear();
        }
        auto made = std::make_unique<mioconv::cpu::Executable>(std::move(solution));
        found = executables_.emplace(key, std::move(made)).first;
    }
    last_key_ = key;
    last_ = found->second.get();
    return *last_;
}

namespace mioconv::provider {
Profile& profile_of(miopenHandle& handle) noexcept { return handle.profile; }
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

MIOCONV_EXPORT miopenStatus_t miopenCreate(miopenHandle_t* handle) {
    return guarded({__func__}, [&] { deref(handle) = new miopenHandle; });
}

MIOCONV_EXPORT miopenStatus_t
miopenCreateWithStream(miopenHandle_t* handle, miopenAcceleratorQueue_t stream) {
    return guarded({__func__}, [&] {
        deref(handle) = new miopenHandle;
        (*handle)->stream = stream;
    });
}

MIOCONV_EXPORT miopenStatus_t miopenDestroy(miopenHandle_t handle) {
    return guarded({__func__}, [&] { delete handle; });
}

MIOCONV_EXPORT miopenStatus_t
miopenSetStream(miopenHandle_t handle, miopenAcceleratorQueue_t streamID) {
    return guarded({__func__}, [&] {
        std::lock_guard lock(deref(handle).mutex);
        handle->stream = streamID;
    });
}

MIOCONV_EXPORT miopenStatus_t
miopenGetStream(miopenHandle_t handle, miopenAcceleratorQueue_t* streamID) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && streamID != nullptr);
        std::lock_guard lock(handle->mutex);
        *streamID = handle->stream;
    });
}
