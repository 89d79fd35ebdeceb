// The transforms of F(2x2, 3x3) and F(4x4, 3x3), 16 channels at a time.
//
// With the matrices G, B and A of the algorithm: forward is A^T [(G w G^T) (B^T d B)] A, and the
// gradient of the weights is its transpose, G^T [sum over tiles of (B^T d B) (A dy A^T)] G.
#pragma once

#include "vectors.hpp"

namespace mioconv::cpu::winograd {

// Each applies one matrix to `in` with elements a stride apart, and likewise writes `out`.
template <int M>
struct Transform;

template <>
struct Transform<2> {
    static constexpr int kTile = 4;

    MIOCONV_INLINE static void input(const Vector* in, int i, Vector* out, int o) {  // B^T
        out[0] = in[0] - in[2 * i];
        out[o] = in[i] + in[2 * i];
        out[2 * o] = in[2 * i] - in[i];
        out[3 * o] = in[i] - in[3 * i];
    }
    MIOCONV_INLINE static void weight(const Vector* in, int i, Vector* out, int o) {  // G
        const Vector outer = 0.5f * (in[0] + in[2 * i]), inner = 0.5f * in[i];
        out[0] = in[0];
        out[o] = outer + inner;
        out[2 * o] = outer - inner;
        out[3 * o] = in[2 * i];
    }
    MIOCONV_INLINE static void output(const Vector* in, int i, Vector* out, int o) {  // A^T
        out[0] = in[0] + in[i] + in[2 * i];
        out[o] = in[i] - in[2 * i] - in[3 * i];
    }
    MIOCONV_INLINE static void gradient(const Vector* in, int i, Vector* out, int o) {  // A
        out[0] = in[0];
        out[o] = in[0] + in[i];
        out[2 * o] = in[0] - in[i];
        out[3 * o] = -in[i];
    }
    MIOCONV_INLINE static void weight_gradient(  // G^T
        const Vector* in, int i, Vector* out, int o) {
        const Vector sum = 0.5f * (in[i] + in[2 * i]), difference = 0.5f * (in[i] - in[2 * i]);
        out[0] = in[0] + sum;
        out[o] = difference;
        out[2 * o] = sum + in[3 * i];
    }
};

template <>
struct Transform<4> {
    static constexpr int kTile = 6;

    MIOCONV_INLINE static void input(const Vector* in, int i, Vector* out, int o) {
        const Vector a = in[4 * i] - 4.f * in[2 * i], b = in[3 * i] - 4.f * in[i];
        const Vector c = in[4 * i] - in[2 * i], d = 2.f * (in[3 * i] - in[i]);
        out[0] = 4.f * in[0] - 5.f * in[2 * i] + in[4 * i];
        out[o] = a + b;
        out[2 * o] = a - b;
        out[3 * o] = c + d;
        out[4 * o] = c - d;
        out[5 * o] = 4.f * in[i] - 5.f * in[3 * i] + in[5 * i];
    }
    MIOCONV_INLINE static void weight(const Vector* in, int i, Vector* out, int o) {
        const Vector outer = (-1.f / 6) * (in[0] + in[2 * i]), inner = (1.f / 6) * in[i];
        const Vector even = (1.f / 24) * in[0] + (1.f / 6) * in[2 * i], odd = (1.f / 12) * in[i];
        out[0] = 0.25f * in[0];
        out[o] = outer - inner;
        out[2 * o] = outer + inner;
        out[3 * o] = even + odd;
        out[4 * o] = even - odd;
        out[5 * o] = in[2 * i];
    }
    MIOCONV_INLINE static void output(const Vector* in, int i, Vector* out, int o) {
        const Vector a = in[i] + in[2 * i], b = in[i] - in[2 * i];
        const Vector c = in[3 * i] + in[4 * i], d = in[3 * i] - in[4 * i];
        out[0] = in[0] + a + c;
        out[o] = b + 2.f * d;
        out[2 * o] = a + 4.f * c;
        out[3 * o] = b + 8.f * d + in[5 * i];
    }
    MIOCONV_INLINE static void gradient(const Vector* in, int i, Vector* out, int o) {
        const Vector a = in[0] + in[2 * i], b = in[i] + in[3 * i];
        const Vector c = in[0] + 4.f * in[2 * i], d = 2.f * in[i] + 8.f * in[3 * i];
        out[0] = in[0];
        out[o] = a + b;
        out[2 * o] = a - b;
        out[3 * o] = c + d;
        out[4 * o] = c - d;
        out[5 * o] = in[3 * i];
    }
    MIOCONV_INLINE static void weight_gradient(const Vector* in, int i, Vector* out, int o) {
        const Vector a = (1.f / 6) * (in[i] + in[2 * i]), b = (1.f / 6) * (in[2 * i] - in[i]);
        const Vector c = in[3 * i] + in[4 * i], d = in[3 * i] - in[4 * i];
        out[0] = 0.25f * in[0] - a + (1.f / 24) * c;
        out[o] = b + (1.f / 12) * d;
        out[2 * o] = (1.f / 6) * c - a + in[5 * i];
    }
};

// out = T in T^T for a square `in` of n rows: first down the columns, then along the rows.
template <int From, int To, class Apply>
MIOCONV_INLINE void both_ways(const Vector* in, Vector* out, const Apply& apply) {
    Vector half[To * From];
    for (int column = 0; column < From; ++column) apply(in + column, From, half + column, From);
    for (int row = 0; row < To; ++row) apply(half + row * From, 1, out + row * To, 1);
}

}  // namespace mioconv::cpu::winograd
