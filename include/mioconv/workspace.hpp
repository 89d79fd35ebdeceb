// Scratch memory in stream order, and who holds it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include "current_device.hpp"
#include "error.hpp"
#include "stream_id.hpp"

namespace mioconv {

struct MemoryStats {
    std::int64_t current = 0;   ///< bytes leased to calls now
    std::int64_t peak = 0;      ///< most that were ever leased at once
    std::int64_t reserved = 0;  ///< bytes taken from the device: leased and kept for the next call
};

/// Scratch memory from elsewhere, such as an array library's own allocator. Neither function is
/// called with a lock held.
struct Allocator {
    /// Memory to be used in the order of `stream`; null with a good status: not for this device.
    Status (*allocate)(
        const Api& api, int device, std::size_t bytes, hipStream_t stream, void** data);
    void (*free)(void* data);
};

/// The scratch memory of one device. What a call gives back is kept by stream: work already queued
/// on a stream ends before what is queued on it later, so a block may serve the next call on the
/// same stream while the GPU still uses it. Taking it from the device's memory pool and giving it
/// back in stream order instead is safe too, but each of the two takes half a microsecond of the
/// stream's time; that is done where the library cannot tell a stream from a later one that got the
/// same handle, and while a graph is captured, whose memory is the graph's for good.
class WorkspacePool {
public:
    struct Block {
        void* data = nullptr;
        std::size_t size = 0;
        hipStream_t stream = nullptr;
        const Allocator* from = nullptr;  ///< null: the device itself
        bool kept = false;  ///< after it is given back, for the next call
    };

    WorkspacePool(
        const Api& api, int device, bool stream_ordered, const Allocator* allocator = nullptr)
        : api_(api), device_(device), stream_ordered_(stream_ordered), allocator_(allocator) {}
    WorkspacePool(const WorkspacePool&) = delete;
    WorkspacePool& operator=(const WorkspacePool&) = delete;

    /// Memory in stream order; 0 bytes are no memory. When there is none, unused blocks go back to
    /// the device and it is asked once more. A failure leaves no error behind in HIP.
    Status lease(std::size_t bytes, hipStream_t stream, Block* out) {
        Status status = try_lease(bytes, stream, out);
        if (status.ok()) return status;
        api_.hipGetLastError();
        // A graph that is being captured would not survive giving memory back.
        if (!status.out_of_memory() || capturing(api_, stream)) return status;
        release_unused();
        status = try_lease(bytes, stream, out);
        if (!status.ok()) api_.hipGetLastError();
        return status;
    }
    void give_back(const Block& block) {
        if (!block.data) return;
        const bool lasts = block.kept && !block.from;
        if (block.from)
            block.from->free(block.data);
        else if (!lasts)
            api_.hipFreeAsync(block.data, block.stream);
        const std::lock_guard<std::mutex> lock(mutex_);
        stats_.current -= static_cast<std::int64_t>(block.size);
        if (!lasts) {
            stats_.reserved -= static_cast<std::int64_t>(block.size);
            return;
        }
        for (Kept& kept : blocks_) {
            if (kept.data != block.data) continue;
            kept.leased = false;
            if (kept.stream == block.stream) continue;
            kept.stream = block.stream;  // where it was used last
            kept.order = order_of(block.stream);
        }
    }

    /// Gives every block that no call holds back to the device, after the work on them has ended.
    void release_unused() {
        std::vector<Kept> unused;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            const auto first = std::partition(
                blocks_.begin(), blocks_.end(), [](const Kept& kept) { return kept.leased; });
            if (first != blocks_.end() && !work_has_ended()) return;
            unused.assign(first, blocks_.end());
            blocks_.erase(first, blocks_.end());
            for (const Kept& kept : unused) stats_.reserved -= static_cast<std::int64_t>(kept.size);
        }
        for (const Kept& kept : unused) api_.hipFree(kept.data);
        hipMemPool_t pool = nullptr;
        if (stream_ordered_ && api_.hipDeviceGetDefaultMemPool && api_.hipMemPoolTrimTo &&
            (api_.hipDeviceGetDefaultMemPool(&pool, device_) != hipSuccess ||
             api_.hipMemPoolTrimTo(pool, 0) != hipSuccess))
            api_.hipGetLastError();
    }

    /// Blocks come from here from now on; null: from the device. Blocks that are leased go back to
    /// where they came from.
    void set_allocator(const Allocator* allocator) { allocator_.store(allocator); }

    MemoryStats stats() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return stats_;
    }

