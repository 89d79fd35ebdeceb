// Scratch memory in stream order, and who holds it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "error.hpp"

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

/// The scratch memory of one device. Where the device has memory pools, blocks come from and go to
/// them in stream order; elsewhere freed blocks are kept by stream: work already queued on a stream
/// ends before what is queued on it later, so a block may serve the next call on the same stream
/// while the GPU still uses it.
class WorkspacePool {
public:
    struct Block {
        void* data = nullptr;
        std::size_t size = 0;
        hipStream_t stream = nullptr;
        bool leased = false;
        const Allocator* from = nullptr;  ///< null: the device itself
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
        if (!status.out_of_memory()) return status;
        release_unused();
        status = try_lease(bytes, stream, out);
        if (!status.ok()) api_.hipGetLastError();
        return status;
    }
    void give_back(const Block& block) {
        if (!block.data) return;
        if (block.from)
            block.from->free(block.data);
        else if (stream_ordered_)
            api_.hipFreeAsync(block.data, block.stream);
        const std::lock_guard<std::mutex> lock(mutex_);
        stats_.current -= static_cast<std::int64_t>(block.size);
        if (block.from || stream_ordered_) {
            stats_.reserved -= static_cast<std::int64_t>(block.size);
            return;
        }
        for (Block& kept : blocks_) {
            if (kept.data != block.data) continue;
            kept.leased = false;
            kept.stream = block.stream;  // where it was used last
        }
    }

    /// Gives every block that no call holds back to the device. hipFree waits for the device, so
    /// work still queued on a block ends first.
    void release_unused() {
        std::vector<void*> unused;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            const auto kept = std::partition(
                blocks_.begin(), blocks_.end(), [](const Block& block) { return block.leased; });
            for (auto block = kept; block != blocks_.end(); ++block) {
                unused.push_back(block->data);
                stats_.reserved -= static_cast<std::int64_t>(block->size);
            }
            blocks_.erase(kept, blocks_.end());
        }
        for (void* data : unused) api_.hipFree(data);
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
        *out = {nullptr, bytes, stream, true, nullptr};
        if (bytes == 0) return {};
        if (const Allocator* allocator = allocator_.load(std::memory_order_relaxed)) {
            MIOCONV_TRY(allocator->allocate(api_, device_, bytes, stream, &out->data));
            if (out->data) {
                out->from = allocator;
                count_reserved(bytes);
                return {};
            }
        }
        // A block of ours would serve other calls while a graph still writes to it.
        if (!stream_ordered_ && capturing(api_, stream)) return refused_in_capture("hipMalloc");
        if (stream_ordered_) {
            MIOCONV_TRY(MIOCONV_CALL(api_, hipMallocAsync, &out->data, bytes, stream));
            count_reserved(bytes);
            return {};
        }
        return lease_cached(bytes, stream, out);
    }

    Status lease_cached(std::size_t bytes, hipStream_t stream, Block* out) {
        void* outgrown = nullptr;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            Block* fitting = nullptr;
            Block* largest = nullptr;
            for (Block& block : blocks_) {
                if (block.leased || block.stream != stream) continue;
                if (block.size >= bytes && (!fitting || block.size < fitting->size))
                    fitting = &block;
                if (!largest || block.size > largest->size) largest = &block;
            }
            if (fitting) {
                fitting->leased = true;
                *out = *fitting;
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
        if (outgrown) api_.hipFree(outgrown);
        constexpr std::size_t page = 4096;
        out->size = (bytes + page - 1) / page * page;
        MIOCONV_TRY(MIOCONV_CALL(api_, hipMalloc, &out->data, out->size));
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            blocks_.push_back(*out);
        }
        count_reserved(out->size);
        return {};
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
    std::vector<Block> blocks_;
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
