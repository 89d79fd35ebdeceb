// The CUDA C++ of our own kernels: layouts, and what follows a convolution where cuDNN does not do
// it. Compiled by NVRTC for the device at hand; no header of CUDA's is needed for that.
//
// Numbers are worked on as floats and rounded once, to nearest even. NaN stays NaN.
#pragma once

namespace mioconv::cuda {

// `Walk` and `Scalars` are declared again in kernels.hpp: the same bytes on both sides.
constexpr char kKernelSource[] = R"cuda(
typedef long long i64;
typedef unsigned int u32;
typedef unsigned short u16;

struct half_t { u16 bits; };
struct bfloat_t { u16 bits; };

__device__ float get(const float* p) { return *p; }
__device__ float get(const half_t* p) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(p->bits));
    return value;
}
__device__ float get(const bfloat_t* p) { return __uint_as_float((u32)p->bits << 16); }

__device__ void put(float* p, float value) { *p = value; }
__device__ void put(half_t* p, float value) {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(p->bits) : "f"(value));
}
__device__ void put(bfloat_t* p, float value) {
    const u32 bits = __float_as_uint(value);
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    p->bits = (u16)(nan ? (bits >> 16) | 0x40u : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// Up to three tensors of one shape: sizes, and strides in elements; 0 repeats an element.
struct Walk {
    i64 count;
    i64 size[5];
    i64 stride[3][5];
    int rank;
};

struct Scalars { float a, b, c; int op; };

template <class Index>
__device__ void place(const Walk& walk, i64 element, i64 (&offset)[3]) {
    Index rest = (Index)element;
    offset[0] = offset[1] = offset[2] = 0;
#pragma unroll
    for (int dim = 4; dim >= 0; --dim) {
        if (dim >= walk.rank) continue;
        const Index size = (Index)walk.size[dim];
        const Index quotient = dim == 0 ? 0 : rest / size;
        const Index here = rest - quotient * size;
        rest = quotient;
#pragma unroll
        for (int k = 0; k < 3; ++k) offset[k] += (i64)here * walk.stride[k][dim];
    }
}

__device__ void place(const Walk& walk, i64 element, i64 (&offset)[3]) {
    if (walk.count < (1ll << 31)) {
        place<u32>(walk, element, offset);
    } else {
        place<i64>(walk, element, offset);
    }
}

// out = op(in). The comparisons are written so that NaN fails them and passes through.
template <class In, class Out>
__device__ void map(const Walk& walk, Out* out, const In* in, const Scalars& s) {
    const i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < walk.count; i += step) {
        i64 at[3];
        place(walk, i, at);
        float value = s.op == 5 ? s.a : get(in + at[1]);
        if (s.op == 1) value = value <= 0 ? 0.f : value;
        if (s.op == 2) value = value <= 0 ? 0.f : value > s.a ? s.a : value;
        if (s.op == 3) value = value <= 0 ? s.a * value : value;
        if (s.op == 4) value *= s.a;
        put(out + at[0], value);
    }
}

// out = op(s.a * a, s.b * b) + s.c * out; with s.c = 0 what out holds is not read.
template <class T>
__device__ void combine(const Walk& walk, T* out, const T* a, const T* b, const Scalars& s) {
    const i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < walk.count; i += step) {
        i64 at[3];
        place(walk, i, at);
        const float x = s.a * get(a + at[1]), y = s.b * get(b + at[2]);
        float value = s.op == 0 ? x + y : s.op == 1 ? x * y : 0.f;
        if (s.op == 2) value = x != x || x < y ? x : y;
        if (s.op == 3) value = x != x || x > y ? x : y;
        if (s.c != 0.f) value += s.c * get(out + at[0]);
        put(out + at[0], value);
    }
}

// Sums over everything but the channels, in two steps whose order does not depend on timing:
// partial[chunk][channel], then over the chunks. `walk` has the other dimensions.
// blockDim = (channels side by side, rows).
template <class T>
__device__ void channel_partials(
    const Walk& walk, const T* in, i64 channels, i64 channel_stride, i64 rows_of_chunk,
    double* partial) {
    __shared__ double sums[256];
    const i64 channel = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    const i64 first = (i64)blockIdx.y * rows_of_chunk;
    const i64 end = first + rows_of_chunk < walk.count ? first + rows_of_chunk : walk.count;
    double sum = 0;
    if (channel < channels) {
        for (i64 row = first + threadIdx.y; row < end; row += blockDim.y) {
            i64 at[3];
            place(walk, row, at);
            sum += get(in + at[0] + channel * channel_stride);
        }
    }
    sums[threadIdx.y * blockDim.x + threadIdx.x] = sum;
    __syncthreads();
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) {
            sums[threadIdx.y * blockDim.x + threadIdx.x] +=
                sums[(threadIdx.y + half) * blockDim.x + threadIdx.x];
        }
        __syncthreads();
    }
    if (threadIdx.y == 0 && channel < channels) {
        partial[(i64)blockIdx.y * channels + channel] = sums[threadIdx.x];
    }
}

