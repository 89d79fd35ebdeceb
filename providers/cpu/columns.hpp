// The input of a gradient of weights as matrices: a column for each input channel and position of
// the kernel (a tap), a row for each position of the output (a pixel).
#pragma once

#include <vector>

#include "spatial.hpp"

namespace mioconv::cpu {

// A position of the kernel that meets the input somewhere.
struct Tap {
    std::int64_t at[kSpace];
    std::int64_t offset;  // of its weight
};

// Where the input of one group is found, and how its columns are counted.
struct Columns {
    Tensor src;
    Axes dst;
    Window window;
    std::int64_t channels;
    std::vector<Tap> taps;
    bool taps_inner;  // a channel's taps are neighbours; else a tap's channels
    bool by_pixel;  // a pixel's columns are neighbours in what is gathered; else a column's pixels

    std::int64_t count() const { return channels * static_cast<std::int64_t>(taps.size()); }
    std::int64_t channel_of(std::int64_t column) const;
    std::size_t tap_of(std::int64_t column) const;
};

Columns columns_of(const ConvProblem& problem);

// Columns whose elements of the input lie next to each other: channels of one tap, or, where
// channels are apart, neighbouring taps of a row of the kernel.
struct Run {
    std::int64_t channel, length;
    std::size_t tap;  // the first one
};

// `width` columns from `first` on.
struct Piece {
    std::int64_t first, width;
    std::vector<Run> runs;  // for what is gathered by pixel

    Piece(const Columns& columns, std::int64_t first, std::int64_t width);
};

// The columns of a piece at the output's pixels [begin, begin + pixels), counted through all
// images; padding is zero. `src` is the group's. Does not throw.
void gather(
    const Columns& columns, const Piece& piece, const float* src, std::int64_t begin,
    std::int64_t pixels, float* to);

}  // namespace mioconv::cpu
