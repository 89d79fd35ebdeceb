// HIP's memory calls on host memory. Everything is done when the call returns.
#include <sys/sysinfo.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "common/export.hpp"
#include "common/fork_gate.hpp"
#include "common/guard.hpp"
#include "host_memory.hpp"

using namespace mioconv::provider;

namespace {

// What hipMalloc has handed out, by address, so that hipFree can refuse what is not ours and the
// counters know sizes.
struct Allocations {
    std::mutex mutex;
    std::map<const char*, std::size_t> sizes;
};

Allocations& allocations() {
    static auto* const instance = new Allocations;
    return *instance;
}

hipError_t allocate(void** out, std::size_t size) {
    hip_require(out != nullptr);
    *out = nullptr;
    if (size == 0) return hipSuccess;  // as HIP: success and a null pointer
    void* memory = mioconv::cpu::allocate_host(size);
    hip_require(memory != nullptr, hipErrorOutOfMemory);
    Allocations& all = allocations();
    try {
        const ForkGate gate;
        std::lock_guard lock(all.mutex);
        all.sizes.emplace(static_cast<const char*>(memory), size);
    } catch (...) {
        std::free(memory);
        throw;
    }
    counters().allocations.add();
    counters().bytes_allocated.fetch_add(size, std::memory_order_relaxed);
    *out = memory;
    return hipSuccess;
}

hipError_t release(void* memory) {
    if (memory == nullptr) return hipSuccess;
    Allocations& all = allocations();
    {
        const ForkGate gate;
        std::lock_guard lock(all.mutex);
        const auto found = all.sizes.find(static_cast<const char*>(memory));
        hip_require(found != all.sizes.end());
        counters().bytes_allocated.fetch_sub(found->second, std::memory_order_relaxed);
        all.sizes.erase(found);
    }
    counters().allocations.remove();
    std::free(memory);
    return hipSuccess;
}

bool is_ours(const void* pointer) {
    Allocations& all = allocations();
    const auto* address = static_cast<const char*>(pointer);
    const ForkGate gate;
    std::lock_guard lock(all.mutex);
    auto next = all.sizes.upper_bound(address);
    if (next == all.sizes.begin()) return false;
    --next;
    return address < next->first + next->second;
}

}  // namespace

MIOCONV_EXPORT hipError_t hipMalloc(void** ptr, size_t size) {
    return hip_guarded({__func__, size}, [&] { return allocate(ptr, size); });
}

MIOCONV_EXPORT hipError_t hipFree(void* ptr) {
    return hip_guarded({__func__}, [&] { return release(ptr); });
}

MIOCONV_EXPORT hipError_t hipMallocAsync(void** dev_ptr, size_t size, hipStream_t) {
    return hip_guarded({__func__, size}, [&] { return allocate(dev_ptr, size); });
}

MIOCONV_EXPORT hipError_t hipFreeAsync(void* dev_ptr, hipStream_t) {
    return hip_guarded({__func__}, [&] { return release(dev_ptr); });
}

// The device says that it has no memory pools; the calls exist and say so too.
MIOCONV_EXPORT hipError_t hipDeviceGetDefaultMemPool(hipMemPool_t* mem_pool, int) {
    return hip_guarded({__func__}, [&] {
        hip_require(mem_pool != nullptr);
        return hipErrorNotSupported;
    });
}

MIOCONV_EXPORT hipError_t hipMemPoolSetAttribute(hipMemPool_t, hipMemPoolAttr, void*) {
    return hip_guarded({__func__}, [] { return hipErrorNotSupported; });
}

MIOCONV_EXPORT hipError_t hipMemPoolTrimTo(hipMemPool_t, size_t) {
    return hip_guarded({__func__}, [] { return hipErrorNotSupported; });
}

MIOCONV_EXPORT hipError_t
hipMemcpyAsync(void* dst, const void* src, size_t sizeBytes, hipMemcpyKind kind, hipStream_t) {
    return hip_guarded({__func__}, [&] {
        hip_require(kind >= hipMemcpyHostToHost && kind <= hipMemcpyDefault);
        if (sizeBytes == 0) return hipSuccess;
        hip_require(dst != nullptr && src != nullptr);
        std::memmove(dst, src, sizeBytes);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipMemsetAsync(void* dst, int value, size_t sizeBytes, hipStream_t) {
    return hip_guarded({__func__}, [&] {
        if (sizeBytes == 0) return hipSuccess;
        hip_require(dst != nullptr);
        std::memset(dst, value, sizeBytes);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipMemGetInfo(size_t* free, size_t* total) {
    return hip_guarded({__func__}, [&] {
        hip_require(free != nullptr && total != nullptr);
        struct sysinfo info {};
        hip_require(sysinfo(&info) == 0, hipErrorOperatingSystem);
        *total = static_cast<size_t>(info.totalram) * info.mem_unit;
        *free = static_cast<size_t>(info.freeram + info.bufferram) * info.mem_unit;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t
hipPointerGetAttributes(hipPointerAttribute_t* attributes, const void* ptr) {
    return hip_guarded({__func__}, [&] {
        hip_require(attributes != nullptr && ptr != nullptr);
        *attributes = {};
        // Values of HIP 6, the version that we report. All of it is host memory.
        attributes->type = is_ours(ptr) ? hipMemoryTypeHost_6 : hipMemoryTypeUnregistered_6;
        attributes->devicePointer = attributes->hostPointer = const_cast<void*>(ptr);
        return hipSuccess;
    });
}
