// The CUDA C++ of the copies around cuDNN's engines: transpositions of the channels, and zeros
// beside them. One launch makes up to three. Compiled for each size of an element (ITEM, 2 or 4
// bytes) and kinds of copies (KIND0 to KIND2, 0 for none).
#pragma once

namespace mioconv::cuda {

// `Job` and `Jobs` are declared again in copies.cpp: the same bytes on both sides.
constexpr char kCopiesSource[] = R"cuda(
typedef long long i64;
typedef unsigned int u32;
typedef unsigned short u16;

// A tensor's copy. What the sizes are depends on its kind: see there.
struct Job {
    const void* in;
    void* out;
    i64 size[6];
    u32 blocks;
};
struct Jobs { Job job[3]; };

template <class T, int count>
struct __align__(sizeof(T) * count) Pack { T item[count]; };

// [batch][rows][columns] to [batch][columns][rows], tile by tile through shared memory; reads are
// `from` elements wide, writes `to`, which divide the columns and the rows. 256 threads.
template <class T, int from, int to>
__device__ void transpose(const Job& job, u32 block, T* memory) {
    constexpr u32 kTile = 64, kPitch = kTile + (sizeof(T) == 2 ? 2 : 1);
    const auto* const in = (const T*)job.in;
    auto* const out = (T*)job.out;
    const u32 rows = job.size[0], columns = job.size[1];
    const u32 tiles_r = job.size[2], tiles_c = job.size[3];
    const auto tile = [&](u32 r, u32 c) -> T& { return memory[r * kPitch + c]; };
    const u32 column_tile = block % tiles_c;
    const u32 rest = block / tiles_c;
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
                for (int k = 0; k < from; ++k) tile(r, c + k) = pack.item[k];
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
                for (int k = 0; k < to; ++k) pack.item[k] = tile(r + k, c);
                *(Pack<T, to>*)(out + image + (i64)(column0 + c) * rows + row0 + r) = pack;
            }
        }
    }
}

