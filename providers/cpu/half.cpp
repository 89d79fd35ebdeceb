#include "half.hpp"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mioconv::cpu {
namespace {

float float_from_bits(std::uint32_t bits) noexcept {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

std::uint32_t bits_of(float value) noexcept {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

struct BFloat16 {
    static float load(std::uint16_t bits) noexcept {
        return float_from_bits(std::uint32_t{bits} << 16);
    }
    static std::uint16_t store(float value) noexcept {
        const std::uint32_t bits = bits_of(value);
        // A NaN must not round up to infinity: make it quiet and keep its upper bits.
        const std::uint32_t nan = (bits >> 16) | 0x40u;
        const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        return static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    }
};

struct Half {
    static float load(std::uint16_t half) noexcept {
        const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
        const std::uint32_t rest = half & 0x7fffu;
        if (rest >= 0x7c00u) {  // infinity, NaN (made quiet)
            const std::uint32_t quiet = rest > 0x7c00u ? 0x400000u : 0u;
            return float_from_bits(sign | 0x7f800000u | ((rest & 0x3ffu) << 13) | quiet);
        }
        if (rest >= 0x400u) return float_from_bits(sign | ((rest << 13) + (112u << 23)));
        const float subnormal = static_cast<float>(rest) * 0x1p-24f;
        return float_from_bits(sign | bits_of(subnormal));
    }
    static std::uint16_t store(float value) noexcept {
        const std::uint32_t bits = bits_of(value);
        const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
        const std::uint32_t rest = bits & 0x7fffffffu;
        if (rest > 0x7f800000u) {
            return static_cast<std::uint16_t>(sign | 0x7e00u | ((rest >> 13) & 0x3ffu));
        }
        if (rest >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // >= 65520
        if (rest >= 0x38800000u) {  // normal
            const std::uint32_t rounded = rest + 0xfffu + ((rest >> 13) & 1u) - (112u << 23);
            return static_cast<std::uint16_t>(sign | (rounded >> 13));
        }
        // Subnormal: adding 0.5 moves the units of 2^-24 to the end of the mantissa, and the
        // addition itself rounds to nearest even.
        const float shifted = float_from_bits(rest) + 0.5f;
        return static_cast<std::uint16_t>(sign | (bits_of(shifted) - 0x3f000000u));
    }
};

template <class Type>
void load_strided(
    const std::uint16_t* from, std::int64_t stride, std::int64_t count, float* to) noexcept {
    for (std::int64_t i = 0; i < count; ++i) to[i] = Type::load(from[i * stride]);
}

template <class Type>
void store_strided(
    const float* from, std::int64_t count, std::uint16_t* to, std::int64_t stride) noexcept {
    for (std::int64_t i = 0; i < count; ++i) to[i * stride] = Type::store(from[i]);
}

#if defined(__x86_64__)

// The library is built for any x86-64: what a newer CPU does better stands in functions of its own.
[[gnu::target("avx,f16c")]] void half_to_float_f16c(
    const std::uint16_t* from, std::int64_t count, float* to) noexcept {
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(packed));
    }
    for (; i < count; ++i) to[i] = Half::load(from[i]);
}

[[gnu::target("avx,f16c")]] void float_to_half_f16c(
    const float* from, std::int64_t count, std::uint16_t* to) noexcept {
    std::int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m128i packed =
            _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), packed);
    }
    for (; i < count; ++i) to[i] = Half::store(from[i]);
}

#endif

void half_to_float(const std::uint16_t* from, std::int64_t count, float* to) noexcept {
#if defined(__x86_64__)
    static const bool f16c = __builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c");
    if (f16c) return half_to_float_f16c(from, count, to);
#endif
    load_strided<Half>(from, 1, count, to);
}

void float_to_half(const float* from, std::int64_t count, std::uint16_t* to) noexcept {
#if defined(__x86_64__)
    static const bool f16c = __builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c");
    if (f16c) return float_to_half_f16c(from, count, to);
#endif
    store_strided<Half>(from, count, to, 1);
}

}  // namespace

void load_floats(
    miopenDataType_t dtype, const void* from, std::int64_t stride, std::int64_t count,
    float* to) noexcept {
    const auto* narrow = static_cast<const std::uint16_t*>(from);
    if (dtype == miopenHalf) {
        if (stride == 1) return half_to_float(narrow, count, to);
        load_strided<Half>(narrow, stride, count, to);
    } else if (dtype == miopenBFloat16) {
        if (stride == 1) return load_strided<BFloat16>(narrow, 1, count, to);  // vectorised
        load_strided<BFloat16>(narrow, stride, count, to);
    } else {
        const auto* wide = static_cast<const float*>(from);
        if (stride == 1) {
            std::memcpy(to, wide, static_cast<std::size_t>(count) * sizeof(float));
        } else {
            for (std::int64_t i = 0; i < count; ++i) to[i] = wide[i * stride];
        }
    }
}

void store_floats(
    miopenDataType_t dtype, const float* from, std::int64_t count, void* to,
    std::int64_t stride) noexcept {
    auto* narrow = static_cast<std::uint16_t*>(to);
    if (dtype == miopenHalf) {
        if (stride == 1) return float_to_half(from, count, narrow);
        store_strided<Half>(from, count, narrow, stride);
    } else if (dtype == miopenBFloat16) {
        if (stride == 1) return store_strided<BFloat16>(from, count, narrow, 1);  // vectorised
        store_strided<BFloat16>(from, count, narrow, stride);
    } else {
        auto* wide = static_cast<float*>(to);
        if (stride == 1) {
            std::memcpy(wide, from, static_cast<std::size_t>(count) * sizeof(float));
        } else {
            for (std::int64_t i = 0; i < count; ++i) wide[i * stride] = from[i];
        }
    }
}

float load_float(miopenDataType_t dtype, const void* from) noexcept {
    float value;
    load_floats(dtype, from, 1, 1, &value);
    return value;
}

}  // namespace mioconv::cpu
