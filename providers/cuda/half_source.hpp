// The CUDA C++ that the kernels in half types begin with: short names of types, and an element as a
// float and back. BFLOAT is 1 for bfloat16, 0 for half.
#pragma once

namespace mioconv::cuda {

constexpr char kHalfSource[] = R"cuda(
typedef long long i64;
typedef unsigned int u32;
typedef unsigned short u16;

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
)cuda";

}  // namespace mioconv::cuda
