// Shares of work: ranges, and how evenly threads take them.
#pragma once

#include <cstdint>

namespace mioconv::cpu {

// Work that cannot be shared out better than this is divided further.
constexpr double kFairShare = 1.05;

struct Range {
    std::int64_t begin, end;

    std::int64_t size() const { return end - begin; }
    bool empty() const { return begin >= end; }
};

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The piece of `total` with this index, of `pieces` that differ by one at most.
inline Range share_of(std::int64_t total, std::int64_t pieces, std::int64_t index) {
    return {total * index / pieces, total * (index + 1) / pieces};
}

// How much of the work the busiest thread has, over its fair share.
inline double imbalance(std::int64_t items, int threads) {
    return static_cast<double>(divide_up(items, threads) * threads) / static_cast<double>(items);
}

// In how many parts, up to `most`, each of `items` has to be divided for a fair share.
inline std::int64_t fair_parts(std::int64_t items, std::int64_t most, int threads) {
    std::int64_t best = 1;
    for (std::int64_t parts = 1; parts <= most; ++parts) {
        if (imbalance(items * best, threads) <= kFairShare) break;
        if (imbalance(items * parts, threads) < imbalance(items * best, threads)) best = parts;
    }
    return best;
}

}  // namespace mioconv::cpu
