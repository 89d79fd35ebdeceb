// Versions, errors, devices.
#include "hip_state.hpp"

using namespace standin;

extern "C" {

hipError_t hipInit(unsigned int) { MAY_FAIL; return hipSuccess; }
hipError_t hipRuntimeGetVersion(int* version) {
    if (!version) return done(hipErrorInvalidValue);
    *version = HIP_VERSION;
    return hipSuccess;
}
hipError_t hipDriverGetVersion(int* version) { return hipRuntimeGetVersion(version); }
hipError_t hipGetLastError() {
    const auto error = last_error;
    last_error = hipSuccess;
    return error;
}
hipError_t hipPeekAtLastError() { return last_error; }
const char* hipGetErrorName(hipError_t e) {
    switch (e) {
        case hipSuccess: return "hipSuccess";
        case hipErrorInvalidValue: return "hipErrorInvalidValue";
        case hipErrorOutOfMemory: return "hipErrorOutOfMemory";
        case hipErrorNoDevice: return "hipErrorNoDevice";
        case hipErrorInvalidDevice: return "hipErrorInvalidDevice";
        case hipErrorNotFound: return "hipErrorNotFound";
        case hipErrorNotSupported: return "hipErrorNotSupported";
        case hipErrorInvalidHandle: return "hipErrorInvalidHandle";
        default: return "hipErrorUnknown";
    }
}
const char* hipGetErrorString(hipError_t e) { return hipGetErrorName(e); }

// --- devices

hipError_t hipGetDeviceCount(int* count) {
    if (!count) return done(hipErrorInvalidValue);
    *count = devices();
    return done(*count ? hipSuccess : hipErrorNoDevice);
}
hipError_t hipGetDevice(int* device) {
    MAY_FAIL;
    if (!device) return done(hipErrorInvalidValue);
    *device = current;
    return hipSuccess;
}
hipError_t hipSetDevice(int device) {
    MAY_FAIL;
    if (!exists(device)) return done(hipErrorInvalidDevice);
    current = device;
    return hipSuccess;
}
hipError_t hipDeviceSynchronize() { MAY_FAIL; return hipSuccess; }
hipError_t hipDeviceTotalMem(size_t* bytes, hipDevice_t device) {
    MAY_FAIL;
    if (!exists(device)) return done(hipErrorInvalidDevice);
    *bytes = memory_of_a_device();
    return hipSuccess;
}
hipError_t hipMemGetInfo(size_t* available, size_t* total) {
    MAY_FAIL;
    Lock lock(state().mutex);
    *total = memory_of_a_device();
    *available = *total - std::min(*total, state().live);
    return hipSuccess;
}
hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600* p, int device) {
    MAY_FAIL;
    if (!p) return done(hipErrorInvalidValue);
    if (!exists(device)) return done(hipErrorInvalidDevice);
    *p = {};
    const char* arch = setting("STANDIN_ARCH", "gfx90a:sramecc+:xnack-");
    std::snprintf(p->gcnArchName, sizeof p->gcnArchName, "%s", arch);
    std::snprintf(p->name, sizeof p->name, "no GPU: %s", arch);
    p->warpSize = std::strncmp(arch, "gfx1", 4) ? 64 : 32;
    p->multiProcessorCount = static_cast<int>(number("STANDIN_CUS", 104));
    p->totalGlobalMem = memory_of_a_device();
    p->sharedMemPerBlock = p->sharedMemPerMultiprocessor = p->maxSharedMemoryPerMultiProcessor = 65536;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsPerMultiProcessor = 2048;
    for (int& dim : p->maxThreadsDim) dim = 1024;
    for (int& dim : p->maxGridSize) dim = 2147483647;
    p->clockRate = 1700000;
    p->memoryClockRate = 1600000;
    p->memoryBusWidth = 4096;
    p->l2CacheSize = 8 << 20;
    p->major = 9;
    p->pciBusID = 3 + device;
    return hipSuccess;
}
hipError_t hipDeviceGetAttribute(int* value, hipDeviceAttribute_t attribute, int device) {
    MAY_FAIL;
    hipDeviceProp_tR0600 p;
    if (!value) return done(hipErrorInvalidValue);
    if (const auto e = hipGetDevicePropertiesR0600(&p, device)) return e;
    switch (attribute) {
        case hipDeviceAttributeWarpSize: *value = p.warpSize; break;
        case hipDeviceAttributeMultiprocessorCount: *value = p.multiProcessorCount; break;
        case hipDeviceAttributeMaxSharedMemoryPerBlock:
        case hipDeviceAttributeMaxSharedMemoryPerMultiprocessor: *value = 65536; break;
        case hipDeviceAttributeMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
        case hipDeviceAttributeMaxThreadsPerMultiProcessor: *value = 2048; break;
        case hipDeviceAttributeMaxGridDimX:
        case hipDeviceAttributeMaxGridDimY:
        case hipDeviceAttributeMaxGridDimZ: *value = p.maxGridSize[0]; break;
        case hipDeviceAttributeMaxBlockDimX:
        case hipDeviceAttributeMaxBlockDimY:
        case hipDeviceAttributeMaxBlockDimZ: *value = 1024; break;
        case hipDeviceAttributeMaxRegistersPerBlock: *value = p.regsPerBlock; break;
        case hipDeviceAttributeClockRate: *value = p.clockRate; break;
        case hipDeviceAttributeMemoryClockRate: *value = p.memoryClockRate; break;
        case hipDeviceAttributeMemoryBusWidth: *value = p.memoryBusWidth; break;
        case hipDeviceAttributeComputeCapabilityMajor: *value = 9; break;
        case hipDeviceAttributeComputeCapabilityMinor: *value = 0; break;
        case hipDeviceAttributeMemoryPoolsSupported: *value = 1; break;
        default: *value = 0; journal("attribute " + std::to_string(attribute));
    }
    return hipSuccess;
}

}  // extern "C"
