// The CUDA C++ of a 1x1 convolution on packed tensors: for each image the product of the weights
// [m][k] and the image [k][pixels], which nothing has to be transposed for. Tensor cores, sums in
// float, one rounding. Needs compute capability 8.0.
//
// Compiled for each combination of these macros:
//   BFLOAT           1 for bfloat16, 0 for half
//   TILE_M, TILE_N, TILE_K, WARPS_M, WARPS_N, STAGES
//                    the block's part of the result, how its warps share it, tiles in flight
//   READ, WRITE      bytes of an access to the images that are read and written; a power of two up
//                    to 16 that divides an image's row of pixels. 2 takes any pixels of the image.
//   TURNED           1 where the weights lie as [k][m]
#pragma once

namespace mioconv::cuda {

// `Matmul` is declared again in matmul.cpp: the same bytes on both sides.
// Comes after kHalfSource.
constexpr char kMatmulSource[] = R"cuda(
// Columns are pixels of all images, one image after the other. Steps are in elements; those of a
// pixel belong to its place along width, height and depth.
struct Matmul {
    u32 m, k, columns, pixels, width, height;
    u32 tiles_m;
    u32 has_bias, has_sum, rectifies;
    float sum_scale, slope;
    i64 from_image, from_channel, to_image, to_channel;
    i64 from_step[3], to_step[3];
};

constexpr int kThreads = 32 * WARPS_M * WARPS_N;
constexpr int kPitchW = (TURNED ? TILE_M : TILE_K) + 8;  // no bank is met twice
constexpr int kRowsW = TURNED ? TILE_K : TILE_M;
constexpr int kPitchX = TILE_N + 8;
constexpr int kStage = kRowsW * kPitchW + TILE_K * kPitchX;
constexpr int kPitchSums = TILE_N + 8;
constexpr int kWarpM = TILE_M / WARPS_M, kWarpN = TILE_N / WARPS_N;
constexpr int kFragmentsM = kWarpM / 16, kFragmentsN = kWarpN / 8;

extern __shared__ __align__(16) u16 memory[];

__device__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Copies without waiting; zeros where there is nothing.
template <int bytes>
__device__ void copy_async(void* to, const void* from, bool there) {
    const int size = there ? bytes : 0;
    if (bytes == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                     :: "r"(shared_address(to)), "l"(from), "r"(size) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;"
                     :: "r"(shared_address(to)), "l"(from), "r"(size), "n"(bytes) : "memory");
    }
}

template <bool turned>
__device__ void load_matrices(u32 (&r)[4], const u16* from) {
    const u32 address = shared_address(from);
    if (turned) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
    }
}

