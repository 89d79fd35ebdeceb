// The CUDA C++ of depthwise convolutions in half types with as many outputs as inputs: sums in
// float, one rounding, the same bits at every run. A thread has a tile of results, so that what it
// reads serves all results it enters.
//
// Compiled for each combination of these macros:
//   BFLOAT           1 for bfloat16, 0 for half
//   KH, KW, DH, DW, PH, PW
//                    kernel, dilation, padding
//   SH, SW           from one result to the next in x
//   UH, UW           steps of x between its elements: strides, for the gradient of the input
//   TURNED           1 where the kernel is turned round: the gradient of the input
//   ROWS, COLUMNS    a thread's tile; multiples of UH and UW
//   X_WORD, Y_WORD   elements of a row that are loaded or stored at once: 1, 2 or 4
//   LAST             1 where the channels lie side by side
//   LANES            a thread's channels, if so: 2 or 4; otherwise 1
//   ACROSS           the gradient of weights: threads of a block with channels of their own
//   WHOLE            1 where tiles cover the results exactly
#pragma once

namespace mioconv::cuda {

// `Depthwise` is declared again in depthwise.cpp: the same bytes on both sides.
// Comes after kHalfSource.
constexpr char kDepthwiseSource[] = R"cuda(
// `x` is what is read at every place of the kernel, `y` what has one place for each kernel. Steps
// are in elements.
struct Depthwise {
    u32 images, channels;
    int xh, xw, yh, yw;
    u32 strips, across;  // tiles of y
    u32 items;  // the gradient of weights: tiles of all images
    u32 has_bias, has_sum, rectifies;
    float sum_scale, slope;
};

constexpr int kTaps = KH * KW;
constexpr int kThreads = 128;

__device__ constexpr int floored(int a, int b) { return (a < 0 ? a - b + 1 : a) / b; }

// Result r finds tap t at place (r * S - P + t * D) / U of x, if that is whole. What a tile reads,
// from its own place in x on:
constexpr int kTop = floored(-PH, UH);
constexpr int kBottom = floored((ROWS - 1) * SH - PH + (KH - 1) * DH, UH) + 1;
constexpr int kLeft = floored(floored(-PW, UW), X_WORD) * X_WORD;
constexpr int kRight = floored((COLUMNS - 1) * SW - PW + (KW - 1) * DW, UW) + 1;
constexpr int kTileRows = ROWS * SH / UH, kTileColumns = COLUMNS * SW / UW;
static_assert(ROWS % UH == 0 && COLUMNS % UW == 0 && kTileColumns % X_WORD == 0, "whole words");
static_assert(COLUMNS % Y_WORD == 0, "whole words");

template <int kCount>
__device__ void load(const u16* from, bool there, float* values) {
    if constexpr (kCount == 4) {
        const uint2 word = there ? __ldg((const uint2*)from) : make_uint2(0, 0);
        values[0] = get((u16)word.x);
        values[1] = get((u16)(word.x >> 16));
        values[2] = get((u16)word.y);
        values[3] = get((u16)(word.y >> 16));
    } else if constexpr (kCount == 2) {
        const u32 word = there ? __ldg((const u32*)from) : 0;
        values[0] = get((u16)word);
        values[1] = get((u16)(word >> 16));
    } else {
        values[0] = there ? get(__ldg(from)) : 0.f;
    }
}

// Columns kFrom to kTo - 1 of a row, at least, as seen from `column`, where `from` points. A word
// is inside of the row or outside.
template <int kFrom, int kTo, int kWord>
__device__ void load_row(
    const u16* from, i64 pixel, int column, int width, bool row, float* values) {
#pragma unroll
    for (int i = kFrom; i < kTo; i += kWord) {
        const bool there = row && (u32)(column + i) < (u32)width;
        load<LANES * kWord>(from + i * pixel, there, values + (i - kFrom) * LANES);
    }
}
constexpr int kWide = kRight - kLeft + X_WORD - 1;  // room for whole words

template <int kCount>
__device__ void store(u16* to, const u16* results) {
    if constexpr (kCount == 4) {
        *(uint2*)to = make_uint2(
            results[0] | (u32)results[1] << 16, results[2] | (u32)results[3] << 16);
    } else if constexpr (kCount == 2) {
        *(u32*)to = results[0] | (u32)results[1] << 16;
    } else {
        *to = results[0];
    }
}

// y from x. Threads side by side have channels side by side, or pixels.
extern "C" __global__ void __launch_bounds__(kThreads) filter(
    const u16* weights, const u16* x, u16* y, const u16* bias, const u16* z, const Depthwise s) {
    const u32 thread = blockIdx.x * kThreads + threadIdx.x;
    const u32 side = LAST ? s.channels / LANES : 1, tile = thread / side;
    const u32 down = tile / s.across, plane = down / s.strips;
    if (plane >= (LAST ? s.images : s.images * s.channels)) return;
    const u32 across = tile - down * s.across, strip = down - plane * s.strips;
    const u32 channel = LAST ? (thread - tile * side) * LANES : plane % s.channels;
    const i64 pixel = LAST ? s.channels : 1;  // from one to the next
    float w[kTaps][LANES];
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            const int tap = TURNED ? kTaps - 1 - t : t;
            w[t][l] = get(__ldg(weights + (channel + l) * kTaps + tap));
        }
    }
    const int x_row = strip * kTileRows, x_column = across * kTileColumns;
    const u16* const from = x + (((i64)plane * s.xh + x_row) * s.xw + x_column) * pixel +
                            (LAST ? channel : 0);
    float sums[ROWS][COLUMNS * LANES] = {};
