#include "depthwise_tiles.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace mioconv::cpu::depthwise {
namespace {

// `count` pixels of 16 channels, `step` floats apart in each, to vectors.
void gather(const float* const* channels, std::int64_t step, std::int64_t count, float* to) {
    std::int64_t i = 0;
#if defined(__x86_64__)
    for (; step == 1 && i + 4 <= count; i += 4) {
        for (int lane = 0; lane < kLanes; lane += 4) {
            __m128 a = _mm_loadu_ps(channels[lane] + i), b = _mm_loadu_ps(channels[lane + 1] + i);
            __m128 c = _mm_loadu_ps(channels[lane + 2] + i);
            __m128 d = _mm_loadu_ps(channels[lane + 3] + i);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            float* const pixel = to + i * kLanes + lane;
            _mm_storeu_ps(pixel, a);
            _mm_storeu_ps(pixel + kLanes, b);
            _mm_storeu_ps(pixel + 2 * kLanes, c);
            _mm_storeu_ps(pixel + 3 * kLanes, d);
        }
    }
#endif
    for (; i < count; ++i) {
        for (int lane = 0; lane < kLanes; ++lane) to[i * kLanes + lane] = channels[lane][i * step];
    }
}

// The other way, for some of the lanes.
void scatter(
    const float* from, Range lanes, std::int64_t step, std::int64_t count, float* const* channels) {
    std::int64_t lane = lanes.begin;
    while (lane < lanes.end) {
        std::int64_t i = 0;
        int together = 1;
#if defined(__x86_64__)
        if (step == 1 && lane + 4 <= lanes.end) {
            together = 4;
            for (; i + 4 <= count; i += 4) {
                const float* const pixel = from + i * kLanes + lane;
                __m128 a = _mm_loadu_ps(pixel), b = _mm_loadu_ps(pixel + kLanes);
                __m128 c = _mm_loadu_ps(pixel + 2 * kLanes);
                __m128 d = _mm_loadu_ps(pixel + 3 * kLanes);
                _MM_TRANSPOSE4_PS(a, b, c, d);
                _mm_storeu_ps(channels[lane] + i, a);
                _mm_storeu_ps(channels[lane + 1] + i, b);
                _mm_storeu_ps(channels[lane + 2] + i, c);
                _mm_storeu_ps(channels[lane + 3] + i, d);
            }
        }
#endif
        for (; i < count; ++i) {
            for (int l = 0; l < together; ++l) {
                channels[lane + l][i * step] = from[i * kLanes + lane + l];
            }
        }
        lane += together;
    }
}

// Runs of pixels in a part of a plane: rows, or all of them where they have no gaps.
// body(offset in a channel's plane, pixels before, pixels)
template <class Body>
void each_run(const Axes& axes, Range rows, Range columns, const Body& body) {
    const std::int64_t row_step = axes.stride[1], step = axes.stride[2];
    const bool whole = row_step == columns.size() * step;
    const std::int64_t runs = whole ? 1 : rows.size();
    const std::int64_t count = whole ? rows.size() * columns.size() : columns.size();
    for (std::int64_t run = 0; run < runs; ++run) {
        body((rows.begin + run) * row_step + columns.begin * step, run * count, count);
    }
}

}  // namespace

View read_tile(
    const float* plane, const Tensor& tensor, std::int64_t multiplier, const Block& block,
    Range rows, Range columns, float* tile) {
    each_run(tensor.axes, rows, columns, [&](auto offset, auto before, auto count) {
        const float* channels[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
            channels[lane] = plane + offset + block.channel(lane) / multiplier * tensor.second;
        }
        gather(channels, tensor.axes.stride[2], count, tile + before * kLanes);
    });
    return {tile, columns.size() * kLanes, kLanes, rows.begin, columns.begin};
}

void write_tile(
    const float* tile, const Block& block, Range rows, Range columns, const Tensor& tensor,
    float* plane) {
    each_run(tensor.axes, rows, columns, [&](auto offset, auto before, auto count) {
        float* channels[kLanes];
        for (int lane = 0; lane < kLanes; ++lane) {
            channels[lane] = plane + offset + block.channel(lane) * tensor.second;
        }
        scatter(tile + before * kLanes, block.own, tensor.axes.stride[2], count, channels);
    });
}

}  // namespace mioconv::cpu::depthwise
