// Timing what runs on a stream, with the library's own events.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "error.hpp"

namespace mioconv {

class Timing {
public:
    /// Microseconds of a clock that never goes back.
    using Clock = std::int64_t (*)();

    explicit Timing(Clock now = steady) : now_(now) {}
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
        calls_ = calls;
        const std::int64_t hold = (calls + 1) * per_call_;
        // Every call of the cpu provider is done when it returns. Without a hold the time is good
        // enough to go on with.
        const bool holds =
            api_->provider != Provider::cpu && api_->mioconvHoldStream &&
            api_->mioconvHoldStream(stream, static_cast<int>(hold)) == miopenStatusSuccess;
        held_ = holds ? hold : 0;
        switches_ = involuntary_switches();
        began_ = now_();
        return MIOCONV_CALL(*api_, hipEventRecord, start_, stream);
    }

    /// Waits for the stream; the time since `begin`, in milliseconds.
    Status end(hipStream_t stream, float* ms) {
        MIOCONV_TRY(MIOCONV_CALL(*api_, hipEventRecord, stop_, stream));
        const std::int64_t queueing = now_() - began_;
        MIOCONV_TRY(MIOCONV_CALL(*api_, hipEventSynchronize, stop_));
        const long switches = involuntary_switches() - switches_;
        MIOCONV_TRY(MIOCONV_CALL(*api_, hipEventElapsedTime, ms, start_, stop_));
        if (api_->provider == Provider::cpu) {
            // One in so many milliseconds is usual, and hardly felt.
            constexpr float usual_ms = 20;
            disturbed_ = static_cast<float>(switches) > *ms / usual_ms;
        } else {
            disturbed_ = held_ > 0 && queueing > held_;
            // Half as much again as was needed: the next calls are much like these.
            per_call_ = std::clamp(queueing * 3 / 2 / (calls_ + 1) + 1, least_us, most_us);
        }
        return {};
    }

    /// Whether what was timed contains what it should not. On a CPU: the system took a core away
    /// between `begin` and `end`, oftener than it always does, and the threads wait for one
    /// another. On a held stream: the host was slower than the hold.
    bool disturbed() const { return disturbed_; }

private:
    static std::int64_t steady() {
        return std::chrono::duration_cast<std::chrono::microseconds>(
                   std::chrono::steady_clock::now().time_since_epoch())
            .count();
    }
    static long involuntary_switches() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_nivcsw;
    }

    // Of a call: more than queueing takes; what a slow host may have.
    static constexpr std::int64_t least_us = 20, most_us = 200;

    Clock now_;
    const Api* api_ = nullptr;
    hipEvent_t start_ = nullptr, stop_ = nullptr;
    int calls_ = 0;
    std::int64_t per_call_ = least_us;  // microseconds of the next hold, for each call
    std::int64_t held_ = 0, began_ = 0;
    long switches_ = 0;
    bool disturbed_ = false;
};

}  // namespace mioconv
