// Memory in stream order, from a pool of our own.
#pragma once

#include <cstddef>

#include "error.hpp"

namespace mioconv::cuda {

// The device's pool, which keeps what is freed until it is trimmed.
cudaMemPool_t memory_pool(int device);

// On the current device; throws HipError.
void* allocate_async(std::size_t size, cudaStream_t stream);

// A piece of memory for work on one stream.
class StreamMemory {
public:
    StreamMemory(std::size_t size, cudaStream_t stream)
        : memory_(size == 0 ? nullptr : allocate_async(size, stream)), stream_(stream) {}
    StreamMemory(const StreamMemory&) = delete;
    StreamMemory& operator=(const StreamMemory&) = delete;
    ~StreamMemory() {
        if (memory_ != nullptr) runtime().cudaFreeAsync(memory_, stream_);
    }

    void* get() const noexcept { return memory_; }

private:
    void* memory_;
    cudaStream_t stream_;
};

}  // namespace mioconv::cuda
