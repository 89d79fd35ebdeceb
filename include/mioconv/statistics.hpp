// Counters of selection, by direction, and what the last call of this thread did.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "directions.hpp"

namespace mioconv {

struct DirectionStatistics {
    std::atomic<std::int64_t> finds{0}, fallbacks{0}, find_us{0};
};

/// Statistics over all problems since the process started or the cache was cleared.
struct Statistics {
    std::array<DirectionStatistics, direction_count> by_direction;

    DirectionStatistics& of(Direction direction) {
        return by_direction[static_cast<std::size_t>(direction)];
    }
    void clear() {
        for (auto& row : by_direction) row.finds = row.fallbacks = row.find_us = 0;
    }
};

struct CallRecord {
    int provider = -1;  ///< -1: nothing ran yet in this thread
    int direction = 0;
    int mode = 0;       ///< 0 immediate, 1 benchmark, 2 pinned
    int way = 0;  ///< 0 one convolution by solution id, and separate steps after it where the
                  ///< operator has any; 1 nothing to compute; 2 one fused operation
    std::uint64_t solution_id = 0;
    std::int64_t workspace = 0;
    int tried = 0;  ///< solutions that failed before this one
};

inline CallRecord& last_call() {
    thread_local CallRecord record;
    return record;
}

}  // namespace mioconv
