// Tiles of 16x16 floats, transposed in registers: between memory where elements of a line are
// neighbours and memory where the lines' elements of one index are (the lanes). For AVX-512.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstdint>

#include "vectors.hpp"

#define MIOCONV_AVX512 __attribute__((target("avx512f")))
#define MIOCONV_AVX512_INLINE __attribute__((target("avx512f"), always_inline)) inline

namespace mioconv::cpu {

// GCC's vectors: its AVX-512 intrinsics of the same shuffles warn of uninitialised operands.
using Lanes = int __attribute__((vector_size(4 * kLanes)));

MIOCONV_AVX512_INLINE void transpose(__m512 (&v)[kLanes]) {
    // Within each quarter (four lanes): lanes of two registers in turn, then pairs of lanes.
    constexpr Lanes low = {0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29};
    constexpr Lanes high = {2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31};
    constexpr Lanes low_pairs = {0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29};
    constexpr Lanes high_pairs = {2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31};
    // Whole quarters: the even and the odd ones of two registers.
    constexpr Lanes even = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27};
    constexpr Lanes odd = {4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};
    __m512 t[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; i += 2) {
        t[i] = __builtin_shuffle(v[i], v[i + 1], low);
        t[i + 1] = __builtin_shuffle(v[i], v[i + 1], high);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kLanes; i += 4) {
        v[i] = __builtin_shuffle(t[i], t[i + 2], low_pairs);
        v[i + 1] = __builtin_shuffle(t[i], t[i + 2], high_pairs);
        v[i + 2] = __builtin_shuffle(t[i + 1], t[i + 3], low_pairs);
        v[i + 3] = __builtin_shuffle(t[i + 1], t[i + 3], high_pairs);
    }
    // v[4 i + k] now has columns k, 4 + k, 8 + k and 12 + k of rows 4 i to 4 i + 3.
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
        const __m512 upper_even = __builtin_shuffle(v[k], v[4 + k], even);
        const __m512 upper_odd = __builtin_shuffle(v[k], v[4 + k], odd);
        const __m512 lower_even = __builtin_shuffle(v[8 + k], v[12 + k], even);
        const __m512 lower_odd = __builtin_shuffle(v[8 + k], v[12 + k], odd);
        t[k] = __builtin_shuffle(upper_even, lower_even, even);
        t[4 + k] = __builtin_shuffle(upper_odd, lower_odd, even);
        t[8 + k] = __builtin_shuffle(upper_even, lower_even, odd);
        t[12 + k] = __builtin_shuffle(upper_odd, lower_odd, odd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) v[i] = t[i];
}

MIOCONV_AVX512_INLINE __mmask16 first_lanes(int count) {
    return static_cast<__mmask16>((1u << count) - 1);
}

// Elements of up to 16 lines, `step` floats apart, as vectors of lanes: those of lines that are not
// there are zeros.
MIOCONV_AVX512_INLINE void read_lines(
    const float* from, std::int64_t step, int lines, int elements, __m512 (&v)[kLanes]) {
    const __mmask16 there = first_lanes(elements);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
        v[i] = i < lines ? _mm512_maskz_loadu_ps(there, from + i * step) : _mm512_setzero_ps();
    }
    transpose(v);
}

// The other way.
MIOCONV_AVX512_INLINE void write_lines(
    __m512 (&v)[kLanes], std::int64_t step, int lines, int elements, float* to) {
    const __mmask16 there = first_lanes(elements);
    transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
        if (i < lines) _mm512_mask_storeu_ps(to + i * step, there, v[i]);
    }
}

}  // namespace mioconv::cpu
#endif
