// A sum of half-type tensors on the host: in float32, rounded once.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "abi/miopen.h"

namespace mioconv {

class HalfSum {
public:
    /// `count` elements of float16 or bfloat16, all zero.
    void begin(miopenDataType_t dtype, std::int64_t count) {
        dtype_ = dtype;
        sums_.assign(static_cast<std::size_t>(count), 0.0f);
        elements_.resize(sums_.size());
    }
    /// Where the next summand, or the result, lies: `bytes()` of it.
    void* data() { return elements_.data(); }
    std::size_t bytes() const { return elements_.size() * sizeof(std::uint16_t); }

    void add() {
        for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] += widen(elements_[i]);
    }
    void round() {
        for (std::size_t i = 0; i < sums_.size(); ++i) elements_[i] = narrow(sums_[i]);
    }

private:
    static float from_bits(std::uint32_t bits) {
        float value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }
    float widen(std::uint16_t bits) const {
        if (dtype_ == miopenBFloat16) return from_bits(std::uint32_t{bits} << 16);
        const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16, rest = bits & 0x7FFFu;
        if (rest >= 0x7C00) return from_bits(sign | 0x7F800000 | (rest & 0x3FF) << 13);
        if (rest >= 0x400) return from_bits(sign | ((rest << 13) + (112u << 23)));
        const float subnormal = std::ldexp(static_cast<float>(rest), -24);
        return sign ? -subnormal : subnormal;
    }
    /// To the nearest, ties to even; NaN stays one.
    std::uint16_t narrow(float value) const {
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        const bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
        if (dtype_ == miopenBFloat16) {
            if (nan) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
            return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
        }
        const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
        const std::uint32_t size = bits & 0x7FFFFFFF;
        if (nan) return sign | 0x7E00;
        if (size >= 0x477FF000) return sign | 0x7C00;  // rounds to 2^16 or is beyond
        if (size < 0x38800000)  // below 2^-14: a multiple of 2^-24
            return sign |
                   static_cast<std::uint16_t>(std::nearbyint(std::ldexp(std::fabs(value), 24)));
        const std::uint32_t even = size + 0xFFF + (size >> 13 & 1);
        return sign | static_cast<std::uint16_t>((even - (112u << 23)) >> 13);
    }

    miopenDataType_t dtype_ = miopenHalf;
    std::vector<float> sums_;
    std::vector<std::uint16_t> elements_;
};

}  // namespace mioconv
