// NVIDIA's libraries, opened at first use and never closed.
//
// Nothing here is linked: a machine without them can load this provider, and a process that has
// them already (PyTorch, CuPy) keeps to the one copy. A name is looked up among the libraries that
// the process has, then in the place that a variable names, then by the dynamic loader. Whoever
// knows better where they are (mioconv's Python loader) opens them before.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <nvrtc.h>

namespace mioconv::cuda {

// What is called of each library. The names are looked up as they stand here.
// clang-format off
#define MIOCONV_CUDART_FUNCTIONS(X)                                                                \
    X(cudaGetErrorString) X(cudaGetLastError) X(cudaRuntimeGetVersion) X(cudaDriverGetVersion)     \
    X(cudaGetDeviceCount) X(cudaGetDevice) X(cudaSetDevice) X(cudaDeviceGetAttribute)              \
    X(cudaDeviceSynchronize) X(cudaMalloc) X(cudaFree) X(cudaMallocFromPoolAsync)                  \
    X(cudaFreeAsync) X(cudaMemPoolCreate) X(cudaMemPoolSetAttribute) X(cudaMemPoolTrimTo)          \
    X(cudaMemcpyAsync) X(cudaMemsetAsync) X(cudaMemGetInfo) X(cudaPointerGetAttributes)            \
    X(cudaStreamCreateWithFlags) X(cudaStreamDestroy) X(cudaStreamSynchronize)                     \
    X(cudaStreamWaitEvent) X(cudaStreamIsCapturing) X(cudaStreamGetId)                             \
    X(cudaEventCreateWithFlags) X(cudaEventDestroy) X(cudaEventRecord) X(cudaEventQuery)           \
    X(cudaEventSynchronize) X(cudaEventElapsedTime)
#define MIOCONV_DRIVER_FUNCTIONS(X)                                                                \
    X(cuDeviceGet) X(cuDeviceGetName) X(cuLibraryLoadData) X(cuLibraryGetKernel)                   \
    X(cuKernelSetAttribute) X(cuLaunchKernel)
#define MIOCONV_CUDNN_FUNCTIONS(X)                                                                 \
    X(cudnnGetVersion) X(cudnnCreate) X(cudnnDestroy) X(cudnnSetStream)                            \
    X(cudnnBackendCreateDescriptor) X(cudnnBackendDestroyDescriptor)                               \
    X(cudnnBackendSetAttribute) X(cudnnBackendFinalize) X(cudnnBackendExecute)
#define MIOCONV_NVRTC_FUNCTIONS(X)                                                                 \
    X(nvrtcCreateProgram) X(nvrtcDestroyProgram) X(nvrtcCompileProgram) X(nvrtcGetCUBINSize)       \
    X(nvrtcGetCUBIN)
// clang-format on

#define MIOCONV_MEMBER(name) decltype(&::name) name = nullptr;

struct Runtime {
    MIOCONV_CUDART_FUNCTIONS(MIOCONV_MEMBER)
};
struct Driver {
    MIOCONV_DRIVER_FUNCTIONS(MIOCONV_MEMBER)
    CUresult (*cuDeviceTotalMem_v2)(size_t* bytes, CUdevice device) = nullptr;
    CUresult (*cuStreamGetDevice)(CUstream stream, CUdevice* device) = nullptr;  // since 12.8
};
struct Cudnn {
    MIOCONV_CUDNN_FUNCTIONS(MIOCONV_MEMBER)
};
struct Compiler {
    MIOCONV_NVRTC_FUNCTIONS(MIOCONV_MEMBER)
};
#undef MIOCONV_MEMBER

// Each throws hipErrorNotInitialized where its library is missing or lacks a function; that is
// remembered, and thrown again.
const Runtime& runtime();
const Driver& driver();
const Cudnn& cudnn();
const Compiler& compiler();

}  // namespace mioconv::cuda
