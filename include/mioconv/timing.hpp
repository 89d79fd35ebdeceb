// Timing what runs on a stream, with the library's own events.
#pragma once

#include <sys/resource.h>

#include "error.hpp"

namespace mioconv {

class Timing {
public:
    Timing() = default;
    Timing(const Timing&) = delete;
    Timing& operator=(const Timing&) = delete;
    ~Timing() {
        if (start_) api_->hipEventDestroy(start_);
        if (stop_) api_->hipEventDestroy(stop_);
    }

    Status make(const Api& api) {
        api_ = &api;
        MIOCONV_TRY(MIOCONV_CALL(api, hipEventCreateWithFlags, &start_, hipEventDefault));
        return MIOCONV_CALL(api, hipEventCreateWithFlags, &stop_, hipEventDefault);
    }

    /// `calls` library calls follow before `end`. Where the provider can hold the stream until they
    /// are queued, their time does not contain the host's.
    Status begin(hipStream_t stream, int calls) {
        constexpr int microseconds = 20;  // more than queueing takes
        if (api_->mioconvHoldStream) api_->mioconvHoldStream(stream, microseconds * (calls + 1));
        switches_ = involuntary_switches();
        return MIOCONV_CALL(*api_, hipEventRecord, start_, stream);
    }

    /// Waits for the stream; the time since `begin`, in milliseconds.
    Status end(hipStream_t stream, float* ms) {
        MIOCONV_TRY(MIOCONV_CALL(*api_, hipEventRecord, stop_, stream));
        MIOCONV_TRY(MIOCONV_CALL(*api_, hipEventSynchronize, stop_));
        const long switches = involuntary_switches() - switches_;
        MIOCONV_TRY(MIOCONV_CALL(*api_, hipEventElapsedTime, ms, start_, stop_));
        // One in so many milliseconds is usual, and hardly felt.
        constexpr float usual_ms = 20;
        disturbed_ =
            api_->provider == Provider::cpu && static_cast<float>(switches) > *ms / usual_ms;
        return {};
    }

    /// Whether the system took a core away between `begin` and `end`, oftener than it always does:
    /// on a CPU the time then says little, since the threads wait for one another.
    bool disturbed() const { return disturbed_; }

private:
    static long involuntary_switches() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_nivcsw;
    }

    const Api* api_ = nullptr;
    hipEvent_t start_ = nullptr, stop_ = nullptr;
    long switches_ = 0;
    bool disturbed_ = false;
};

}  // namespace mioconv
