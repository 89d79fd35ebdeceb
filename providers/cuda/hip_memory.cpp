// HIP's memory calls on the CUDA runtime.
#include "memory.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "common/counters.hpp"
#include "common/export.hpp"
#include "common/guard.hpp"
#include "error.hpp"

using namespace mioconv::cuda;
using namespace mioconv::provider;

namespace {

// Sizes of what was handed out, so that the counters know bytes.
struct Allocations {
    std::mutex mutex;
    std::unordered_map<const void*, std::size_t> sizes;
};

Allocations& allocations() {
    static auto* const instance = new Allocations;
    return *instance;
}

void add(const void* memory, std::size_t size) {
    Allocations& all = allocations();
    std::lock_guard lock(all.mutex);
    all.sizes[memory] = size;
    counters().allocations.add();
    counters().bytes_allocated.fetch_add(size, std::memory_order_relaxed);
}

void remove(const void* memory) {
    Allocations& all = allocations();
    std::lock_guard lock(all.mutex);
    const auto found = all.sizes.find(memory);
    if (found == all.sizes.end()) return;
    counters().allocations.remove();
    counters().bytes_allocated.fetch_sub(found->second, std::memory_order_relaxed);
    all.sizes.erase(found);
}

}  // namespace

namespace mioconv::cuda {

cudaMemPool_t memory_pool(int device) {
    static std::mutex mutex;
    static auto* const pools = new std::unordered_map<int, cudaMemPool_t>;
    std::lock_guard lock(mutex);
    cudaMemPool_t& pool = (*pools)[device];
    if (pool == nullptr) {
        cudaMemPoolProps properties{};
        properties.allocType = cudaMemAllocationTypePinned;
        properties.location.type = cudaMemLocationTypeDevice;
        properties.location.id = device;
        cudaMemPool_t made = nullptr;
        check(runtime().cudaMemPoolCreate(&made, &properties));
        // Otherwise every synchronisation gives unused memory back to the driver.
        std::uint64_t keep = UINT64_MAX;
        check(runtime().cudaMemPoolSetAttribute(made, cudaMemPoolAttrReleaseThreshold, &keep));
        pool = made;
    }
    return pool;
}

void* allocate_async(std::size_t size, cudaStream_t stream) {
    void* memory = nullptr;
    const cudaMemPool_t pool = memory_pool(current_device());
    cudaError_t error = runtime().cudaMallocFromPoolAsync(&memory, size, pool, stream);
    if (error == cudaErrorMemoryAllocation) {
        // What the pool keeps may be in pieces that do not fit.
        runtime().cudaGetLastError();
        runtime().cudaMemPoolTrimTo(pool, 0);
        error = runtime().cudaMallocFromPoolAsync(&memory, size, pool, stream);
    }
    check(error);
    return memory;
}

}  // namespace mioconv::cuda

