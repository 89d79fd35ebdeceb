/* The part of HIP's C ABI that mioconv calls, restated in our own words.
 *
 * Names, values and layouts are AMD's; tests/test_abi.py compares them with the facts recorded from
 * HIP 5.2, 6.0 and 7. Where majors differ, both forms stand here and the code asks the loaded
 * library for its version (Api::hip_version). No other header of the project restates any of this.
 *
 * With MIOCONV_ABI_COMPARED the functions are declared without C linkage, so that they can stand in
 * a namespace beside AMD's own: MIOCONV_CHECK_ROCM_HEADERS builds that comparison.
 */
#ifndef MIOCONV_ABI_HIP_H
#define MIOCONV_ABI_HIP_H

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus) && !defined(MIOCONV_ABI_COMPARED)
extern "C" {
#endif

typedef struct ihipStream_t* hipStream_t;
typedef struct ihipEvent_t* hipEvent_t;
typedef struct ihipMemPoolHandle_t* hipMemPool_t;
typedef int hipDevice_t;

typedef enum hipError_t {
    hipSuccess = 0,
    hipErrorInvalidValue = 1,
    hipErrorOutOfMemory = 2,
    hipErrorNotInitialized = 3,
    hipErrorInsufficientDriver = 35,
    hipErrorNoDevice = 100,
    hipErrorInvalidDevice = 101,
    hipErrorInvalidContext = 201,
    hipErrorNoBinaryForGpu = 209,
    hipErrorOperatingSystem = 304,
    hipErrorInvalidHandle = 400,
    hipErrorNotFound = 500,
    hipErrorNotReady = 600,
    hipErrorIllegalAddress = 700,
    hipErrorLaunchFailure = 719,
    hipErrorNotSupported = 801,
    hipErrorStreamCaptureUnsupported = 900,
    hipErrorStreamCaptureInvalidated = 901,
    hipErrorUnknown = 999
} hipError_t;

/* HIP 6 renumbered hipMemoryType, so no enum can serve both: the field is an int, and
 * mioconv::MemoryType (api.hpp) turns it into one meaning by the version that was loaded. */
enum {
    hipMemoryTypeHost_5 = 0,
    hipMemoryTypeDevice_5 = 1,
    hipMemoryTypeArray_5 = 2,
    hipMemoryTypeUnified_5 = 3,
    hipMemoryTypeUnregistered_6 = 0,
    hipMemoryTypeHost_6 = 1,
    hipMemoryTypeDevice_6 = 2,
    hipMemoryTypeManaged_6 = 3,
    hipMemoryTypeArray_6 = 10,
    hipMemoryTypeUnified_6 = 11
};

typedef struct hipPointerAttribute_t {
    int type; /* hipMemoryType; named memoryType before HIP 6 */
    int device;
    void* devicePointer;
    void* hostPointer;
    int isManaged;
    unsigned int allocationFlags;
} hipPointerAttribute_t;

typedef enum hipMemcpyKind {
    hipMemcpyHostToHost = 0,
    hipMemcpyHostToDevice = 1,
    hipMemcpyDeviceToHost = 2,
    hipMemcpyDeviceToDevice = 3,
    hipMemcpyDefault = 4
} hipMemcpyKind;

typedef enum hipDeviceAttribute_t {
    hipDeviceAttributeComputeCapabilityMajor = 23,
    hipDeviceAttributeComputeCapabilityMinor = 61,
    hipDeviceAttributeMultiprocessorCount = 63,
    hipDeviceAttributeMemoryPoolsSupported = 88
} hipDeviceAttribute_t;

typedef enum hipMemPoolAttr {
    hipMemPoolReuseFollowEventDependencies = 1,
    hipMemPoolReuseAllowOpportunistic = 2,
    hipMemPoolReuseAllowInternalDependencies = 3,
    hipMemPoolAttrReleaseThreshold = 4,
    hipMemPoolAttrReservedMemCurrent = 5,
    hipMemPoolAttrReservedMemHigh = 6,
    hipMemPoolAttrUsedMemCurrent = 7,
    hipMemPoolAttrUsedMemHigh = 8
} hipMemPoolAttr;

typedef enum hipStreamCaptureStatus {
    hipStreamCaptureStatusNone = 0,
    hipStreamCaptureStatusActive = 1,
    hipStreamCaptureStatusInvalidated = 2
} hipStreamCaptureStatus;

/* Flags of hipStreamCreateWithFlags and hipEventCreateWithFlags. */
enum { hipStreamDefault = 0, hipStreamNonBlocking = 1 };
enum { hipEventDefault = 0, hipEventBlockingSync = 1, hipEventDisableTiming = 2 };

/* Only the fields that mioconv reads have names; the gaps keep them at AMD's offsets. The first
 * struct is what hipGetDeviceProperties fills in HIP 5 (and, under its old symbol, later), the
 * second what hipGetDevicePropertiesR0600 fills since HIP 6. */
typedef struct hipDeviceProp_t {
    char name[256];
    size_t totalGlobalMem;
    char gap0[336 - 264];
    int multiProcessorCount;
    char gap1[368 - 340];
    int pciBusID;
    char gap2[396 - 372];
    char gcnArchName[256];
    char gap3[792 - 652];
} hipDeviceProp_t;

typedef struct hipDeviceProp_tR0600 {
    char name[256];
    char gap0[288 - 256];
    size_t totalGlobalMem;
    char gap1[388 - 296];
    int multiProcessorCount;
    char gap2[584 - 392];
    int pciBusID;
    char gap3[1160 - 588];
    char gcnArchName[256];
    char gap4[1472 - 1416];
} hipDeviceProp_tR0600;

/* Errors and versions */
const char* hipGetErrorName(hipError_t hip_error);
const char* hipGetErrorString(hipError_t hipError);
hipError_t hipGetLastError(void);
hipError_t hipRuntimeGetVersion(int* runtimeVersion);
hipError_t hipDriverGetVersion(int* driverVersion);

/* Devices */
hipError_t hipGetDeviceCount(int* count);
hipError_t hipGetDevice(int* deviceId);
hipError_t hipSetDevice(int deviceId);
hipError_t hipDeviceGetAttribute(int* pi, hipDeviceAttribute_t attr, int deviceId);
hipError_t hipDeviceSynchronize(void);
hipError_t hipGetDeviceProperties(hipDeviceProp_t* prop, int deviceId);
hipError_t hipGetDevicePropertiesR0600(hipDeviceProp_tR0600* prop, int deviceId);

/* Memory */
hipError_t hipMalloc(void** ptr, size_t size);
hipError_t hipFree(void* ptr);
hipError_t hipMallocAsync(void** dev_ptr, size_t size, hipStream_t stream);
hipError_t hipFreeAsync(void* dev_ptr, hipStream_t stream);
hipError_t hipDeviceGetDefaultMemPool(hipMemPool_t* mem_pool, int device);
hipError_t hipMemPoolSetAttribute(hipMemPool_t mem_pool, hipMemPoolAttr attr, void* value);
hipError_t hipMemPoolTrimTo(hipMemPool_t mem_pool, size_t min_bytes_to_hold);
hipError_t hipMemcpyAsync(
    void* dst, const void* src, size_t sizeBytes, hipMemcpyKind kind, hipStream_t stream);
hipError_t hipMemsetAsync(void* dst, int value, size_t sizeBytes, hipStream_t stream);
hipError_t hipMemGetInfo(size_t* free, size_t* total);
hipError_t hipPointerGetAttributes(hipPointerAttribute_t* attributes, const void* ptr);

/* Streams, events and capture */
hipError_t hipStreamCreateWithFlags(hipStream_t* stream, unsigned int flags);
hipError_t hipStreamDestroy(hipStream_t stream);
hipError_t hipStreamSynchronize(hipStream_t stream);
hipError_t hipStreamWaitEvent(hipStream_t stream, hipEvent_t event, unsigned int flags);
hipError_t hipStreamIsCapturing(hipStream_t stream, hipStreamCaptureStatus* pCaptureStatus);
hipError_t hipStreamGetDevice(hipStream_t stream, hipDevice_t* device);
hipError_t hipEventCreateWithFlags(hipEvent_t* event, unsigned int flags);
hipError_t hipEventDestroy(hipEvent_t event);
hipError_t hipEventRecord(hipEvent_t event, hipStream_t stream);
hipError_t hipEventQuery(hipEvent_t event);
hipError_t hipEventSynchronize(hipEvent_t event);
hipError_t hipEventElapsedTime(float* ms, hipEvent_t start, hipEvent_t stop);

#if defined(__cplusplus) && !defined(MIOCONV_ABI_COMPARED)
}
#endif

#endif /* MIOCONV_ABI_HIP_H */
