// The CUDA C++ of depthwise convolutions in half types with as many outputs as inputs: sums in
// float, one rounding, the same bits at every run. A thread has a column and kRows rows of it, so
// that a row that is read serves all results it enters; neighbours read neighbours.
//
// Compiled for each combination of these macros:
//   BFLOAT           1 for bfloat16, 0 for half
//   KH, KW, SH, SW, DH, DW
//                    kernel, stride, dilation
//   TURNED           1 where the kernel is turned round: the gradient of the input
//   PAIRS            1 where the channels lie side by side: a thread has two of them
#pragma once

namespace mioconv::cuda {

// `Depthwise` is declared again in depthwise.cpp: the same bytes on both sides.
constexpr char kDepthwiseSource[] = R"cuda(
typedef long long i64;
typedef unsigned int u32;
typedef unsigned short u16;

// `x` is what is read at every place of the kernel, `y` what has one place for each kernel. Steps
// are in elements.
struct Depthwise {
    u32 images, channels;
    int xh, xw, yh, yw, ph, pw;
    u32 strips;  // of kRows rows of y
    u32 items;  // the gradient of weights: columns of strips of all images
    u32 cells_down, cells_across;  // the gradient of x: SH x SW elements each
    u32 has_bias, has_sum, rectifies;
    float sum_scale, slope;
};

constexpr int kRows = 7;
constexpr int kTaps = KH * KW;
constexpr int kReach = (kRows - 1) * SH + (KH - 1) * DH + 1;  // rows of x that kRows of y meet
constexpr int kThreads = 128;

__device__ float get(u16 bits) {
#if BFLOAT
    return __uint_as_float((u32)bits << 16);
#else
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#endif
}

__device__ u16 rounded(float value) {
    u16 bits;
#if BFLOAT
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#endif
    return bits;
}

__device__ void write(
    const Depthwise& s, float value, i64 at, u32 channel, const u16* bias, const u16* z, u16* to) {
    if (s.has_sum) value += s.sum_scale * get(z[at]);
    if (s.has_bias) value += get(bias[channel]);
    // NaN fails the comparison and passes through.
    if (s.rectifies && value <= 0) value = s.slope == 0 ? 0.f : value * s.slope;
    to[at] = rounded(value);
}

// Packed: y from x.
extern "C" __global__ void __launch_bounds__(kThreads) filter(
    const u16* weights, const u16* x, u16* y, const u16* bias, const u16* z, const Depthwise s) {
    const u32 thread = blockIdx.x * kThreads + threadIdx.x;
    const u32 rest = thread / s.yw, plane = rest / s.strips;
    if (plane >= s.images * s.channels) return;
    const int column = thread - rest * s.yw, first = (rest - plane * s.strips) * kRows;
    const u32 channel = plane % s.channels;
    float w[kTaps];
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
        w[t] = get(__ldg(weights + channel * kTaps + (TURNED ? kTaps - 1 - t : t)));
    }
    const int x_row = first * SH - s.ph, x_column = column * SW - s.pw;
    bool there[KW];
#pragma unroll
    for (int k = 0; k < KW; ++k) there[k] = (u32)(x_column + k * DW) < (u32)s.xw;
    const u16* from = x + (i64)plane * s.xh * s.xw + (i64)x_row * s.xw + x_column;
    float sums[kRows] = {};
#pragma unroll
    for (int i = 0; i < kReach; ++i) {
        const bool row = (u32)(x_row + i) < (u32)s.xh;
        float value[KW];
#pragma unroll
        for (int k = 0; k < KW; ++k) value[k] = row && there[k] ? get(__ldg(from + k * DW)) : 0.f;
        from += s.xw;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
            for (int h = 0; h < KH; ++h) {
                if (r * SH + h * DH != i) continue;
#pragma unroll
                for (int k = 0; k < KW; ++k) sums[r] += w[h * KW + k] * value[k];
            }
        }
    }
    const i64 at = ((i64)plane * s.yh + first) * s.yw + column;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
        if (first + r < s.yh) write(s, sums[r], at + (i64)r * s.yw, channel, bias, z, y);
    }
}

