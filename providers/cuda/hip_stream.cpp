// HIP's streams and events on the CUDA runtime: the handles are CUDA's own.
#include "common/export.hpp"
#include "common/guard.hpp"
#include "error.hpp"

using namespace mioconv::cuda;
using namespace mioconv::provider;

MIOCONV_EXPORT hipError_t hipStreamCreateWithFlags(hipStream_t* stream, unsigned int flags) {
    return hip_guarded({__func__}, [&] {
        hip_require(stream != nullptr && flags <= hipStreamNonBlocking);
        cudaStream_t made = nullptr;
        check(runtime().cudaStreamCreateWithFlags(&made, flags));
        *stream = reinterpret_cast<hipStream_t>(made);
        counters().streams.add();
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipStreamDestroy(hipStream_t stream) {
    return hip_guarded({__func__}, [&] {
        if (stream == nullptr) return hipSuccess;
        check(runtime().cudaStreamDestroy(to_cuda(stream)));
        counters().streams.remove();
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipStreamSynchronize(hipStream_t stream) {
    return hip_guarded(
        {__func__}, [&] { return checked(runtime().cudaStreamSynchronize(to_cuda(stream))); });
}

MIOCONV_EXPORT hipError_t
hipStreamWaitEvent(hipStream_t stream, hipEvent_t event, unsigned int flags) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        return checked(runtime().cudaStreamWaitEvent(to_cuda(stream), to_cuda(event), flags));
    });
}

MIOCONV_EXPORT hipError_t
hipStreamIsCapturing(hipStream_t stream, hipStreamCaptureStatus* pCaptureStatus) {
    return hip_guarded({__func__}, [&] {
        hip_require(pCaptureStatus != nullptr);
        cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
        check(runtime().cudaStreamIsCapturing(to_cuda(stream), &status));
        *pCaptureStatus = static_cast<hipStreamCaptureStatus>(status);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipStreamGetDevice(hipStream_t stream, hipDevice_t* device) {
    return hip_guarded({__func__}, [&] {
        hip_require(device != nullptr);
        if (stream == nullptr) {
            *device = current_device();
            return hipSuccess;
        }
        if (driver().cuStreamGetDevice == nullptr) return hipErrorNotSupported;
        CUdevice found = 0;
        check(driver().cuStreamGetDevice(to_cuda(stream), &found));
        *device = found;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventCreateWithFlags(hipEvent_t* event, unsigned int flags) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr && flags <= (hipEventBlockingSync | hipEventDisableTiming));
        cudaEvent_t made = nullptr;
        check(runtime().cudaEventCreateWithFlags(&made, flags));
        *event = reinterpret_cast<hipEvent_t>(made);
        counters().events.add();
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventDestroy(hipEvent_t event) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        check(runtime().cudaEventDestroy(to_cuda(event)));
        counters().events.remove();
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventRecord(hipEvent_t event, hipStream_t stream) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        return checked(runtime().cudaEventRecord(to_cuda(event), to_cuda(stream)));
    });
}

MIOCONV_EXPORT hipError_t hipEventQuery(hipEvent_t event) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        return checked(runtime().cudaEventQuery(to_cuda(event)));
    });
}

MIOCONV_EXPORT hipError_t hipEventSynchronize(hipEvent_t event) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        return checked(runtime().cudaEventSynchronize(to_cuda(event)));
    });
}

MIOCONV_EXPORT hipError_t hipEventElapsedTime(float* ms, hipEvent_t start, hipEvent_t stop) {
    return hip_guarded({__func__}, [&] {
        hip_require(ms != nullptr);
        hip_require(start != nullptr && stop != nullptr, hipErrorInvalidHandle);
        return checked(runtime().cudaEventElapsedTime(ms, to_cuda(start), to_cuda(stop)));
    });
}
