// libamdhip64: devices, streams and memory of our own making; the rest is the cpu provider's.
//
// "Device" memory is host memory that this library handed out, or that a test declared to be a
// device's. Streams are names: everything runs at once.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "journal.hpp"
#include "mioconv/abi/miopen.h"

namespace fake {
namespace {

struct Range {
    std::size_t bytes;
    int device, kind;  // kind: 0 device, 1 managed, 2 host
    bool allocated;    // here, by hipMalloc
};
std::mutex& ranges_mutex() {
    static auto* const mutex = new std::mutex;
    return *mutex;
}
std::map<const char*, Range>& ranges() {
    static auto* const all = new std::map<const char*, Range>;
    return *all;
}

hipError_t no_device() {
    // What the runtime answers without a device: NoDevice, or another status by option.
    const auto status = option("no_device");
    return status ? static_cast<hipError_t>(status) : hipSuccess;
}

hipError_t allocate(void** out, std::size_t bytes) {
    if (no_device() != hipSuccess) return no_device();
    const auto limit = option("memory");
    if (limit && bytes > static_cast<std::size_t>(limit)) return hipErrorOutOfMemory;
    void* data = std::aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!data) return hipErrorOutOfMemory;
    // What nobody wrote must not be read: NaN in every dtype.
    std::memset(data, 0xFF, (bytes + 64) / 64 * 64);
    const std::lock_guard<std::mutex> lock(ranges_mutex());
    ranges()[static_cast<const char*>(data)] = {bytes, current_device(), 0, true};
    *out = data;
    return hipSuccess;
}

hipError_t release(void* data) {
    if (!data) return hipSuccess;
    {
        const std::lock_guard<std::mutex> lock(ranges_mutex());
        if (!ranges().erase(static_cast<const char*>(data))) return hipErrorInvalidValue;
    }
    std::free(data);
    return hipSuccess;
}

template <typename T>
hipError_t fill(T* properties, int device) {
    if (no_device() != hipSuccess) return no_device();
    if (device < 0 || device >= option("devices")) return hipErrorInvalidDevice;
    std::memset(properties, 0, sizeof *properties);
    std::strcpy(properties->name, "Recording Device");
    std::strcpy(properties->gcnArchName, device ? "gfx1100" : "gfx90a:sramecc+:xnack-");
    properties->totalGlobalMem = std::size_t{1} << 36;
    properties->multiProcessorCount = device ? 48 : 104;
    return hipSuccess;
}

template <typename T>
T fresh() {
    static std::atomic<std::uintptr_t> next{0x5000};
    return reinterpret_cast<T>(next += 16);
}

}  // namespace

// OVERRIDE(name): what this library does itself; the generated wrapper journals and calls it.
#define OVERRIDE(name) static auto name

