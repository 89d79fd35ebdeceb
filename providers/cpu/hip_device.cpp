// HIP's device calls: one device, the CPU.
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstring>

#include "common/export.hpp"
#include "common/guard.hpp"
#include "cpu_info.hpp"
#include "threads.hpp"

using namespace mioconv::provider;

namespace {

// HIP 6: memory-type values and property layouts follow from it.
constexpr int kHipVersion = 60000000;

template <std::size_t size>
void copy_name(char (&to)[size], const std::string& from) {
    const std::size_t length = std::min(size - 1, from.size());
    std::memcpy(to, from.c_str(), length);
    to[length] = '\0';
}

template <class Properties>
hipError_t fill(Properties* properties, int device) {
    hip_require(properties != nullptr);
    hip_require(device == 0, hipErrorInvalidDevice);
    struct sysinfo memory {};
    hip_require(sysinfo(&memory) == 0, hipErrorOperatingSystem);
    *properties = {};
    copy_name(properties->name, mioconv::cpu::cpu_model());
    copy_name(properties->gcnArchName, mioconv::cpu::instruction_set());
    properties->totalGlobalMem = static_cast<size_t>(memory.totalram) * memory.mem_unit;
    properties->multiProcessorCount = mioconv::cpu::thread_limit();
    return hipSuccess;
}

hipError_t version(int* out) {
    hip_require(out != nullptr);
    *out = kHipVersion;
    return hipSuccess;
}

}  // namespace

MIOCONV_EXPORT hipError_t hipRuntimeGetVersion(int* runtimeVersion) {
    return hip_guarded({__func__}, [&] { return version(runtimeVersion); });
}

MIOCONV_EXPORT hipError_t hipDriverGetVersion(int* driverVersion) {
    return hip_guarded({__func__}, [&] { return version(driverVersion); });
}

MIOCONV_EXPORT hipError_t hipGetDeviceCount(int* count) {
    return hip_guarded({__func__}, [&] {
        hip_require(count != nullptr);
        *count = 1;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipGetDevice(int* deviceId) {
    return hip_guarded({__func__}, [&] {
        hip_require(deviceId != nullptr);
        *deviceId = 0;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipSetDevice(int deviceId) {
    return hip_guarded(
        {__func__}, [&] { return deviceId == 0 ? hipSuccess : hipErrorInvalidDevice; });
}

MIOCONV_EXPORT hipError_t hipDeviceGetAttribute(int* pi, hipDeviceAttribute_t attr, int deviceId) {
    return hip_guarded({__func__}, [&] {
        hip_require(pi != nullptr);
        hip_require(deviceId == 0, hipErrorInvalidDevice);
        switch (attr) {
            case hipDeviceAttributeMultiprocessorCount: *pi = mioconv::cpu::thread_limit(); break;
            case hipDeviceAttributeComputeCapabilityMajor:
            case hipDeviceAttributeComputeCapabilityMinor:
            case hipDeviceAttributeMemoryPoolsSupported: *pi = 0; break;
            default: return hipErrorInvalidValue;
        }
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipDeviceSynchronize(void) {
    return hip_guarded({__func__}, [] { return hipSuccess; });
}

MIOCONV_EXPORT hipError_t hipGetDeviceProperties(hipDeviceProp_t* prop, int deviceId) {
    return hip_guarded({__func__}, [&] { return fill(prop, deviceId); });
}

MIOCONV_EXPORT hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600* prop, int deviceId) {
    return hip_guarded({__func__}, [&] { return fill(prop, deviceId); });
}
