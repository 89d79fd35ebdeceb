// Device memory, which is host memory with a guard behind it.
#include "hip_state.hpp"

using namespace standin;

namespace {

// The allocation that holds `p`; the lock is held.
std::map<char*, Allocation>::iterator holder(const void* p) {
    auto& all = state().memory;
    auto found = all.upper_bound(static_cast<char*>(const_cast<void*>(p)));
    if (found == all.begin()) return all.end();
    --found;
    return static_cast<const char*>(p) < found->first + found->second.bytes ? found : all.end();
}
bool inside(const void* p, std::size_t bytes, const char* what) {
    if (!p) return false;
    Lock lock(state().mutex);
    const auto found = holder(p);
    // Memory of others (a test's NumPy arrays) is taken as it is.
    if (found == state().memory.end()) return true;
    if (static_cast<const char*>(p) + bytes <= found->first + found->second.bytes) return true;
    misuse(std::string(what) + " past the end of an allocation");
    return false;
}
hipError_t allocate(void** out, std::size_t bytes, bool host) {
    if (!out) return hipErrorInvalidValue;
    *out = nullptr;
    if (bytes == 0) return hipSuccess;
    Lock lock(state().mutex);
    if (!host && state().live + bytes > memory_of_a_device()) return hipErrorOutOfMemory;
    const bool fill = *setting("STANDIN_FILL");
    // calloc gives untouched pages for large blocks; 256 bytes is what HIP aligns to.
    auto* p = static_cast<char*>(
        bytes < (1u << 20) ? std::aligned_alloc(256, (bytes + kGuard + 255) / 256 * 256)
                           : std::calloc(1, bytes + kGuard + 256));
    if (!p) return hipErrorOutOfMemory;
    if (bytes >= (1u << 20)) {
        // The start of the block is kept in front of the aligned address.
        auto* block = p;
        p += 256 - reinterpret_cast<std::uintptr_t>(p) % 256;
        std::memcpy(p - sizeof block, &block, sizeof block);
    }
    if (fill || bytes < (1u << 20))
        std::memset(p, static_cast<int>(number("STANDIN_FILL", 0)), bytes);
    std::memset(p + bytes, 0xC5, kGuard);
    state().memory[p] = {bytes, current, host};
    if (!host) state().peak = std::max(state().peak, state().live += bytes);
    *out = p;
    return hipSuccess;
}
hipError_t release(void* p, bool host) {
    if (!p) return hipSuccess;
    Lock lock(state().mutex);
    const auto found = state().memory.find(static_cast<char*>(p));
    if (found == state().memory.end() || found->second.host != host) {
        misuse("free of what is no allocation (twice?)");
        return hipErrorInvalidValue;
    }
    const Allocation a = found->second;
    if (!guard_intact(found->first, a)) misuse("bytes written past the end of an allocation");
    if (!host) state().live -= a.bytes;
    state().memory.erase(found);
    if (a.bytes < (1u << 20)) {
        std::memset(p, 0xDB, a.bytes);
        std::free(p);
    } else {
        char* block;
        std::memcpy(&block, static_cast<char*>(p) - sizeof block, sizeof block);
        std::free(block);
    }
    return hipSuccess;
}
hipError_t copy(void* to, const void* from, std::size_t bytes) {
    if (bytes == 0) return hipSuccess;
    if (!inside(to, bytes, "copy to") || !inside(from, bytes, "copy from"))
        return hipErrorInvalidValue;
    std::memmove(to, from, bytes);
    return hipSuccess;
}

}  // namespace

extern "C" {

hipError_t hipMalloc(void** p, size_t bytes) { MAY_FAIL; return done(allocate(p, bytes, false)); }
hipError_t hipFree(void* p) { MAY_FAIL; return done(release(p, false)); }
hipError_t hipHostMalloc(void** p, size_t bytes, unsigned int) { MAY_FAIL; return done(allocate(p, bytes, true)); }
hipError_t hipHostFree(void* p) { MAY_FAIL; return done(release(p, true)); }
hipError_t hipMallocAsync(void** p, size_t bytes, hipStream_t stream) {
    MAY_FAIL;
    return done(valid(stream) ? allocate(p, bytes, false) : hipErrorInvalidHandle);
}
hipError_t hipFreeAsync(void* p, hipStream_t stream) {
    MAY_FAIL;
    return done(valid(stream) ? release(p, false) : hipErrorInvalidHandle);
}
hipError_t hipDeviceGetDefaultMemPool(hipMemPool_t* pool, int device) {
    MAY_FAIL;
    static char pools[64];
    if (!exists(device)) return done(hipErrorInvalidDevice);
    *pool = reinterpret_cast<hipMemPool_t>(pools + device);
    return hipSuccess;
}
hipError_t hipMemPoolSetAttribute(hipMemPool_t, hipMemPoolAttr, void*) { MAY_FAIL; return hipSuccess; }
hipError_t hipMemPoolTrimTo(hipMemPool_t, size_t) { MAY_FAIL; return hipSuccess; }
hipError_t hipMemcpy(void* to, const void* from, size_t bytes, hipMemcpyKind) {
    MAY_FAIL;
    return done(copy(to, from, bytes));
}
hipError_t hipMemcpyAsync(void* to, const void* from, size_t bytes, hipMemcpyKind, hipStream_t stream) {
    MAY_FAIL;
    return done(valid(stream) ? copy(to, from, bytes) : hipErrorInvalidHandle);
}
hipError_t hipMemcpyWithStream(void* to, const void* from, size_t bytes, hipMemcpyKind kind, hipStream_t s) {
    return hipMemcpyAsync(to, from, bytes, kind, s);
}
hipError_t hipMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                       hipMemcpyKind) {
    MAY_FAIL;
    for (size_t i = 0; i < height; ++i)
        if (const auto e = copy(static_cast<char*>(to) + i * to_pitch,
                                static_cast<const char*>(from) + i * from_pitch, width))
            return done(e);
    return hipSuccess;
}
hipError_t hipMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                            size_t height, hipMemcpyKind kind, hipStream_t stream) {
    MAY_FAIL;
    return valid(stream) ? hipMemcpy2D(to, to_pitch, from, from_pitch, width, height, kind) : done(hipErrorInvalidHandle);
}
hipError_t hipMemset(void* p, int value, size_t bytes) {
    MAY_FAIL;
    if (bytes && !inside(p, bytes, "memset")) return done(hipErrorInvalidValue);
    if (bytes) std::memset(p, value, bytes);
    return hipSuccess;
}
hipError_t hipMemsetAsync(void* p, int value, size_t bytes, hipStream_t stream) {
    MAY_FAIL;
    return valid(stream) ? hipMemset(p, value, bytes) : done(hipErrorInvalidHandle);
}
hipError_t hipPointerGetAttributes(hipPointerAttribute_t* a, const void* p) {
    MAY_FAIL;
    if (!a || !p) return done(hipErrorInvalidValue);
    *a = {};
    Lock lock(state().mutex);
    const auto found = holder(p);
    if (found == state().memory.end()) {
        a->type = hipMemoryTypeUnregistered;
        return hipSuccess;
    }
    a->type = found->second.host ? hipMemoryTypeHost : hipMemoryTypeDevice;
    a->device = found->second.device;
    a->devicePointer = const_cast<void*>(p);
    return hipSuccess;
}
hipError_t hipMemPtrGetInfo(void* p, size_t* bytes) {
    MAY_FAIL;
    Lock lock(state().mutex);
    const auto found = holder(p);
    if (found == state().memory.end()) return done(hipErrorInvalidValue);
    *bytes = found->second.bytes;
    return hipSuccess;
}

}  // extern "C"