template <class T>
__device__ void channel_totals(
    const double* partial, i64 channels, i64 chunks, i64 out_stride, T* out) {
    const i64 channel = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (channel >= channels) return;
    double sum = 0;
    for (i64 chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * channels + channel];
    put(out + channel * out_stride, (float)sum);
}

template <class T, int count>
struct __align__(sizeof(T) * count) Pack { T item[count]; };

// [batch][rows][columns] to [batch][columns][rows], tile by tile through shared memory; reads are
// `from` elements wide, writes `to`, which divide the columns and the rows. 256 threads.
template <class T, int from, int to>
__device__ void transpose(const T* in, T* out, u32 rows, u32 columns, u32 tiles_r, u32 tiles_c) {
    constexpr u32 kTile = 64;
    __shared__ T tile[kTile][kTile + (sizeof(T) == 2 ? 2 : 1)];
    const u32 column_tile = blockIdx.x % tiles_c;
    const u32 rest = blockIdx.x / tiles_c;
    const u32 row0 = rest % tiles_r * kTile, column0 = column_tile * kTile;
    const i64 image = (i64)(rest / tiles_r) * rows * columns;
    {
        constexpr u32 kWide = kTile / from;
        for (u32 i = threadIdx.x; i < kWide * kTile; i += 256) {
            const u32 r = i / kWide, c = i % kWide * from;
            if (row0 + r < rows && column0 + c < columns) {
                const auto pack = *(const Pack<T, from>*)(
                    in + image + (i64)(row0 + r) * columns + column0 + c);
#pragma unroll
                for (int k = 0; k < from; ++k) tile[r][c + k] = pack.item[k];
            }
        }
    }
    __syncthreads();
    {
        constexpr u32 kWide = kTile / to;
        for (u32 i = threadIdx.x; i < kWide * kTile; i += 256) {
            const u32 c = i / kWide, r = i % kWide * to;
            if (row0 + r < rows && column0 + c < columns) {
                Pack<T, to> pack;
#pragma unroll
                for (int k = 0; k < to; ++k) pack.item[k] = tile[r + k][c];
                *(Pack<T, to>*)(out + image + (i64)(column0 + c) * rows + row0 + r) = pack;
            }
        }
    }
}

// [image][channels][pixels] of any strides to [image][pixels][channels, so many at once], zeros
// beyond the last channel.
template <class T, int kAtOnce>
__device__ void pad(
    const T* in, T* out, i64 images, i64 pixels, i64 channels, i64 vectors, i64 channel_stride,
    i64 pixel_stride) {
    const i64 count = images * vectors * pixels, step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        const i64 pixel = i % pixels, rest = i / pixels;
        const i64 first = rest % vectors * kAtOnce, image = rest / vectors;
        const T* from = in + image * channels * pixels + pixel * pixel_stride;
        Pack<T, kAtOnce> pack;
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
            pack.item[k] = first + k < channels ? from[(first + k) * channel_stride] : T(0);
        }
        *(Pack<T, kAtOnce>*)(out + ((image * pixels + pixel) * vectors * kAtOnce + first)) = pack;
    }
}

#define KERNEL extern "C" __global__ void __launch_bounds__(256)
#define MAP(name, In, Out) \
    KERNEL map_##name(Walk walk, Out* out, const In* in, Scalars s) { map(walk, out, in, s); }
#define EACH(name, T) \
    MAP(name##_to_half, T, half_t) MAP(name##_to_float, T, float) MAP(name##_to_bfloat, T, bfloat_t) \
    KERNEL combine_##name(Walk walk, T* out, const T* a, const T* b, Scalars s) { \
        combine(walk, out, a, b, s); \
    } \
    KERNEL partials_##name( \
        Walk walk, const T* in, i64 channels, i64 stride, i64 rows, double* partial) { \
        channel_partials(walk, in, channels, stride, rows, partial); \
    } \
    KERNEL totals_##name( \
        const double* partial, i64 channels, i64 chunks, i64 stride, T* out) { \
        channel_totals(partial, channels, chunks, stride, out); \
    }
EACH(half, half_t)
EACH(float, float)
EACH(bfloat, bfloat_t)

