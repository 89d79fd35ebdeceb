#include "profile.hpp"

namespace mioconv::provider {

KernelTimer::KernelTimer(miopenHandle_t handle) noexcept {
    if (handle == nullptr || !profile_of(*handle).on) return;
    hipStreamCaptureStatus capture = hipStreamCaptureStatusNone;
    // A graph's capture is not waited for.
    if (miopenGetStream(handle, &stream_) == miopenStatusSuccess &&
        hipStreamIsCapturing(stream_, &capture) == hipSuccess &&
        capture == hipStreamCaptureStatusNone &&
        hipEventCreateWithFlags(&start_, hipEventDefault) == hipSuccess &&
        hipEventCreateWithFlags(&stop_, hipEventDefault) == hipSuccess &&
        hipEventRecord(start_, stream_) == hipSuccess) {
        handle_ = handle;
    }
}

KernelTimer::~KernelTimer() {
    float ms = 0;
    if (handle_ != nullptr && hipEventRecord(stop_, stream_) == hipSuccess &&
        hipEventSynchronize(stop_) == hipSuccess &&
        hipEventElapsedTime(&ms, start_, stop_) == hipSuccess) {
        profile_of(*handle_).ms = ms;
    }
    if (start_ != nullptr) hipEventDestroy(start_);
    if (stop_ != nullptr) hipEventDestroy(stop_);
}

}  // namespace mioconv::provider
