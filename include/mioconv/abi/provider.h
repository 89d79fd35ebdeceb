/* What mioconv's own providers export beyond MIOpen and HIP.
 *
 * The vendor's libraries have none of these, so every one is optional in functions.def. They carry
 * what the vendor ABI has no call for: a solution's name, the CPU's thread count, and the hooks
 * that let tests count objects and inject faults behind the seam.
 */
#ifndef MIOCONV_ABI_PROVIDER_H
#define MIOCONV_ABI_PROVIDER_H

#include "miopen.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Objects alive now, and how many were ever created. */
typedef struct mioconvObjectCount_t {
    uint64_t created;
    uint64_t destroyed;
} mioconvObjectCount_t;

typedef struct mioconvObjectCounts_t {
    mioconvObjectCount_t handles;
    mioconvObjectCount_t tensor_descriptors;
    mioconvObjectCount_t convolution_descriptors;
    mioconvObjectCount_t activation_descriptors;
    mioconvObjectCount_t fusion_plans;
    mioconvObjectCount_t operator_args;
    mioconvObjectCount_t streams;
    mioconvObjectCount_t events;
    mioconvObjectCount_t allocations;
    uint64_t bytes_allocated; /* by hipMalloc and hipMallocAsync, now */
    /* Of every exported MIOpen or HIP function but version and error texts, from the first request
       for these counts on. */
    uint64_t native_calls;
} mioconvObjectCounts_t;

/* Make one exported function fail. A later fault for the same function replaces the earlier one. */
typedef struct mioconvFault_t {
    const char* function; /* exported name, e.g. "hipMalloc"; NULL: whatever is called */
    int64_t nth; /* fail the nth matching call from now (1 = the next), then no more; 0 = all */
    size_t above_bytes; /* allocation functions: only requests larger than this */
    uint64_t solution_id; /* calls that take a solution id: only this one; 0 = any */
    int status; /* what the call returns (miopenStatus_t or hipError_t) */
} mioconvFault_t;

/* A solution id as text, e.g. "brgconv:avx512_core|nhwc"; BadParm for an id never listed. */
miopenStatus_t mioconvGetSolutionName(uint64_t solution_id, char* name, size_t size);
/* How many problems the provider remembers, with what was compiled for them; the least recently
 * used leave first. */
miopenStatus_t mioconvSetCacheCapacity(size_t problems);
/* Forget all but so many problems now, and give back scratch memory that handles keep. What a call
 * uses at the moment stays until its handle is used for another problem. */
miopenStatus_t mioconvTrimCache(size_t problems);
/* The libraries behind this provider with the versions that are loaded, "cuDNN 9.19.0, CUDA 13.0":
 * what its results and its times depend on. */
miopenStatus_t mioconvGetVersions(char* text, size_t size);
/* One line: the library behind this provider, its version, instruction set or device, threads. */
miopenStatus_t mioconvDescribe(char* text, size_t size);
/* Threads that the CPU provider may use for calls from the calling thread; 0: the machine's. */
miopenStatus_t mioconvSetNumThreads(int threads);
miopenStatus_t mioconvGetNumThreads(int* threads);
/* Keep a stream busy for some microseconds, so that what is queued meanwhile then runs without
 * waiting for the host: for timing. Nothing where calls do their work before they return. */
miopenStatus_t mioconvHoldStream(hipStream_t stream, int microseconds);
/* A number that no other stream of the process has or gets: a handle may be that of a new stream as
 * soon as its own is destroyed, with work still queued on it. */
miopenStatus_t mioconvGetStreamId(hipStream_t stream, uint64_t* id);

/* Weights that stay the same may be packed once: what a solution makes of them in every call (its
 * own layout, Winograd's transform) is then made ahead, and handed over in their place.
 *
 * With 1, the weights of every call with this convolution descriptor are the packed ones of the
 * solution that the call names. Forward and backward data only, unfused, and by solution id: other
 * calls refuse such a descriptor. */
miopenStatus_t mioconvSetPackedWeights(miopenConvolutionDescriptor_t convDesc, int packed);
/* Bytes of a solution's packed weights; 0: it takes the caller's weights as they are. `direction`
 * is 0 for forward, 1 for backward data; x, w and y are those of the forward call in both. */
miopenStatus_t mioconvGetPackedWeightsSize(
    miopenHandle_t handle, int direction, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, uint64_t solution_id, size_t* size);
/* Packs `w`. The descriptor is that of the later calls. */
miopenStatus_t mioconvPackWeights(
    miopenHandle_t handle, int direction, const miopenTensorDescriptor_t wDesc, const void* w,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, void* packed, size_t size, uint64_t solution_id);

miopenStatus_t mioconvGetObjectCounts(mioconvObjectCounts_t* counts);
/* NULL clears all faults. */
miopenStatus_t mioconvInjectFault(const mioconvFault_t* fault);

/* For the fuzz of solutions. With 1, problems that are met from now on list what no region admits
 * as well. */
miopenStatus_t mioconvAdmitAll(int all);
/* Bytes behind every buffer in the workspaces of solutions that are listed from now on. Who writes
 * there answers miopenStatusInternalError at the end of the run. */
miopenStatus_t mioconvSetScratchGap(size_t bytes);
/* What regions know a solution by: implementation, form of the activations, classes of the problem,
 * with spaces between. x, w and y are those of the forward call; `direction` is 0 for forward, 1
 * for backward data, 2 for backward weights. */
miopenStatus_t mioconvDescribeSolution(
    miopenHandle_t handle, int direction, const miopenTensorDescriptor_t wDesc,
    const miopenTensorDescriptor_t xDesc, const miopenConvolutionDescriptor_t convDesc,
    const miopenTensorDescriptor_t yDesc, uint64_t solution_id, char* text, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* MIOCONV_ABI_PROVIDER_H */