// The same where one side is short: `from_short` [batch][rows][columns] of few columns, else of few
// rows. A block takes `depth` of the long side and all of the short one: one run of memory on the
// one side, a run of `depth` for each of the short side's on the other. Accesses are `slab` elements
// wide at the run, `strips` at the others; both divide what they step through.
template <class T, int slab, int strips, bool from_short>
__device__ void transpose_short(const Job& job, u32 block, T* tile) {
    const auto* const in = (const T*)job.in;
    auto* const out = (T*)job.out;
    const u32 longs = job.size[0], shorts = job.size[1];
    const u32 depth = job.size[2], pieces = job.size[3];
    const u32 pitch = depth + (sizeof(T) == 2 ? 2 : 1);
    const i64 image = (i64)(block / pieces) * longs * shorts;
    const u32 first = block % pieces * depth;
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

// [image][channels][pixels] of any strides to [image][pixels][channels, so many at once], zeros
// beyond the last channel.
template <class T, int kAtOnce>
__device__ void pad(const Job& job, u32 block) {
    const auto* const in = (const T*)job.in;
    auto* const out = (T*)job.out;
    const i64 images = job.size[0], pixels = job.size[1], channels = job.size[2];
    const i64 vectors = job.size[3], channel_stride = job.size[4], pixel_stride = job.size[5];
    const i64 count = images * vectors * pixels, step = (i64)job.blocks * 256;
    for (i64 i = (i64)block * 256 + threadIdx.x; i < count; i += step) {
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


// Pixels that a convolution does not skip, [plane][height][width] to [plane][pixels], so many at
// once. A pixel of the result's rows, which are `width` long, lies row_step and column_step from the
// next.
template <class T, int at_once>
__device__ void gather(const Job& job, u32 block) {
    const auto* const in = (const T*)job.in;
    auto* const out = (T*)job.out;
    const u32 pixels = job.size[1], width = job.size[2];
    const i64 count = job.size[0] * (pixels / at_once), step = (i64)job.blocks * 256;
    for (i64 i = (i64)block * 256 + threadIdx.x; i < count; i += step) {
        const i64 plane = i / (pixels / at_once);
        const u32 first = (u32)(i - plane * (pixels / at_once)) * at_once;
        const T* const from = in + plane * job.size[5];
        Pack<T, at_once> pack;
#pragma unroll
        for (int k = 0; k < at_once; ++k) {
            const u32 y = (first + k) / width, x = first + k - y * width;
            pack.item[k] = from[y * job.size[3] + x * job.size[4]];
        }
        *(Pack<T, at_once>*)(out + plane * pixels + first) = pack;
    }
}

// The same to [image][pixels][channels], tile by tile; writes are `to` elements wide, which divide
// the channels.
template <class T, int to>
__device__ void gather_last(const Job& job, u32 block, T* memory) {
    constexpr u32 kTile = 64, kPitch = kTile + (sizeof(T) == 2 ? 2 : 1);
    const u32 channels = job.size[0], pixels = job.size[1], width = job.size[2];
    const u32 tiles_c = (channels + kTile - 1) / kTile, tiles_p = (pixels + kTile - 1) / kTile;
    const u32 pixel0 = block % tiles_p * kTile, rest = block / tiles_p;
    const u32 channel0 = rest % tiles_c * kTile;
    const i64 image = rest / tiles_c;
    {
        const u32 p = threadIdx.x % kTile;
        const u32 y = (pixel0 + p) / width, x = pixel0 + p - y * width;
        const T* const from = (const T*)job.in + (image * channels + channel0) * job.size[5] +
                              y * job.size[3] + x * job.size[4];
        T held[kTile / 4];
#pragma unroll
        for (int i = 0; i < kTile / 4; ++i) {
            const u32 c = threadIdx.x / kTile + 4 * i;
            const bool there = pixel0 + p < pixels && channel0 + c < channels;
            held[i] = there ? from[c * job.size[5]] : T(0);
        }
#pragma unroll
        for (int i = 0; i < kTile / 4; ++i) {
            memory[(threadIdx.x / kTile + 4 * i) * kPitch + p] = held[i];
        }
    }
    __syncthreads();
    constexpr u32 kWide = kTile / to;
    for (u32 i = threadIdx.x; i < kWide * kTile; i += 256) {
        const u32 p = i / kWide, c = i % kWide * to;
        if (pixel0 + p < pixels && channel0 + c < channels) {
            Pack<T, to> pack;
#pragma unroll
            for (int k = 0; k < to; ++k) pack.item[k] = memory[(c + k) * kPitch + p];
            *(Pack<T, to>*)((T*)job.out + (image * pixels + pixel0 + p) * channels + channel0 + c) =
                pack;
        }
    }
}

// Of a kind's digits the first says what, the others are the template's arguments.
template <class T, int kind>
__device__ void copy(const Job& job, u32 block, T* tile) {
    constexpr int a = kind / 10 % 10, b = kind % 10;
    if constexpr (kind / 100 == 1) transpose<T, a, b>(job, block, tile);
    if constexpr (kind / 100 == 2) transpose_short<T, a, b, true>(job, block, tile);
    if constexpr (kind / 100 == 3) transpose_short<T, a, b, false>(job, block, tile);
    if constexpr (kind / 100 == 4) pad<T, b>(job, block);
    if constexpr (kind / 100 == 5) gather<T, b>(job, block);
    if constexpr (kind / 100 == 6) gather_last<T, b>(job, block, tile);
}

#if ITEM == 2
typedef u16 Item;
#else
typedef u32 Item;
#endif

// What the largest of the kinds needs: a tile with its gaps, or a short side's block.
constexpr u32 kTileBytes = ITEM == 2 ? 16384 : 64 * 65 * 4;

extern "C" __global__ void __launch_bounds__(256) copies(const Jobs jobs) {
    __shared__ __align__(16) Item tile[kTileBytes / ITEM];
    u32 block = blockIdx.x;
    if (block < jobs.job[0].blocks) return copy<Item, KIND0>(jobs.job[0], block, tile);
    block -= jobs.job[0].blocks;
    if (block < jobs.job[1].blocks) return copy<Item, KIND1>(jobs.job[1], block, tile);
    copy<Item, KIND2>(jobs.job[2], block - jobs.job[1].blocks, tile);
}
)cuda";

}  // namespace mioconv::cuda
