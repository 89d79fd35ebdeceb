// Which stream a handle is now, and work whose stream may be gone.
#pragma once

#include <cstdint>

#include "error.hpp"

namespace mioconv {

/// Stands for a stream that nothing tells from a later one of the same handle.
constexpr std::uint64_t unknown_stream = UINT64_MAX;

/// A number that no other stream of the process has or gets: a handle may be that of a new stream
/// as soon as its own is destroyed, and the handle of the per-thread default stream is every
/// thread's. In a capture nobody may ask: CUDA would end it.
inline std::uint64_t stream_id(const Api& api, hipStream_t stream) {
    std::uint64_t id = unknown_stream;
    if (api.mioconvGetStreamId) {
        if (capturing(api, stream)) return id;
        if (api.mioconvGetStreamId(stream, &id) == miopenStatusSuccess) return id;
        api.hipGetLastError();
        return unknown_stream;
    }
    // The legacy default stream is there for good.
    return stream == nullptr ? 0 : unknown_stream;
}

/// The work that was queued last on what outlives a call, for the next use on whatever stream.
class LastUse {
public:
    LastUse() = default;
    LastUse(const LastUse&) = delete;
    LastUse& operator=(const LastUse&) = delete;
    ~LastUse() {
        if (event_) api_->hipEventDestroy(event_);
    }

    /// Work was queued on `stream`, now. An event says when it ends where that is asked for or the
    /// stream has no number; not in a capture, when the work is the graph's. The device must be
    /// current. Where the event cannot be had, the next use waits for the device.
    Status note(const Api& api, hipStream_t stream, bool by_event) {
        used_ = true;
        stream_ = stream_id(api, stream);
        recorded_ = false;
        if (!(by_event || stream_ == unknown_stream) || capturing(api, stream)) return {};
        api_ = &api;
        if (!event_)
            MIOCONV_TRY(MIOCONV_CALL(api, hipEventCreateWithFlags, &event_, hipEventDisableTiming));
        MIOCONV_TRY(MIOCONV_CALL(api, hipEventRecord, event_, stream));
        recorded_ = true;
        return {};
    }
    /// What is queued on `stream` from now on comes after it: on the same stream it does so anyway,
    /// else by the event, or else the host waits for the device.
    Status wait(const Api& api, hipStream_t stream) const {
        if (!used_ || is_on(api, stream)) return {};
        if (recorded_) return MIOCONV_CALL(api, hipStreamWaitEvent, stream, event_, 0);
        return MIOCONV_CALL(api, hipDeviceSynchronize);
    }
    bool is_on(const Api& api, hipStream_t stream) const {
        return stream_ != unknown_stream && stream_ == stream_id(api, stream);
    }
    bool recorded() const { return recorded_; }
    /// In a forked child nothing of the parent's device may be touched.
    void abandon() { event_ = nullptr; }

private:
    const Api* api_ = nullptr;
    hipEvent_t event_ = nullptr;
    std::uint64_t stream_ = unknown_stream;
    bool used_ = false, recorded_ = false;
};

}  // namespace mioconv
