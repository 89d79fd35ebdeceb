// Scratch memory between zones that nobody may write to.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "workspace.hpp"

namespace mioconv {

class GuardedMemory {
public:
    static constexpr std::size_t zone = 4096;  ///< bytes on each side; keeps alignments
    static constexpr std::size_t alignment = 64;  ///< more than kernels tell apart

    /// `bytes` bytes with fresh zones around them, aligned as the memory at `like` is; 0 bytes are
    /// no memory.
    Status lease(
        const Api& api, WorkspacePool& pool, std::size_t bytes, hipStream_t stream,
        const void* like = nullptr) {
        api_ = &api;
        bytes_ = bytes;
        offset_ = reinterpret_cast<std::uintptr_t>(like) % alignment;
        stream_ = stream;
        if (bytes == 0) return {};
        MIOCONV_TRY(held_.lease(pool, bytes + 2 * zone + alignment, stream));
        return restore();
    }
    /// Makes the zones anew.
    Status restore() {
        if (bytes_ == 0) return {};
        for (char* const start : {before(), behind()}) {
            if (on_host())
                std::memset(start, untouched, zone);
            else
                MIOCONV_TRY(MIOCONV_CALL(*api_, hipMemsetAsync, start, untouched, zone, stream_));
        }
        return {};
    }
    void give_back() {
        held_.give_back();
        bytes_ = 0;
    }
    void* data() const { return bytes_ ? before() + zone : nullptr; }

    /// Whether the zones are as they were, once the stream's work has ended.
    Status look(bool* intact) const {
        *intact = true;
        if (bytes_ == 0) return {};
        std::vector<char> seen(on_host() ? 0 : zone);
        for (const char* start : {before(), behind()}) {
            if (!on_host()) {
                MIOCONV_TRY(MIOCONV_CALL(
                    *api_, hipMemcpyAsync, seen.data(), start, zone, hipMemcpyDeviceToHost,
                    stream_));
                MIOCONV_TRY(MIOCONV_CALL(*api_, hipStreamSynchronize, stream_));
                start = seen.data();
            }
            *intact = *intact && std::all_of(start, start + zone, [](char byte) {
                return static_cast<unsigned char>(byte) == untouched;
            });
        }
        return {};
    }

private:
    static constexpr int untouched = 0xa5;

    bool on_host() const { return api_->provider == Provider::cpu; }
    char* before() const { return static_cast<char*>(held_.data()) + offset_; }
    char* behind() const { return before() + zone + bytes_; }

    const Api* api_ = nullptr;
    Workspace held_;
    std::size_t bytes_ = 0, offset_ = 0;
    hipStream_t stream_ = nullptr;
};

}  // namespace mioconv
