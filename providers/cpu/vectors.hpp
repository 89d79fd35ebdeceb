// Vectors of 16 floats, and functions compiled for several instruction sets.
#pragma once

#include <cstring>

namespace mioconv::cpu {

constexpr int kLanes = 16;
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

// On x86-64 the loops over vectors are compiled for each of these and picked when the library
// loads.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define MIOCONV_VECTOR_CLONES __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define MIOCONV_VECTOR_CLONES
#endif
#define MIOCONV_INLINE __attribute__((always_inline)) inline
#define MIOCONV_INLINE_LAMBDA __attribute__((always_inline))

MIOCONV_INLINE void load(const float* from, Vector& to) { std::memcpy(&to, from, sizeof to); }
MIOCONV_INLINE void store(const Vector& from, float* to) { std::memcpy(to, &from, sizeof from); }

}  // namespace mioconv::cpu
