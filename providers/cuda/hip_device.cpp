// HIP's device calls on the CUDA runtime.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "common/export.hpp"
#include "common/guard.hpp"
#include "compiling.hpp"
#include "error.hpp"

using namespace mioconv::cuda;
using namespace mioconv::provider;

namespace {

// HIP 6: memory-type values and property layouts follow from it. CUDA's own version is in
// mioconvDescribe.
constexpr int kHipVersion = 60000000;

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    check(runtime().cudaDeviceGetAttribute(&value, which, device));
    return value;
}

// The struct of CUDA's own properties differs between majors: attribute by attribute does not.
template <class Properties>
hipError_t fill(Properties* properties, int device) {
    hip_require(properties != nullptr);
    *properties = {};
    const std::string architecture = architecture_of(device);
    std::memcpy(properties->gcnArchName, architecture.c_str(), architecture.size() + 1);
    properties->multiProcessorCount = attribute(cudaDevAttrMultiProcessorCount, device);
    properties->pciBusID = attribute(cudaDevAttrPciBusId, device);
    CUdevice handle = 0;
    check(driver().cuDeviceGet(&handle, device));
    check(driver().cuDeviceGetName(properties->name, sizeof properties->name, handle));
    check(driver().cuDeviceTotalMem_v2(&properties->totalGlobalMem, handle));
    return hipSuccess;
}

}  // namespace

// Says which HIP this ABI is, but only where CUDA is there to stand behind it.
MIOCONV_EXPORT hipError_t hipRuntimeGetVersion(int* runtimeVersion) {
    return hip_guarded({__func__}, [&] {
        hip_require(runtimeVersion != nullptr);
        runtime();
        *runtimeVersion = kHipVersion;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipDriverGetVersion(int* driverVersion) {
    return hip_guarded({__func__}, [&] {
        hip_require(driverVersion != nullptr);
        return checked(runtime().cudaDriverGetVersion(driverVersion));
    });
}

MIOCONV_EXPORT hipError_t hipGetDeviceCount(int* count) {
    return hip_guarded({__func__}, [&] {
        hip_require(count != nullptr);
        return checked(runtime().cudaGetDeviceCount(count));
    });
}

MIOCONV_EXPORT hipError_t hipGetDevice(int* deviceId) {
    return hip_guarded({__func__}, [&] {
        hip_require(deviceId != nullptr);
        return checked(runtime().cudaGetDevice(deviceId));
    });
}

MIOCONV_EXPORT hipError_t hipSetDevice(int deviceId) {
    return hip_guarded({__func__}, [&] { return checked(runtime().cudaSetDevice(deviceId)); });
}

MIOCONV_EXPORT hipError_t hipDeviceGetAttribute(int* pi, hipDeviceAttribute_t attr, int deviceId) {
    return hip_guarded({__func__}, [&] {
        hip_require(pi != nullptr);
        const auto ask = [&](cudaDeviceAttr which) {
            *pi = attribute(which, deviceId);
            return hipSuccess;
        };
        switch (attr) {
            case hipDeviceAttributeMultiprocessorCount: return ask(cudaDevAttrMultiProcessorCount);
            case hipDeviceAttributeComputeCapabilityMajor:
                return ask(cudaDevAttrComputeCapabilityMajor);
            case hipDeviceAttributeComputeCapabilityMinor:
                return ask(cudaDevAttrComputeCapabilityMinor);
            case hipDeviceAttributeMemoryPoolsSupported:
                return ask(cudaDevAttrMemoryPoolsSupported);
        }
        return hipErrorInvalidValue;
    });
}

MIOCONV_EXPORT hipError_t hipDeviceSynchronize(void) {
    return hip_guarded({__func__}, [] { return checked(runtime().cudaDeviceSynchronize()); });
}

MIOCONV_EXPORT hipError_t hipGetDeviceProperties(hipDeviceProp_t* prop, int deviceId) {
    return hip_guarded({__func__}, [&] { return fill(prop, deviceId); });
}

MIOCONV_EXPORT hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600* prop, int deviceId) {
    return hip_guarded({__func__}, [&] { return fill(prop, deviceId); });
}
