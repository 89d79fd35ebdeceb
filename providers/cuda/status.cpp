// What this provider's exceptions mean.
#include "common/guard.hpp"
#include "error.hpp"
#include "frontend.hpp"

namespace mioconv::cuda {

miopenStatus_t to_miopen(cudnnStatus_t status) noexcept {
    // cuDNN 9 has one thousand codes to each kind of failure.
    switch (static_cast<int>(status) / 1000) {
        case CUDNN_STATUS_BAD_PARAM / 1000: return miopenStatusBadParm;
        case CUDNN_STATUS_NOT_SUPPORTED / 1000: return miopenStatusNotImplemented;
        case CUDNN_STATUS_INTERNAL_ERROR / 1000:
            return status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
                           status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
                       ? miopenStatusAllocFailed
                       : miopenStatusInternalError;
        default: return miopenStatusInternalError;
    }
}

miopenStatus_t to_miopen(hipError_t error) noexcept {
    switch (error) {
        case hipErrorOutOfMemory: return miopenStatusAllocFailed;
        case hipErrorNotInitialized: return miopenStatusNotInitialized;
        case hipErrorInvalidValue: return miopenStatusBadParm;
        case hipErrorNotSupported: return miopenStatusNotImplemented;
        default: return miopenStatusInternalError;
    }
}

}  // namespace mioconv::cuda

namespace mioconv::provider {

miopenStatus_t status_of_current_exception() noexcept {
    try {
        throw;
    } catch (const StatusError& failure) {
        return failure.status();
    } catch (const HipError& failure) {
        return cuda::to_miopen(failure.error());
    } catch (cudnn_frontend::cudnnException& failure) {
        return cuda::to_miopen(failure.getCudnnStatus());
    } catch (const std::bad_alloc&) {
        return miopenStatusAllocFailed;
    } catch (...) {
        return miopenStatusUnknownError;
    }
}

const char* foreign_error_text(hipError_t error) noexcept {
    try {
        return cuda::runtime().cudaGetErrorString(static_cast<cudaError_t>(error));
    } catch (...) {
        return nullptr;
    }
}

}  // namespace mioconv::provider
