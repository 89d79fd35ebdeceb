// MIOpen handles: a pool per device, each handle leased to one thread at a time.
#pragma once

#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "error.hpp"

namespace mioconv {

/// A handle and the stream that it was last given. miopenSetStream is expensive and not
/// thread-safe, so it is called only by the leaseholder and only when the stream changes.
struct PooledHandle {
    explicit PooledHandle(const Api& api) : api(api) {}
    PooledHandle(const PooledHandle&) = delete;
    PooledHandle& operator=(const PooledHandle&) = delete;
    ~PooledHandle() {
        if (handle) api.miopenDestroy(handle);
    }

    Status use(hipStream_t wanted) {
        if (stream == wanted) return {};
        MIOCONV_TRY(MIOCONV_CALL(api, miopenSetStream, handle, wanted));
        stream = wanted;
        return {};
    }

    const Api& api;
    miopenHandle_t handle = nullptr;
    hipStream_t stream = nullptr;
    std::thread::id
        thread;  ///< who had it last: compiled kernels belong to a handle, so ask for it again
    bool leased = false;
};

class HandlePool {
public:
    explicit HandlePool(const Api& api) : api_(api) {}

    /// Hands out a handle on `stream`: the one that this thread had before where it is free, then
    /// any free one, then a new one. The device must be current.
    Status lease(hipStream_t stream, PooledHandle** out) {
        *out = take();
        if (!*out) MIOCONV_TRY(create(stream, out));
        const Status status = (*out)->use(stream);
        if (!status.ok()) give_back(*out);
        return status;
    }

    /// A handle that nobody uses now, whatever its stream; null where there is none.
    PooledHandle* take_idle() { return take(); }

    void give_back(PooledHandle* handle) {
        const std::lock_guard<std::mutex> lock(mutex_);
        handle->leased = false;
    }

private:
    PooledHandle* take() {
        const std::thread::id me = std::this_thread::get_id();
        const std::lock_guard<std::mutex> lock(mutex_);
        PooledHandle* found = nullptr;
        for (const auto& pooled : handles_) {
            if (pooled->leased) continue;
            if (!found || pooled->thread == me) found = pooled.get();
            if (pooled->thread == me) break;
        }
        if (found) {
            found->leased = true;
            found->thread = me;
        }
        return found;
    }

    Status create(hipStream_t stream, PooledHandle** out) {
        if (capturing(api_, stream)) return refused_in_capture("miopenCreateWithStream");
        auto pooled = std::make_unique<PooledHandle>(api_);
        MIOCONV_TRY(MIOCONV_CALL(api_, miopenCreateWithStream, &pooled->handle, stream));
        pooled->stream = stream;
        pooled->thread = std::this_thread::get_id();
        pooled->leased = true;
        *out = pooled.get();
        const std::lock_guard<std::mutex> lock(mutex_);
        handles_.push_back(std::move(pooled));
        return {};
    }

    const Api& api_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<PooledHandle>> handles_;
};

/// Holds a pooled handle for the length of one call.
class HandleLease {
public:
    HandleLease() = default;
    HandleLease(const HandleLease&) = delete;
    HandleLease& operator=(const HandleLease&) = delete;
    HandleLease(HandleLease&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), pooled_(other.pooled_) {}
    ~HandleLease() { give_back(); }

    Status lease(HandlePool& pool, hipStream_t stream) {
        give_back();
        const Status status = pool.lease(stream, &pooled_);
        if (status.ok()) pool_ = &pool;
        return status;
    }
    /// Takes a handle only where one is idle.
    bool lease_idle(HandlePool& pool) {
        give_back();
        pooled_ = pool.take_idle();
        if (pooled_) pool_ = &pool;
        return pooled_ != nullptr;
    }
    void give_back() {
        if (pool_) pool_->give_back(pooled_);
        pool_ = nullptr;
    }
    /// Goes on with the same handle on another stream.
    Status use(hipStream_t stream) { return pooled_->use(stream); }
    miopenHandle_t get() const { return pooled_->handle; }

private:
    HandlePool* pool_ = nullptr;
    PooledHandle* pooled_ = nullptr;
};

}  // namespace mioconv
