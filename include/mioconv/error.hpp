// What a native call answered. C++ passes this value on; Cython alone turns it into an exception.
#pragma once

#include "api.hpp"

namespace mioconv {

/// The outcome of the last native call of a sequence: which one, and its status as that library
/// counts (hipError_t or miopenStatus_t; 0 is success in both).
struct Status {
    const char* call = nullptr;
    int code = 0;
    bool hip = false;

    bool ok() const { return code == 0; }
    bool out_of_memory() const {
        return hip ? code == hipErrorOutOfMemory : code == miopenStatusAllocFailed;
    }
    /// Not possible while a stream is captured into a graph; HIP has a row of codes for it.
    bool capture() const { return hip && code >= hipErrorStreamCaptureUnsupported && code <= 908; }
};

inline Status status_of(const char* call, miopenStatus_t code) { return {call, code, false}; }
inline Status status_of(const char* call, hipError_t code) { return {call, code, true}; }

/// Whether what is queued on `stream` is captured into a graph instead of being run.
inline bool capturing(const Api& api, hipStream_t stream) {
    if (api.provider == Provider::cpu || !api.hipStreamIsCapturing) return false;
    hipStreamCaptureStatus status = hipStreamCaptureStatusNone;
    if (api.hipStreamIsCapturing(stream, &status) == hipSuccess)
        return status != hipStreamCaptureStatusNone;
    api.hipGetLastError();
    return true;  // the default stream cannot be asked while another one is captured
}
/// What a call that would have to be made outside of a capture answers instead of being made.
inline Status refused_in_capture(const char* call) {
    return {call, hipErrorStreamCaptureUnsupported, true};
}

}  // namespace mioconv

/// Calls a function of the table and keeps its name with what it answered. A NULL entry (an
/// optional function that the loaded library lacks) answers NotImplemented, as newer releases do
/// themselves.
#define MIOCONV_CALL(api, name, ...) ::mioconv::status_of(#name, (api).name(__VA_ARGS__))
#define MIOCONV_CALL_OPTIONAL(api, name, ...)                          \
    ((api).name ? ::mioconv::status_of(#name, (api).name(__VA_ARGS__)) \
                : ::mioconv::status_of(#name, miopenStatusNotImplemented))
/// Leaves the calling function with the first status that is not success.
#define MIOCONV_TRY(expression)                                \
    do {                                                       \
        const ::mioconv::Status mioconv_status = (expression); \
        if (!mioconv_status.ok()) return mioconv_status;       \
    } while (false)
