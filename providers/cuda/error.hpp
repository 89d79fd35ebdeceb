// Errors of NVIDIA's libraries as exceptions.
#pragma once

#include "common/status.hpp"
#include "libraries.hpp"

namespace mioconv::cuda {

// HIP's numbers are CUDA's.
inline hipError_t to_hip(cudaError_t error) noexcept { return static_cast<hipError_t>(error); }

// CUDA keeps an error until it is asked for, and whoever shares the process would find ours:
// fetched at once, and kept in our own place by the entry guard.
inline hipError_t checked(cudaError_t error) {
    if (__builtin_expect(error != cudaSuccess, 0)) runtime().cudaGetLastError();
    return to_hip(error);
}

inline void check(cudaError_t error) {
    if (__builtin_expect(error != cudaSuccess, 0)) throw provider::HipError(checked(error));
}

inline void check(CUresult result) {
    if (__builtin_expect(result != CUDA_SUCCESS, 0)) {
        // The numbers of the driver's results are the runtime's, where both have one.
        static_assert(int{CUDA_ERROR_OUT_OF_MEMORY} == int{hipErrorOutOfMemory});
        throw provider::HipError(static_cast<hipError_t>(result));
    }
}

miopenStatus_t to_miopen(cudnnStatus_t status) noexcept;
miopenStatus_t to_miopen(hipError_t error) noexcept;

inline void check(cudnnStatus_t status) {
    if (__builtin_expect(status != CUDNN_STATUS_SUCCESS, 0)) {
        throw provider::StatusError(to_miopen(status));
    }
}

inline cudaStream_t to_cuda(hipStream_t stream) noexcept {
    return reinterpret_cast<cudaStream_t>(stream);
}
inline cudaEvent_t to_cuda(hipEvent_t event) noexcept {
    return reinterpret_cast<cudaEvent_t>(event);
}

// The device that is current on this thread.
inline int current_device() {
    int device = 0;
    check(runtime().cudaGetDevice(&device));
    return device;
}

}  // namespace mioconv::cuda