// Packed: the gradient of x from y, where strides skip pixels. A thread has SH x SW neighbours, each
// of which meets taps of its own.
extern "C" __global__ void __launch_bounds__(kThreads) scatter(
    const u16* weights, const u16* y, u16* x, const u16* bias, const u16* z, const Depthwise s) {
    const u32 thread = blockIdx.x * kThreads + threadIdx.x;
    const u32 rest = thread / s.cells_across, plane = rest / s.cells_down;
    if (plane >= s.images * s.channels) return;
    // Where a tap of no distance reads y; in x, and padded, that is SH and SW times as far.
    const int row = rest - plane * s.cells_down + s.ph / SH;
    const int column = thread - rest * s.cells_across + s.pw / SW;
    const u16* const from = y + (i64)plane * s.yh * s.yw;
    float sums[SH][SW] = {};
#pragma unroll
    for (int h = 0; h < KH; ++h) {
        const int a = row - h * DH / SH;
#pragma unroll
        for (int k = 0; k < KW; ++k) {
            const int b = column - k * DW / SW;
            if ((u32)a >= (u32)s.yh || (u32)b >= (u32)s.yw) continue;
            sums[h * DH % SH][k * DW % SW] +=
                get(__ldg(weights + plane % s.channels * kTaps + h * KW + k)) *
                get(__ldg(from + a * s.yw + b));
        }
    }
#pragma unroll
    for (int h = 0; h < SH; ++h) {
        const int to_row = row * SH + h - s.ph;
#pragma unroll
        for (int k = 0; k < SW; ++k) {
            const int to_column = column * SW + k - s.pw;
            if ((u32)to_row >= (u32)s.xh || (u32)to_column >= (u32)s.xw) continue;
            x[((i64)plane * s.xh + to_row) * s.xw + to_column] = rounded(sums[h][k]);
        }
    }
}

constexpr int kLanes = PAIRS ? 2 : 1;
// Threads that have the same channels.
constexpr int kAcross = PAIRS ? 32 : 1, kDown = kThreads / kAcross;

struct Values {
    float of[kLanes];
};

__device__ Values load(const u16* from, bool there) {
    Values values;
#if PAIRS
    const u32 both = there ? __ldg((const u32*)from) : 0;
    values.of[0] = get((u16)both);
    values.of[1] = get((u16)(both >> 16));
#else
    values.of[0] = there ? get(__ldg(from)) : 0.f;
#endif
    return values;
}

// The gradient of the weights: a block adds up a part of the items of its channels. With one part
// it writes the result, else sums for `total`.
extern "C" __global__ void __launch_bounds__(kThreads) weights(
    const u16* x, const u16* y, u16* to, float* parts, const Depthwise s) {
    const u32 channel =
        (blockIdx.x * kAcross + threadIdx.x % kAcross) * kLanes;
    const i64 pixel = PAIRS ? s.channels : 1;  // from one to the next
    float sums[kTaps][kLanes] = {};
    if (channel < s.channels) {
        for (u32 item = blockIdx.y * kDown + threadIdx.x / kAcross; item < s.items;
             item += gridDim.y * kDown) {
            const u32 rest = item / s.yw, image = rest / s.strips;
            const int column = item - rest * s.yw, first = (rest - image * s.strips) * kRows;
            const int x_row = first * SH - s.ph, x_column = column * SW - s.pw;
            const i64 x_image = (i64)image * s.channels * s.xh * s.xw;
            const i64 y_image = (i64)image * s.channels * s.yh * s.yw;
            const u16* from = x + x_image + (PAIRS ? channel : (i64)channel * s.xh * s.xw) +
                              ((i64)x_row * s.xw + x_column) * pixel;
            const u16* const at = y + y_image + (PAIRS ? channel : (i64)channel * s.yh * s.yw) +
                                  ((i64)first * s.yw + column) * pixel;
            Values gradient[kRows];
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                gradient[r] = load(at + (i64)r * s.yw * pixel, first + r < s.yh);
            }
#pragma unroll
            for (int i = 0; i < kReach; ++i) {
                const bool row = (u32)(x_row + i) < (u32)s.xh;
                Values value[KW];
#pragma unroll
                for (int k = 0; k < KW; ++k) {
                    value[k] = load(
                        from + k * DW * pixel, row && (u32)(x_column + k * DW) < (u32)s.xw);
                }
                from += s.xw * pixel;
#pragma unroll
                for (int r = 0; r < kRows; ++r) {
#pragma unroll
                    for (int h = 0; h < KH; ++h) {
                        if (r * SH + h * DH != i) continue;
#pragma unroll
                        for (int k = 0; k < KW; ++k) {
#pragma unroll
                            for (int l = 0; l < kLanes; ++l) {
                                sums[h * KW + k][l] += gradient[r].of[l] * value[k].of[l];
                            }
                        }
                    }
                }
            }
        }
    }
    // Packed, a warp has one channel; else each of its threads has its own.
    __shared__ float warps[kThreads / 32][kAcross][kTaps][kLanes];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
#pragma unroll
        for (int l = 0; l < kLanes; ++l) {
#if !PAIRS
#pragma unroll
            for (int far = 16; far > 0; far /= 2) {
                sums[t][l] += __shfl_down_sync(~0u, sums[t][l], far);
            }
#endif
            if (PAIRS || lane == 0) warps[warp][lane % kAcross][t][l] = sums[t][l];
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < kAcross * kTaps * kLanes; i += kThreads) {
        const u32 l = i % kLanes, t = i / kLanes % kTaps, across = i / (kLanes * kTaps);
        const u32 c = (blockIdx.x * kAcross + across) * kLanes + l;
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
