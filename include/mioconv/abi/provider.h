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
    uint64_t native_calls; /* every exported MIOpen or HIP function but version and error texts */
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
/* One line: the library behind this provider, its version, instruction set or device, threads. */
miopenStatus_t mioconvDescribe(char* text, size_t size);
/* Threads that the CPU provider may use for calls from the calling thread; 0: the machine's. */
miopenStatus_t mioconvSetNumThreads(int threads);
miopenStatus_t mioconvGetNumThreads(int* threads);
/* Keep a stream busy for some microseconds, so that what is queued meanwhile then runs without
 * waiting for the host: for timing. Nothing where calls do their work before they return. */
miopenStatus_t mioconvHoldStream(hipStream_t stream, int microseconds);
miopenStatus_t mioconvGetObjectCounts(mioconvObjectCounts_t* counts);
/* NULL clears all faults. */
miopenStatus_t mioconvInjectFault(const mioconvFault_t* fault);

#ifdef __cplusplus
}
#endif

#endif /* MIOCONV_ABI_PROVIDER_H */
