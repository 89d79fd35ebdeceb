// float16 and bfloat16 on the host.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "abi/miopen.h"

namespace mioconv {

inline float float_from_bits(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/// Exact.
inline float widen_half(std::int64_t dtype, std::uint16_t bits) {
    if (dtype == miopenBFloat16) return float_from_bits(std::uint32_t{bits} << 16);
    const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16, rest = bits & 0x7FFFu;
    if (rest >= 0x7C00) return float_from_bits(sign | 0x7F800000 | (rest & 0x3FF) << 13);
    if (rest >= 0x400) return float_from_bits(sign | ((rest << 13) + (112u << 23)));
    const float subnormal = std::ldexp(static_cast<float>(rest), -24);
    return sign ? -subnormal : subnormal;
}

/// To the nearest, ties to even; NaN stays one.
inline std::uint16_t narrow_to_half(std::int64_t dtype, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    if (dtype == miopenBFloat16) {
        if (nan) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
        return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
    const std::uint32_t size = bits & 0x7FFFFFFF;
    if (nan) return sign | 0x7E00;
    if (size >= 0x477FF000) return sign | 0x7C00;  // rounds to 2^16 or is beyond
    if (size < 0x38800000)  // below 2^-14: a multiple of 2^-24
        return sign | static_cast<std::uint16_t>(std::nearbyint(std::ldexp(std::fabs(value), 24)));
    const std::uint32_t even = size + 0xFFF + (size >> 13 & 1);
    return sign | static_cast<std::uint16_t>((even - (112u << 23)) >> 13);
}

}  // namespace mioconv