MIOCONV_EXPORT hipError_t hipMalloc(void** ptr, size_t size) {
    return hip_guarded({__func__, size}, [&] {
        hip_require(ptr != nullptr);
        *ptr = nullptr;
        if (size == 0) return hipSuccess;  // as HIP: success and a null pointer
        check(runtime().cudaMalloc(ptr, size));
        add(*ptr, size);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipFree(void* ptr) {
    return hip_guarded({__func__}, [&] {
        if (ptr == nullptr) return hipSuccess;
        check(runtime().cudaFree(ptr));
        remove(ptr);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipMallocAsync(void** dev_ptr, size_t size, hipStream_t stream) {
    return hip_guarded({__func__, size}, [&] {
        hip_require(dev_ptr != nullptr);
        *dev_ptr = nullptr;
        if (size == 0) return hipSuccess;
        *dev_ptr = allocate_async(size, to_cuda(stream));
        add(*dev_ptr, size);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipFreeAsync(void* dev_ptr, hipStream_t stream) {
    return hip_guarded({__func__}, [&] {
        if (dev_ptr == nullptr) return hipSuccess;
        // Taken off the list first: once it is free, another thread may be given the address.
        remove(dev_ptr);
        return checked(runtime().cudaFreeAsync(dev_ptr, to_cuda(stream)));
    });
}

// The pool that hipMallocAsync takes from: ours, so that its settings are nobody else's.
MIOCONV_EXPORT hipError_t hipDeviceGetDefaultMemPool(hipMemPool_t* mem_pool, int device) {
    return hip_guarded({__func__}, [&] {
        hip_require(mem_pool != nullptr);
        *mem_pool = reinterpret_cast<hipMemPool_t>(memory_pool(device));
        return hipSuccess;
    });
}

// HIP's attributes have CUDA's numbers.
MIOCONV_EXPORT hipError_t
hipMemPoolSetAttribute(hipMemPool_t mem_pool, hipMemPoolAttr attr, void* value) {
    return hip_guarded({__func__}, [&] {
        hip_require(mem_pool != nullptr && value != nullptr);
        return checked(runtime().cudaMemPoolSetAttribute(
            reinterpret_cast<cudaMemPool_t>(mem_pool), static_cast<cudaMemPoolAttr>(attr), value));
    });
}

MIOCONV_EXPORT hipError_t hipMemPoolTrimTo(hipMemPool_t mem_pool, size_t min_bytes_to_hold) {
    return hip_guarded({__func__}, [&] {
        hip_require(mem_pool != nullptr);
        return checked(runtime().cudaMemPoolTrimTo(
            reinterpret_cast<cudaMemPool_t>(mem_pool), min_bytes_to_hold));
    });
}

MIOCONV_EXPORT hipError_t hipMemcpyAsync(
    void* dst, const void* src, size_t sizeBytes, hipMemcpyKind kind, hipStream_t stream) {
    return hip_guarded({__func__}, [&] {
        hip_require(kind >= hipMemcpyHostToHost && kind <= hipMemcpyDefault);
        if (sizeBytes == 0) return hipSuccess;
        hip_require(dst != nullptr && src != nullptr);
        return checked(runtime().cudaMemcpyAsync(
            dst, src, sizeBytes, static_cast<cudaMemcpyKind>(kind), to_cuda(stream)));
    });
}

MIOCONV_EXPORT hipError_t
hipMemsetAsync(void* dst, int value, size_t sizeBytes, hipStream_t stream) {
    return hip_guarded({__func__}, [&] {
        if (sizeBytes == 0) return hipSuccess;
        hip_require(dst != nullptr);
        return checked(runtime().cudaMemsetAsync(dst, value, sizeBytes, to_cuda(stream)));
    });
}

MIOCONV_EXPORT hipError_t hipMemGetInfo(size_t* free, size_t* total) {
    return hip_guarded({__func__}, [&] {
        hip_require(free != nullptr && total != nullptr);
        return checked(runtime().cudaMemGetInfo(free, total));
    });
}

MIOCONV_EXPORT hipError_t
hipPointerGetAttributes(hipPointerAttribute_t* attributes, const void* ptr) {
    return hip_guarded({__func__}, [&] {
        hip_require(attributes != nullptr && ptr != nullptr);
        union {
            cudaPointerAttributes found;
            char room[512];  // later releases have a larger one
        } u;
        std::memset(&u, 0, sizeof u);
        check(runtime().cudaPointerGetAttributes(&u.found, ptr));
        *attributes = {};
        // The numbers of HIP 6, the version that we report, are CUDA's.
        attributes->type = static_cast<int>(u.found.type);
        attributes->device = u.found.device;
        attributes->devicePointer = u.found.devicePointer;
        attributes->hostPointer = u.found.hostPointer;
        attributes->isManaged = u.found.type == cudaMemoryTypeManaged ? 1 : 0;
        return hipSuccess;
    });
}