OVERRIDE(hipGetLastError)() -> hipError_t {
    const int error = last_error();
    last_error() = 0;
    return static_cast<hipError_t>(error);
}
OVERRIDE(hipRuntimeGetVersion)(int* version) -> hipError_t {
    *version = static_cast<int>(option("hip_version"));
    return hipSuccess;
}
OVERRIDE(hipDriverGetVersion)(int* version) -> hipError_t {
    *version = static_cast<int>(option("hip_version"));
    return hipSuccess;
}
OVERRIDE(hipGetDeviceCount)(int* count) -> hipError_t {
    *count = 0;
    if (no_device() != hipSuccess) return no_device();
    *count = static_cast<int>(option("devices"));
    return hipSuccess;
}
OVERRIDE(hipGetDevice)(int* device) -> hipError_t {
    if (no_device() != hipSuccess) return no_device();
    *device = current_device();
    return hipSuccess;
}
OVERRIDE(hipSetDevice)(int device) -> hipError_t {
    if (no_device() != hipSuccess) return no_device();
    if (device < 0 || device >= option("devices")) return hipErrorInvalidDevice;
    current_device() = device;
    return hipSuccess;
}
OVERRIDE(hipDeviceGetAttribute)(int* value, hipDeviceAttribute_t attribute, int device) -> hipError_t {
    if (no_device() != hipSuccess) return no_device();
    if (device < 0 || device >= option("devices")) return hipErrorInvalidDevice;
    if (attribute != hipDeviceAttributeMemoryPoolsSupported) return hipErrorInvalidValue;
    if (option("memory_pools") < 0) return hipErrorInvalidValue;
    *value = static_cast<int>(option("memory_pools"));
    return hipSuccess;
}
OVERRIDE(hipDeviceSynchronize)() -> hipError_t { return no_device(); }
OVERRIDE(hipGetDeviceProperties)(hipDeviceProp_t* properties, int device) -> hipError_t {
    return fill(properties, device);
}
OVERRIDE(hipGetDevicePropertiesR0600)(hipDeviceProp_tR0600* properties, int device) -> hipError_t {
    return fill(properties, device);
}
OVERRIDE(hipMalloc)(void** data, size_t bytes) -> hipError_t { return allocate(data, bytes); }
OVERRIDE(hipFree)(void* data) -> hipError_t { return release(data); }
OVERRIDE(hipMallocAsync)(void** data, size_t bytes, hipStream_t) -> hipError_t {
    return option("memory_pools") > 0 ? allocate(data, bytes) : hipErrorNotSupported;
}
OVERRIDE(hipFreeAsync)(void* data, hipStream_t) -> hipError_t { return release(data); }
OVERRIDE(hipMemcpyAsync)
(void* to, const void* from, size_t bytes, hipMemcpyKind, hipStream_t) -> hipError_t {
    std::memmove(to, from, bytes);
    return hipSuccess;
}
OVERRIDE(hipPointerGetAttributes)
(hipPointerAttribute_t* attributes, const void* pointer) -> hipError_t {
    if (no_device() != hipSuccess) return no_device();
    const bool hip6 = option("hip_version") >= 60000000;
    *attributes = {};
    const std::lock_guard<std::mutex> lock(ranges_mutex());
    auto found = ranges().upper_bound(static_cast<const char*>(pointer));
    if (found != ranges().begin()) {
        --found;
        if (static_cast<const char*>(pointer) < found->first + found->second.bytes) {
            // Host, device, managed: the numbers moved with HIP 6.
            const int types5[] = {hipMemoryTypeDevice_5, hipMemoryTypeUnified_5, hipMemoryTypeHost_5};
            const int types6[] = {hipMemoryTypeDevice_6, hipMemoryTypeManaged_6, hipMemoryTypeHost_6};
            attributes->type = (hip6 ? types6 : types5)[found->second.kind];
            attributes->device = found->second.device;
            attributes->isManaged = found->second.kind == 1;
            return hipSuccess;
        }
    }
    // Memory that HIP never saw: HIP 5 refuses, HIP 6 has a word for it.
    if (!hip6) return hipErrorInvalidValue;
    attributes->type = hipMemoryTypeUnregistered_6;
    return hipSuccess;
}
OVERRIDE(hipStreamCreateWithFlags)(hipStream_t* stream, unsigned int) -> hipError_t {
    *stream = fresh<hipStream_t>();
    return hipSuccess;
}
OVERRIDE(hipStreamDestroy)(hipStream_t) -> hipError_t { return hipSuccess; }
OVERRIDE(hipStreamSynchronize)(hipStream_t) -> hipError_t { return hipSuccess; }
OVERRIDE(hipStreamWaitEvent)(hipStream_t, hipEvent_t, unsigned int) -> hipError_t {
    return hipSuccess;
}
OVERRIDE(hipStreamIsCapturing)(hipStream_t, hipStreamCaptureStatus* status) -> hipError_t {
    *status = static_cast<hipStreamCaptureStatus>(option("capture"));
    return hipSuccess;
}
OVERRIDE(hipStreamGetDevice)(hipStream_t, hipDevice_t* device) -> hipError_t {
    *device = current_device();
    return hipSuccess;
}

}  // namespace fake

// Declares memory of the test to be a device's (kind 0), managed (1) or pinned host memory (2);
// 0 bytes: it no longer is.
FAKE_EXPORT void fake_own(const void* data, std::size_t bytes, int device, int kind) {
    const std::lock_guard<std::mutex> lock(fake::ranges_mutex());
    if (bytes)
        fake::ranges()[static_cast<const char*>(data)] = {bytes, device, kind, false};
    else
        fake::ranges().erase(static_cast<const char*>(data));
}

FAKE_EXPORT int fake_allocations() {
    const std::lock_guard<std::mutex> lock(fake::ranges_mutex());
    int count = 0;
    for (const auto& entry : fake::ranges()) count += entry.second.allocated;
    return count;
}

// The device that is current for the calling thread, without a call being recorded.
FAKE_EXPORT int fake_current_device() { return fake::current_device(); }
FAKE_EXPORT void fake_make_current(int device) { fake::current_device() = device; }

#include "hip_wrappers.inc"