private:
    Status try_lease(std::size_t bytes, hipStream_t stream, Block* out) {
        *out = {nullptr, bytes, stream, nullptr, false};
        if (bytes == 0) return {};
        if (const Allocator* allocator = allocator_.load(std::memory_order_relaxed)) {
            MIOCONV_TRY(allocator->allocate(api_, device_, bytes, stream, &out->data));
            if (out->data) {
                out->from = allocator;
                count_reserved(bytes);
                return {};
            }
        }
        if (!stream_ordered_) {
            // A block of ours would serve other calls while a graph still writes to it.
            if (capturing(api_, stream)) return refused_in_capture("hipMalloc");
            return lease_kept(bytes, stream, order_of(stream), out);
        }
        if (api_.mioconvGetStreamId && !capturing(api_, stream)) {
            const std::uint64_t order = order_of(stream);
            if (order != unknown_stream) return lease_kept(bytes, stream, order, out);
        }
        MIOCONV_TRY(MIOCONV_CALL(api_, hipMallocAsync, &out->data, bytes, stream));
        count_reserved(bytes);
        return {};
    }

    /// A block that is kept for as long as it is of use.
    struct Kept {
        void* data;
        std::size_t size;
        hipStream_t stream;
        std::uint64_t order;
        bool leased;
    };

    /// What a stream has and no later one, where memory comes in stream order. Elsewhere the handle
    /// has to do.
    std::uint64_t order_of(hipStream_t stream) const {
        if (!stream_ordered_) return reinterpret_cast<std::uintptr_t>(stream);
        return stream_id(api_, stream);
    }

    /// Waits for the device, where hipFree does not do so itself; whether that was possible.
    bool work_has_ended() const {
        if (!stream_ordered_) return true;
        CurrentDevice current;
        if (current.set(api_, device_).ok() && api_.hipDeviceSynchronize() == hipSuccess)
            return true;
        api_.hipGetLastError();
        return false;
    }

    Status lease_kept(std::size_t bytes, hipStream_t stream, std::uint64_t order, Block* out) {
        out->kept = true;
        void* outgrown = nullptr;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            Kept* fitting = nullptr;
            Kept* largest = nullptr;
            for (Kept& kept : blocks_) {
                if (kept.leased || kept.order != order) continue;
                if (kept.size >= bytes && (!fitting || kept.size < fitting->size)) fitting = &kept;
                if (!largest || kept.size > largest->size) largest = &kept;
            }
            if (fitting) {
                fitting->leased = true;
                fitting->stream = stream;
                out->data = fitting->data;
                out->size = fitting->size;
                count_lease(fitting->size);
                return {};
            }
            // The new block replaces the largest that was too small: sizes that grow step by step
            // must not pile up.
            if (largest) {
                outgrown = largest->data;
                stats_.reserved -= static_cast<std::int64_t>(largest->size);
                blocks_.erase(blocks_.begin() + (largest - blocks_.data()));
            }
        }
        if (outgrown) free_kept(outgrown, stream);
        // Streams that come and go must not leave blocks behind without end.
        constexpr std::size_t most_kept = 128;
        if (kept_blocks() >= most_kept) release_unused();
        constexpr std::size_t page = 4096;
        out->size = (bytes + page - 1) / page * page;
        if (stream_ordered_)
            MIOCONV_TRY(MIOCONV_CALL(api_, hipMallocAsync, &out->data, out->size, stream));
        else
            MIOCONV_TRY(MIOCONV_CALL(api_, hipMalloc, &out->data, out->size));
        try {
            const std::lock_guard<std::mutex> lock(mutex_);
            blocks_.push_back({out->data, out->size, stream, order, true});
        } catch (const std::bad_alloc&) {
            free_kept(out->data, stream);
            throw;
        }
        count_reserved(out->size);
        return {};
    }

    void free_kept(void* data, hipStream_t stream) const {
        if (stream_ordered_)
            api_.hipFreeAsync(data, stream);
        else
            api_.hipFree(data);
    }
    std::size_t kept_blocks() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return blocks_.size();
    }
    void count_reserved(std::size_t bytes) {
        const std::lock_guard<std::mutex> lock(mutex_);
        stats_.reserved += static_cast<std::int64_t>(bytes);
        count_lease(bytes);
    }
    void count_lease(std::size_t bytes) {
        stats_.current += static_cast<std::int64_t>(bytes);
        stats_.peak = std::max(stats_.peak, stats_.current);
    }

    const Api& api_;
    const int device_;
    const bool stream_ordered_;
    std::atomic<const Allocator*> allocator_;
    mutable std::mutex mutex_;
    std::vector<Kept> blocks_;
    MemoryStats stats_;
};

/// A piece of scratch memory for the length of one call.
class Workspace {
public:
    Workspace() = default;
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    ~Workspace() { give_back(); }

    Status lease(WorkspacePool& pool, std::size_t bytes, hipStream_t stream) {
        give_back();
        const Status status = pool.lease(bytes, stream, &block_);
        if (status.ok()) pool_ = &pool;
        return status;
    }
    void give_back() {
        if (pool_) pool_->give_back(block_);
        pool_ = nullptr;
        block_ = {};
    }
    /// The memory is used on another stream from now on, and given back in that one's order.
    void use(hipStream_t stream) { block_.stream = stream; }
    void* data() const { return block_.data; }

private:
    WorkspacePool* pool_ = nullptr;
    WorkspacePool::Block block_;
};

}  // namespace mioconv
