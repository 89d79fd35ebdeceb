// Timing what runs on a stream, with the library's own events.
#pragma once

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
        return MIOCONV_CALL(*api_, hipEventRecord, start_, stream);
    }

    /// Waits for the stream; the time since `begin`, in milliseconds.
    Status end(hipStream_t stream, float* ms) {
        MIOCONV_TRY(MIOCONV_CALL(*api_, hipEventRecord, stop_, stream));
        MIOCONV_TRY(MIOCONV_CALL(*api_, hipEventSynchronize, stop_));
        return MIOCONV_CALL(*api_, hipEventElapsedTime, ms, start_, stop_);
    }

private:
    const Api* api_ = nullptr;
    hipEvent_t start_ = nullptr, stop_ = nullptr;
};

}  // namespace mioconv
