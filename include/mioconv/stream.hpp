// Order between streams, and memory that outlives the call which made it.
#pragma once

#include "device.hpp"

namespace mioconv {

/// What is queued on `after` from now on waits for what is queued on `before` by now; the host does
/// not wait. The device of both must be current.
inline Status order_streams(const Api& api, hipStream_t before, hipStream_t after) {
    if (before == after) return {};
    hipEvent_t event = nullptr;
    MIOCONV_TRY(MIOCONV_CALL(api, hipEventCreateWithFlags, &event, hipEventDisableTiming));
    Status status = MIOCONV_CALL(api, hipEventRecord, event, before);
    if (status.ok()) status = MIOCONV_CALL(api, hipStreamWaitEvent, after, event, 0);
    // What waits for an event keeps it alive.
    const Status ended = MIOCONV_CALL(api, hipEventDestroy, event);
    return status.ok() ? ended : status;
}

/// Whose memory a pointer is, as a runtime says.
struct PointerOwner {
    MemoryType type = MemoryType::unregistered;
    int device = 0;
};

/// Not knowing the pointer is an answer, not an error; it leaves none behind.
inline PointerOwner owner_of(const Api& api, const void* data) {
    hipPointerAttribute_t attributes{};
    if (api.hipPointerGetAttributes(&attributes, data) != hipSuccess) {
        api.hipGetLastError();
        return {};
    }
    return {api.memory_type(attributes.type), attributes.device};
}

/// Memory of a device, made on a stream and freed in its order.
class DeviceMemory {
public:
    DeviceMemory() = default;
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;
    ~DeviceMemory() { release(); }

    Status allocate(const Api& api, int device, std::size_t bytes, hipStream_t stream) {
        CurrentDevice current;
        MIOCONV_TRY(current.set(api, device));
        int pools = 0;
        if (api.hipMallocAsync && api.hipFreeAsync &&
            api.hipDeviceGetAttribute(&pools, hipDeviceAttributeMemoryPoolsSupported, device) !=
                hipSuccess) {
            api.hipGetLastError();
            pools = 0;
        }
        void* data = nullptr;
        const Status status = pools ? MIOCONV_CALL(api, hipMallocAsync, &data, bytes, stream)
                                    : MIOCONV_CALL(api, hipMalloc, &data, bytes);
        if (!status.ok()) {
            api.hipGetLastError();
            return status;
        }
        api_ = &api;
        data_ = data;
        device_ = device;
        stream_ = stream;
        stream_ordered_ = pools != 0;
        return {};
    }

    void* data() const { return data_; }
    hipStream_t stream() const { return stream_; }
    int device() const { return device_; }
    const Api* api() const { return api_; }

    /// Somebody else works on it, on a stream that may be gone when the memory is freed.
    void share() { shared_ = true; }
    /// Leaves the memory to its fate: in a forked child nothing of the parent's device may be
    /// touched.
    void abandon() { data_ = nullptr; }

    void release() {
        if (!data_) return;
        CurrentDevice current;
        // Failing leaves nothing to be done: a destructor has nobody to tell.
        if (current.set(*api_, device_).ok()) {
            if (shared_) api_->hipDeviceSynchronize();
            if (stream_ordered_)
                api_->hipFreeAsync(data_, stream_);
            else
                api_->hipFree(data_);
        }
        data_ = nullptr;
    }

private:
    const Api* api_ = nullptr;
    void* data_ = nullptr;
    int device_ = 0;
    hipStream_t stream_ = nullptr;
    bool stream_ordered_ = false, shared_ = false;
};

}  // namespace mioconv
