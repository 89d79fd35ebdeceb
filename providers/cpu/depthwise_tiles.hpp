// What the kernels for depthwise convolutions share: blocks of 16 channels, and tiles of planes in
// which a pixel's channels are neighbours.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "recipe.hpp"
#include "shares.hpp"
#include "spatial.hpp"
#include "vectors.hpp"

namespace mioconv::cpu::depthwise {

// A thread's transposed pieces of both tensors stay in its second-level cache.
constexpr std::int64_t kTileBytes = 256 << 10;
// The pixels of a plane, 16 channels each, where a kernel finds them.
template <class Float>
struct BasicView {
    Float* data;  // of the pixel (first_row, first_column)
    std::int64_t row_step, pixel_step;
    std::int64_t first_row, first_column;

    Float* row(std::int64_t index) const { return data + (index - first_row) * row_step; }
};
using View = BasicView<const float>;
using Target = BasicView<float>;

// 16 channels. The last block overlaps the one before it where channels do not divide by 16, and
// repeats the last channel where there are fewer: `own` are the lanes that are nobody else's.
struct Block {
    std::int64_t first, channels;
    Range own;

    Block(std::int64_t index, std::int64_t all)
        : first(std::max<std::int64_t>(std::min(index * kLanes, all - kLanes), 0)),
          channels(all),
          own{index * kLanes - first, std::min<std::int64_t>(all - first, kLanes)} {}

    std::int64_t channel(int lane) const { return std::min(first + lane, channels - 1); }
};

// Part of a plane of the tensor, transposed to `tile`. A channel of the tensor serves `multiplier`
// channels of the block.
View read_tile(
    const float* plane, const Tensor& tensor, std::int64_t multiplier, const Block& block,
    Range rows, Range columns, float* tile);

inline Target target_of(float* tile, Range rows, Range columns) {
    return {tile, columns.size() * kLanes, kLanes, rows.begin, columns.begin};
}

// Back from a tile: the block's own lanes.
void write_tile(
    const float* tile, const Block& block, Range rows, Range columns, const Tensor& tensor,
    float* plane);

// The routines' recipes; `problem` must be one that they apply to.
Recipe make_weights_recipe(const ConvProblem& problem, int threads);
Recipe make_filter_recipe(const ConvProblem& problem, int threads);

}  // namespace mioconv::cpu::depthwise
