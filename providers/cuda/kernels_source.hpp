// The CUDA C++ of our own kernels on elements: what follows a convolution where cuDNN does not do
// it, and copies between any strides. Compiled by NVRTC for the device at hand; no header of CUDA's
// is needed for that.
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

#define KERNEL extern "C" __global__ void __launch_bounds__(256)
#define MAP(name, In, Out) \
    KERNEL map_##name(Out* out, const In* in, Walk walk, Scalars s) { map(walk, out, in, s); }
#define EACH(name, T) \
    MAP(name##_to_half, T, half_t) MAP(name##_to_float, T, float) MAP(name##_to_bfloat, T, bfloat_t) \
    KERNEL combine_##name(T* out, const T* a, const T* b, Walk walk, Scalars s) { \
        combine(walk, out, a, b, s); \
    } \
    KERNEL partials_##name( \
        const T* in, double* partial, Walk walk, i64 channels, i64 stride, i64 rows) { \
        channel_partials(walk, in, channels, stride, rows, partial); \
    } \
    KERNEL totals_##name( \
        const double* partial, T* out, i64 channels, i64 chunks, i64 stride) { \
        channel_totals(partial, channels, chunks, stride, out); \
    }
EACH(half, half_t)
EACH(float, float)
EACH(bfloat, bfloat_t)

KERNEL hold(i64 nanoseconds) {
    unsigned long long start, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    } while ((i64)(now - start) < nanoseconds);
}
)cuda";

}  // namespace mioconv::cuda
