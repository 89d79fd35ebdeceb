// Scratch memory in stream order, and who holds it.
#pragma once

#include <algorithm>
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
    };

    WorkspacePool(const Api& api, bool stream_ordered)
        : api_(api), stream_ordered_(stream_ordered) {}
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
        if (stream_ordered_) api_.hipFreeAsync(block.data, block.stream);
        const std::lock_guard<std::mutex> lock(mutex_);
        stats_.current -= static_cast<std::int64_t>(block.size);
        if (stream_ordered_) {
            stats_.reserved -= static_cast<std::int64_t>(block.size);
            return;
        }
        for (Block& kept : blocks_)
            if (kept.data == block.data) kept.leased = false;
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
    }

    MemoryStats stats() const {
        const std::lock_guard<std::mutex> lock(mutex_);
        return stats_;
    }

private:
    Status try_lease(std::size_t bytes, hipStream_t stream, Block* out) {
        *out = {nullptr, bytes, stream, true};
        if (bytes == 0) return {};
        if (stream_ordered_) {
            MIOCONV_TRY(MIOCONV_CALL(api_, hipMallocAsync, &out->data, bytes, stream));
            const std::lock_guard<std::mutex> lock(mutex_);
            stats_.reserved += static_cast<std::int64_t>(bytes);
            count_lease(bytes);
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
        const std::lock_guard<std::mutex> lock(mutex_);
        blocks_.push_back(*out);
        stats_.reserved += static_cast<std::int64_t>(out->size);
        count_lease(out->size);
        return {};
    }

    void count_lease(std::size_t bytes) {
        stats_.current += static_cast<std::int64_t>(bytes);
        stats_.peak = std::max(stats_.peak, stats_.current);
    }

    const Api& api_;
    const bool stream_ordered_;
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
    void* data() const { return block_.data; }

private:
    WorkspacePool* pool_ = nullptr;
    WorkspacePool::Block block_;
};

}  // namespace mioconv
