// Streams and events. Everything has happened when a call returns.
#include "hip_state.hpp"

using namespace standin;

extern "C" {

hipError_t hipStreamCreateWithFlags(hipStream_t* stream, unsigned int flags) {
    MAY_FAIL;
    *stream = born(new ihipStream_t{current, flags}, "stream");
    return hipSuccess;
}
hipError_t hipStreamCreate(hipStream_t* stream) { return hipStreamCreateWithFlags(stream, 0); }
hipError_t hipStreamDestroy(hipStream_t stream) {
    MAY_FAIL;
    if (!dies(stream, "stream")) return done(hipErrorInvalidHandle);
    delete stream;
    return hipSuccess;
}
hipError_t hipStreamSynchronize(hipStream_t s) { MAY_FAIL; return valid(s) ? hipSuccess : done(hipErrorInvalidHandle); }
hipError_t hipStreamQuery(hipStream_t s) { MAY_FAIL; return valid(s) ? hipSuccess : done(hipErrorInvalidHandle); }
hipError_t hipStreamIsCapturing(hipStream_t s, hipStreamCaptureStatus* status) {
    MAY_FAIL;
    if (!valid(s)) return done(hipErrorInvalidHandle);
    *status = hipStreamCaptureStatusNone;
    return hipSuccess;
}
hipError_t hipStreamGetDevice(hipStream_t s, hipDevice_t* device) {
    MAY_FAIL;
    if (!valid(s)) return done(hipErrorInvalidHandle);
    *device = reinterpret_cast<std::uintptr_t>(s) <= 2 ? current : s->device;
    return hipSuccess;
}
hipError_t hipEventCreateWithFlags(hipEvent_t* event, unsigned flags) {
    MAY_FAIL;
    auto* made = born(new ihipEvent_t, "event");
    made->flags = flags;
    *event = made;
    return hipSuccess;
}
hipError_t hipEventCreate(hipEvent_t* event) { return hipEventCreateWithFlags(event, 0); }
hipError_t hipEventDestroy(hipEvent_t event) {
    MAY_FAIL;
    if (!dies(event, "event")) return done(hipErrorInvalidHandle);
    delete event;
    return hipSuccess;
}
hipError_t hipEventRecord(hipEvent_t event, hipStream_t stream) {
    MAY_FAIL;
    if (!alive(event, "event") || !valid(stream)) return done(hipErrorInvalidHandle);
    event->at = std::chrono::steady_clock::now();
    event->recorded = true;
    return hipSuccess;
}
hipError_t hipEventSynchronize(hipEvent_t e) { MAY_FAIL; return alive(e, "event") ? hipSuccess : done(hipErrorInvalidHandle); }
hipError_t hipEventQuery(hipEvent_t e) { return hipEventSynchronize(e); }
hipError_t hipStreamWaitEvent(hipStream_t s, hipEvent_t e, unsigned int) {
    MAY_FAIL;
    return valid(s) && alive(e, "event") ? hipSuccess : done(hipErrorInvalidHandle);
}
hipError_t hipEventElapsedTime(float* ms, hipEvent_t a, hipEvent_t b) {
    MAY_FAIL;
    if (!alive(a, "event") || !alive(b, "event") || !a->recorded || !b->recorded ||
        ((a->flags | b->flags) & hipEventDisableTiming))
        return done(hipErrorInvalidHandle);
    // A GPU never answers 0: MIOpen takes that for a failure.
    *ms = std::max(1e-4f, std::chrono::duration<float, std::milli>(b->at - a->at).count());
    return hipSuccess;
}

}  // extern "C"