// The same where one side is short: `from_short` [batch][rows][columns] of few columns, else of few
// rows. A block takes `depth` of the long side and all of the short one: one run of memory on the
// one side, a run of `depth` for each of the short side's on the other. Accesses are `slab` elements
// wide at the run, `strips` at the others; both divide what they step through.
template <class T, int slab, int strips, bool from_short>
__device__ void transpose_short(
    const T* in, T* out, u32 longs, u32 shorts, u32 depth, u32 pieces) {
    __shared__ T tile[16384 / sizeof(T)];
    const u32 pitch = depth + (sizeof(T) == 2 ? 2 : 1);
    const i64 image = (i64)(blockIdx.x / pieces) * longs * shorts;
    const u32 first = blockIdx.x % pieces * depth;
    const u32 here = longs - first < depth ? longs - first : depth;
    const u32 wide = here / strips;
    const auto run = [&](u32 i) { return image + (i64)first * shorts + i; };
    const auto strip = [&](u32 s, u32 l) { return image + (i64)s * longs + first + l; };
    if (from_short) {
        for (u32 i = threadIdx.x * slab; i < here * shorts; i += 256 * slab) {
            const auto pack = *(const Pack<T, slab>*)(in + run(i));
#pragma unroll
            for (int k = 0; k < slab; ++k) {
                const u32 l = (i + k) / shorts, s = (i + k) - l * shorts;
                tile[s * pitch + l] = pack.item[k];
            }
        }
        __syncthreads();
        for (u32 i = threadIdx.x; i < wide * shorts; i += 256) {
            const u32 s = i / wide, l = (i - s * wide) * strips;
            Pack<T, strips> pack;
#pragma unroll
            for (int k = 0; k < strips; ++k) pack.item[k] = tile[s * pitch + l + k];
            *(Pack<T, strips>*)(out + strip(s, l)) = pack;
        }
    } else {
        for (u32 i = threadIdx.x; i < wide * shorts; i += 256) {
            const u32 s = i / wide, l = (i - s * wide) * strips;
            const auto pack = *(const Pack<T, strips>*)(in + strip(s, l));
#pragma unroll
            for (int k = 0; k < strips; ++k) tile[s * pitch + l + k] = pack.item[k];
        }
        __syncthreads();
        for (u32 i = threadIdx.x * slab; i < here * shorts; i += 256 * slab) {
            Pack<T, slab> pack;
#pragma unroll
            for (int k = 0; k < slab; ++k) {
                const u32 l = (i + k) / shorts, s = (i + k) - l * shorts;
                pack.item[k] = tile[s * pitch + l];
            }
            *(Pack<T, slab>*)(out + run(i)) = pack;
        }
    }
}

#define PAD(bytes, T, at_once) \
    KERNEL pad_##bytes##_##at_once( \
        const T* in, T* out, i64 images, i64 pixels, i64 channels, i64 vectors, i64 cs, i64 ps) { \
        pad<T, at_once>(in, out, images, pixels, channels, vectors, cs, ps); \
    }
PAD(2, u16, 8) PAD(2, u16, 4)
PAD(4, u32, 4) PAD(4, u32, 2)

KERNEL hold(i64 nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while ((i64)(now - start) < nanoseconds);
}

#define TRANSPOSE(bytes, T, from, to) \
    KERNEL transpose_##bytes##_##from##_##to( \
        const T* in, T* out, u32 rows, u32 columns, u32 tiles_r, u32 tiles_c) { \
        transpose<T, from, to>(in, out, rows, columns, tiles_r, tiles_c); \
    }
#define TRANSPOSES(bytes, T, from) \
    TRANSPOSE(bytes, T, from, 1) TRANSPOSE(bytes, T, from, 2) TRANSPOSE(bytes, T, from, 4)
#define SHORT(bytes, T, slab, strips) \
    KERNEL gather_##bytes##_##slab##_##strips( \
        const T* in, T* out, u32 longs, u32 shorts, u32 depth, u32 pieces) { \
        transpose_short<T, slab, strips, true>(in, out, longs, shorts, depth, pieces); \
    } \
    KERNEL scatter_##bytes##_##slab##_##strips( \
        const T* in, T* out, u32 longs, u32 shorts, u32 depth, u32 pieces) { \
        transpose_short<T, slab, strips, false>(in, out, longs, shorts, depth, pieces); \
    }
SHORT(2, u16, 8, 8) SHORT(2, u16, 8, 4) SHORT(2, u16, 4, 4) SHORT(2, u16, 1, 1)
SHORT(4, u32, 4, 4) SHORT(4, u32, 4, 2) SHORT(4, u32, 2, 2) SHORT(4, u32, 1, 1)
TRANSPOSES(4, u32, 1) TRANSPOSES(4, u32, 2) TRANSPOSES(4, u32, 4)
TRANSPOSES(2, u16, 1) TRANSPOSES(2, u16, 2) TRANSPOSES(2, u16, 4) TRANSPOSES(2, u16, 8)
TRANSPOSE(2, u16, 1, 8) TRANSPOSE(2, u16, 2, 8) TRANSPOSE(2, u16, 4, 8) TRANSPOSE(2, u16, 8, 8)
)cuda";

}  // namespace mioconv::cuda