__device__ void multiply_add(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if BFLOAT
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
#endif
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ i64 place(const Matmul& s, u32 column, i64 image_step, const i64 (&step)[3]) {
    const u32 image = column / s.pixels, pixel = column - image * s.pixels;
    const u32 row = pixel / s.width, plane = row / s.height;
    return image * image_step + (pixel - row * s.width) * step[0] +
           (row - plane * s.height) * step[1] + plane * step[2];
}

template <int count> struct __align__(2 * count) Pack { u16 item[count]; };

// The images' part: a thread has one column, or as many as one access takes, of some rows.
constexpr int kReads = READ / 2;  // elements of an access
constexpr int kAcross = TILE_N / kReads;
constexpr int kDown = kThreads / kAcross;
constexpr int kPasses = TILE_K / kDown;
static_assert(kThreads % kAcross == 0 && TILE_K % kDown == 0, "");

struct Columns {
    const u16* from;  // of the first channel
    bool there;
    u32 column, row;

    __device__ Columns(const Matmul& s, const u16* images, u32 first)
        : column(threadIdx.x % kAcross * kReads), row(threadIdx.x / kAcross) {
        there = first + column < s.columns;
        from = images;
        if (there) from += place(s, first + column, s.from_image, s.from_step);
    }
    // Asynchronously where an access is wide enough for that.
    __device__ void load(const Matmul& s, u32 k0, u16* tile) const {
#pragma unroll
        for (int i = 0; i < kPasses; ++i) {
            const u32 r = row + i * kDown;
            const bool ok = there && k0 + r < s.k;
            copy_async<READ>(
                tile + r * kPitchX + column, ok ? from + (k0 + r) * s.from_channel : from, ok);
        }
    }
    __device__ void fetch(const Matmul& s, u32 k0, u16 (&held)[kPasses]) const {
#pragma unroll
        for (int i = 0; i < kPasses; ++i) {
            const u32 r = row + i * kDown;
            held[i] = there && k0 + r < s.k ? __ldg(from + (k0 + r) * s.from_channel) : 0;
        }
    }
    __device__ void keep(const u16 (&held)[kPasses], u16* tile) const {
#pragma unroll
        for (int i = 0; i < kPasses; ++i) tile[(row + i * kDown) * kPitchX + column] = held[i];
    }
};

// The weights' part, 8 elements at once.
__device__ void load_weights(const Matmul& s, const u16* weights, u32 m0, u32 k0, u16* tile) {
    constexpr int kWide = (TURNED ? TILE_M : TILE_K) / 8;
    const u32 pitch = TURNED ? s.m : s.k;
    const u32 row0 = TURNED ? k0 : m0, column0 = TURNED ? m0 : k0;
    const u32 rows = TURNED ? s.k : s.m;
#pragma unroll
    for (int i = 0; i < kRowsW * kWide / kThreads; ++i) {
        const u32 at = threadIdx.x + i * kThreads;
        const u32 r = at / kWide, c = at % kWide * 8;
        const bool ok = row0 + r < rows && column0 + c < pitch;
        copy_async<16>(
            tile + r * kPitchW + c, ok ? weights + (i64)(row0 + r) * pitch + column0 + c : weights,
            ok);
    }
}

__device__ void multiply(
    const u16* tile, u32 warp_m, u32 warp_n, float (&sums)[kFragmentsM][kFragmentsN][4]) {
    const u32 lane = threadIdx.x % 32;
    const u16* const x = tile + kRowsW * kPitchW + warp_n * kWarpN;
#pragma unroll
    for (int k = 0; k < TILE_K; k += 16) {
        u32 a[kFragmentsM][4], b[kFragmentsN / 2][4];
#pragma unroll
        for (int i = 0; i < kFragmentsM; ++i) {
            const u32 m = warp_m * kWarpM + i * 16;
            load_matrices<TURNED>(
                a[i], TURNED ? tile + (k + lane % 8 + lane / 16 * 8) * kPitchW + m + lane / 8 % 2 * 8
                             : tile + (m + lane % 16) * kPitchW + k + lane / 16 * 8);
        }
#pragma unroll
        for (int j = 0; j < kFragmentsN / 2; ++j) {
            load_matrices<true>(b[j], x + (k + lane % 16) * kPitchX + j * 16 + lane / 16 * 8);
        }
#pragma unroll
        for (int i = 0; i < kFragmentsM; ++i) {
#pragma unroll
            for (int j = 0; j < kFragmentsN; ++j) {
                multiply_add(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
            }
        }
    }
}

// Through shared memory, so that neighbours write together; with what is fused on the way.
__device__ void write(
    const Matmul& s, const float* sums, u32 m0, u32 first, const u16* bias, const u16* z, u16* to) {
    constexpr int kWrites = WRITE / 2, kWide = TILE_N / kWrites, kRows = kThreads / kWide;
    static_assert(kThreads % kWide == 0 && TILE_M % kRows == 0, "");
    const u32 column = threadIdx.x % kWide * kWrites;
    if (first + column >= s.columns) return;
    const i64 offset = place(s, first + column, s.to_image, s.to_step);
    for (u32 r = threadIdx.x / kWide; r < TILE_M && m0 + r < s.m; r += kRows) {
        const i64 at = offset + (m0 + r) * s.to_channel;
        const float* const row = sums + r * kPitchSums + column;
        Pack<kWrites> pack, addend;
        if (s.has_sum) addend = *(const Pack<kWrites>*)(z + at);
        const float shift = s.has_bias ? get(bias[m0 + r]) : 0.f;
#pragma unroll
        for (int i = 0; i < kWrites; ++i) {
            float value = row[i];
            if (s.has_sum) value += s.sum_scale * get(addend.item[i]);
            value += shift;
            // NaN fails the comparison and passes through.
            if (s.rectifies && value <= 0) value = s.slope == 0 ? 0.f : value * s.slope;
            pack.item[i] = rounded(value);
        }
        *(Pack<kWrites>*)(to + at) = pack;
    }
}

extern "C" __global__ void __launch_bounds__(kThreads) matmul(
    const u16* weights, const u16* from, u16* to, const u16* bias, const u16* z,
    const Matmul s) {
    // Neighbours share the columns, which are more than the weights.
    const u32 m0 = blockIdx.x % s.tiles_m * TILE_M, first = blockIdx.x / s.tiles_m * TILE_N;
    const u32 warp = threadIdx.x / 32, warp_m = warp % WARPS_M, warp_n = warp / WARPS_M;
    const u32 steps = (s.k + TILE_K - 1) / TILE_K;
    const Columns columns(s, from, first);
    float sums[kFragmentsM][kFragmentsN][4] = {};
    const auto tile = [&](u32 step) { return memory + step % STAGES * kStage; };
    const auto images = [&](u32 step) { return tile(step) + kRowsW * kPitchW; };
    u16 held[kPasses];
#pragma unroll
    for (int step = 0; step < STAGES - 1; ++step) {
        if (step < steps) {
            load_weights(s, weights, m0, step * TILE_K, tile(step));
#if READ > 2
            columns.load(s, step * TILE_K, images(step));
#else
            columns.fetch(s, step * TILE_K, held);
            columns.keep(held, images(step));
#endif
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    for (u32 step = 0; step < steps; ++step) {
        asm volatile("cp.async.wait_group %0;" :: "n"(STAGES - 2) : "memory");
        __syncthreads();  // the step is there for all, and all are done with the one before
        const u32 next = step + STAGES - 1;
        if (next < steps) {
            load_weights(s, weights, m0, next * TILE_K, tile(next));
#if READ > 2
            columns.load(s, next * TILE_K, images(next));
#else
            columns.fetch(s, next * TILE_K, held);
#endif
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
        multiply(tile(step), warp_m, warp_n, sums);
#if READ == 2
        if (next < steps) columns.keep(held, images(next));
#endif
    }
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
    float* const all = (float*)memory;
    const u32 lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kFragmentsM; ++i) {
#pragma unroll
        for (int j = 0; j < kFragmentsN; ++j) {
            float* const at = all + (warp_m * kWarpM + i * 16 + lane / 4) * kPitchSums +
                              warp_n * kWarpN + j * 8 + lane % 4 * 2;
            *(float2*)at = make_float2(sums[i][j][0], sums[i][j][1]);
            *(float2*)(at + 8 * kPitchSums) = make_float2(sums[i][j][2], sums[i][j][3]);
        }
    }
    __syncthreads();
    write(s, all, m0, first, bias, z, to);
}
)cuda";

}  // namespace mioconv::cuda
