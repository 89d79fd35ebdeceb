// HIP's streams and events. A call does its work before it returns, so a stream is an object with
// an identity and no queue, and an event is a point in time.
#include <atomic>
#include <chrono>

#include "common/export.hpp"
#include "common/guard.hpp"

using namespace mioconv::provider;

// The null stream is legal everywhere, as in HIP.
struct ihipStream_t : Counted<&Counters::streams> {};

struct ihipEvent_t : Counted<&Counters::events> {
    using Clock = std::chrono::steady_clock;
    explicit ihipEvent_t(bool with_timing) : timed(with_timing) {}

    const bool timed;
    // Nanoseconds of the clock at the last record; 0: never recorded. Atomic: HIP lets any thread
    // ask.
    std::atomic<std::int64_t> recorded{0};
};

namespace {

std::int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               ihipEvent_t::Clock::now().time_since_epoch())
        .count();
}

}  // namespace

MIOCONV_EXPORT hipError_t hipStreamCreateWithFlags(hipStream_t* stream, unsigned int flags) {
    return hip_guarded({__func__}, [&] {
        hip_require(stream != nullptr && flags <= hipStreamNonBlocking);
        *stream = new ihipStream_t;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipStreamDestroy(hipStream_t stream) {
    return hip_guarded({__func__}, [&] {
        delete stream;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipStreamSynchronize(hipStream_t) {
    return hip_guarded({__func__}, [] { return hipSuccess; });
}

MIOCONV_EXPORT hipError_t hipStreamWaitEvent(hipStream_t, hipEvent_t event, unsigned int) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t
hipStreamIsCapturing(hipStream_t, hipStreamCaptureStatus* pCaptureStatus) {
    return hip_guarded({__func__}, [&] {
        hip_require(pCaptureStatus != nullptr);
        *pCaptureStatus = hipStreamCaptureStatusNone;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipStreamGetDevice(hipStream_t, hipDevice_t* device) {
    return hip_guarded({__func__}, [&] {
        hip_require(device != nullptr);
        *device = 0;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventCreateWithFlags(hipEvent_t* event, unsigned int flags) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr && flags <= (hipEventBlockingSync | hipEventDisableTiming));
        *event = new ihipEvent_t((flags & hipEventDisableTiming) == 0);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventDestroy(hipEvent_t event) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        delete event;
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventRecord(hipEvent_t event, hipStream_t) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        event->recorded.store(now(), std::memory_order_relaxed);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventQuery(hipEvent_t event) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventSynchronize(hipEvent_t event) {
    return hip_guarded({__func__}, [&] {
        hip_require(event != nullptr, hipErrorInvalidHandle);
        return hipSuccess;
    });
}

MIOCONV_EXPORT hipError_t hipEventElapsedTime(float* ms, hipEvent_t start, hipEvent_t stop) {
    return hip_guarded({__func__}, [&] {
        hip_require(ms != nullptr);
        hip_require(start != nullptr && stop != nullptr, hipErrorInvalidHandle);
        const auto from = start->recorded.load(std::memory_order_relaxed);
        const auto to = stop->recorded.load(std::memory_order_relaxed);
        hip_require(start->timed && stop->timed && from != 0 && to != 0, hipErrorInvalidHandle);
        *ms = static_cast<float>(static_cast<double>(to - from) * 1e-6);
        return hipSuccess;
    });
}