#pragma unroll
    for (int i = kTop; i < kBottom; ++i) {
        float values[kWide * LANES];
        load_row<kLeft, kRight, X_WORD>(
            from + i * s.xw * pixel, pixel, x_column, s.xw, (u32)(x_row + i) < (u32)s.xh, values);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
#pragma unroll
            for (int h = 0; h < KH; ++h) {
                if (r * SH - PH + h * DH != i * UH) continue;
#pragma unroll
                for (int c = 0; c < COLUMNS; ++c) {
#pragma unroll
                    for (int k = 0; k < KW; ++k) {
                        const int place = c * SW - PW + k * DW;
                        if (place % UW != 0) continue;
#pragma unroll
                        for (int l = 0; l < LANES; ++l) {
                            sums[r][c * LANES + l] +=
                                w[h * KW + k][l] * values[(place / UW - kLeft) * LANES + l];
                        }
                    }
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const int row = strip * ROWS + r;
        if (row >= s.yh) break;
#pragma unroll
        for (int c = 0; c < COLUMNS; c += Y_WORD) {
            const int column = across * COLUMNS + c;
            if (column >= s.yw) break;
            const i64 at =
                (((i64)plane * s.yh + row) * s.yw + column) * pixel + (LAST ? channel : 0);
            constexpr int kCount = Y_WORD * LANES;
            u16 results[kCount];
#pragma unroll
            for (int i = 0; i < kCount; ++i) {
                float value = sums[r][c * LANES + i];
                if (s.has_sum) value += s.sum_scale * get(z[at + i]);
                if (s.has_bias) value += get(bias[channel + (LAST ? i : 0)]);
                // NaN fails the comparison and passes through.
                if (s.rectifies && value <= 0) value = s.slope == 0 ? 0.f : value * s.slope;
                results[i] = rounded(value);
            }
            store<kCount>(y + at, results);
        }
    }
}

// The gradient of the weights: a block adds up a part of the items of its channels. With one part
// it writes the result, else sums for `total`.
extern "C" __global__ void __launch_bounds__(kThreads) weights(
    const u16* x, const u16* y, u16* to, float* parts, const Depthwise s) {
    constexpr int kDown = kThreads / ACROSS;  // threads that have the same channels
    const u32 channel = (blockIdx.x * ACROSS + threadIdx.x % ACROSS) * LANES;
    const i64 pixel = LAST ? s.channels : 1;  // from one to the next
    float sums[kTaps][LANES] = {};
    if (channel < s.channels) {
        for (u32 item = blockIdx.y * kDown + threadIdx.x / ACROSS; item < s.items;
             item += gridDim.y * kDown) {
            const u32 rest = item / s.across, image = rest / s.strips;
            const int y_row = (rest - image * s.strips) * ROWS;
            const int y_column = (item - rest * s.across) * COLUMNS;
            const int x_row = y_row * SH, x_column = y_column * SW;
            const u32 x_size = s.xh * s.xw, y_size = s.yh * s.yw;
            const u16* const x_from = x + (i64)image * s.channels * x_size +
                                      (LAST ? channel : (i64)channel * x_size) +
                                      ((i64)x_row * s.xw + x_column) * pixel;
            const u16* const y_from = y + (i64)image * s.channels * y_size +
                                      (LAST ? channel : (i64)channel * y_size) +
                                      ((i64)y_row * s.yw + y_column) * pixel;
            float gradient[ROWS][COLUMNS * LANES];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                load_row<0, COLUMNS, Y_WORD>(
                    y_from + r * s.yw * pixel, pixel, y_column, s.yw, y_row + r < s.yh,
                    gradient[r]);
            }
#pragma unroll
            for (int i = kTop; i < kBottom; ++i) {
                float values[kWide * LANES];
                load_row<kLeft, kRight, X_WORD>(
                    x_from + i * s.xw * pixel, pixel, x_column, s.xw,
                    (u32)(x_row + i) < (u32)s.xh, values);
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
#pragma unroll
                    for (int h = 0; h < KH; ++h) {
                        if (r * SH - PH + h * DH != i) continue;
#pragma unroll
                        for (int k = 0; k < KW; ++k) {
#pragma unroll
                            for (int c = 0; c < COLUMNS; ++c) {
#pragma unroll
                                for (int l = 0; l < LANES; ++l) {
                                    // Nothing of x may meet what is not there, be it infinite.
                                    if (!WHOLE && (y_row + r >= s.yh || y_column + c >= s.yw)) {
                                        continue;
                                    }
                                    const int at = c * SW - PW + k * DW - kLeft;
                                    sums[h * KW + k][l] +=
                                        gradient[r][c * LANES + l] * values[at * LANES + l];
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    __shared__ float warps[kThreads / 32][ACROSS][kTaps][LANES];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
#pragma unroll
        for (int l = 0; l < LANES; ++l) {
            // Threads of a warp that have the same channels.
#pragma unroll
            for (int far = 16; far >= ACROSS; far /= 2) {
                sums[t][l] += __shfl_down_sync(~0u, sums[t][l], far);
            }
            if (lane < ACROSS) warps[warp][lane][t][l] = sums[t][l];
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < ACROSS * kTaps * LANES; i += kThreads) {
        const u32 l = i % LANES, t = i / LANES % kTaps, across = i / (LANES * kTaps);
        const u32 c = (blockIdx.x * ACROSS + across) * LANES + l;
        if (c >= s.channels) continue;
        float sum = 0;
#pragma unroll
        for (int each = 0; each < kThreads / 32; ++each) sum += warps[each][across][t][l];
        if (gridDim.y == 1) {
            to[c * kTaps + t] = rounded(sum);
        } else {
            parts[((i64)blockIdx.y * s.channels + c) * kTaps + t] = sum;
        }
    }
}

// Some threads share an element, each with every so many parts.
extern "C" __global__ void __launch_bounds__(kThreads) total(
    const float* parts, u16* to, u32 count, u32 elements) {
    constexpr u32 kElements = 8, kSharing = kThreads / kElements;
    __shared__ float sums[kSharing][kElements];
    const u32 at = blockIdx.x * kElements + threadIdx.x % kElements;
    const u32 mine = threadIdx.x / kElements;
    float sum = 0;
    if (at < elements) {
#pragma unroll 8
        for (u32 part = mine; part < count; part += kSharing) {
            sum += __ldg(parts + (i64)part * elements + at);
        }
    }
    sums[mine][threadIdx.x % kElements] = sum;
    __syncthreads();
    if (mine != 0 || at >= elements) return;
#pragma unroll
    for (u32 other = 1; other < kSharing; ++other) sum += sums[other][threadIdx.x];
    to[at] = rounded(sum);
}
)cuda";

}  // namespace mioconv::cuda
