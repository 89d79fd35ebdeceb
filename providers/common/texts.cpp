// Names and texts of statuses and errors, and the MIOpen version whose ABI this is.
#include "export.hpp"
#include "guard.hpp"

using namespace mioconv::provider;

MIOCONV_EXPORT miopenStatus_t miopenGetVersion(size_t* major, size_t* minor, size_t* patch) {
    if (major != nullptr) *major = 3;
    if (minor != nullptr) *minor = 2;
    if (patch != nullptr) *patch = 0;
    return miopenStatusSuccess;
}

MIOCONV_EXPORT const char* miopenGetErrorString(miopenStatus_t error) {
    switch (error) {
        case miopenStatusSuccess: return "miopenStatusSuccess";
        case miopenStatusNotInitialized: return "miopenStatusNotInitialized";
        case miopenStatusInvalidValue: return "miopenStatusInvalidValue";
        case miopenStatusBadParm: return "miopenStatusBadParm";
        case miopenStatusAllocFailed: return "miopenStatusAllocFailed";
        case miopenStatusInternalError: return "miopenStatusInternalError";
        case miopenStatusNotImplemented: return "miopenStatusNotImplemented";
        case miopenStatusUnknownError: return "miopenStatusUnknownError";
        case miopenStatusUnsupportedOp: return "miopenStatusUnsupportedOp";
        case miopenStatusGpuOperationsSkipped: return "miopenStatusGpuOperationsSkipped";
        case miopenStatusVersionMismatch: return "miopenStatusVersionMismatch";
    }
    return "Unknown error status";
}

namespace {

struct HipText {
    hipError_t error;
    const char* name;
    const char* text;
};

constexpr HipText kHipTexts[] = {
    {hipSuccess, "hipSuccess", "no error"},
    {hipErrorInvalidValue, "hipErrorInvalidValue", "invalid argument"},
    {hipErrorOutOfMemory, "hipErrorOutOfMemory", "out of memory"},
    {hipErrorNotInitialized, "hipErrorNotInitialized", "initialization error"},
    {hipErrorInsufficientDriver, "hipErrorInsufficientDriver",
     "driver version is insufficient for runtime version"},
    {hipErrorNoDevice, "hipErrorNoDevice", "no device is available"},
    {hipErrorInvalidDevice, "hipErrorInvalidDevice", "invalid device ordinal"},
    {hipErrorInvalidContext, "hipErrorInvalidContext", "invalid device context"},
    {hipErrorNoBinaryForGpu, "hipErrorNoBinaryForGpu",
     "no kernel image is available for execution on the device"},
    {hipErrorOperatingSystem, "hipErrorOperatingSystem", "a call of the operating system failed"},
    {hipErrorInvalidHandle, "hipErrorInvalidHandle", "invalid resource handle"},
    {hipErrorNotFound, "hipErrorNotFound", "named symbol not found"},
    {hipErrorNotReady, "hipErrorNotReady", "device not ready"},
    {hipErrorIllegalAddress, "hipErrorIllegalAddress", "an illegal memory access was met"},
    {hipErrorLaunchFailure, "hipErrorLaunchFailure", "unspecified launch failure"},
    {hipErrorNotSupported, "hipErrorNotSupported", "operation not supported"},
    {hipErrorStreamCaptureUnsupported, "hipErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {hipErrorStreamCaptureInvalidated, "hipErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {hipErrorUnknown, "hipErrorUnknown", "unknown error"},
};

HipText hip_text(hipError_t error) {
    for (const HipText& item : kHipTexts) {
        if (item.error == error) return item;
    }
    const char* const text = foreign_error_text(error);
    return {error, "hipErrorUnknown", text == nullptr ? "unknown error" : text};
}

}  // namespace

MIOCONV_EXPORT const char* hipGetErrorName(hipError_t hip_error) {
    return hip_text(hip_error).name;
}

MIOCONV_EXPORT const char* hipGetErrorString(hipError_t hipError) {
    return hip_text(hipError).text;
}
