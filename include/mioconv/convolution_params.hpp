// The key of every cache: all that decides which solution is right, as a plain value.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "descriptors.hpp"
#include "directions.hpp"

namespace mioconv {

/// How the elements of a tensor lie in memory. Both are packed: no gaps, no overlap.
enum class Layout : std::int64_t { packed = 0, channels_last = 1 };

/// Every field is a 64-bit word, so that the value has no padding bytes and the hash can go over
/// its words. Shapes are outermost first and always N, C, spatial (spatial >= 2: one dimension runs
/// as two with height 1); unused places are zero.
///
/// Not in here, because an entry serves all their values: workspace limit, exclusions, benchmark.
struct ConvolutionParams {
    std::int64_t provider;
    std::int64_t device;
    std::int64_t architecture;  ///< hash of the device's architecture name and compute unit count
    std::int64_t threads;  ///< CPU threads that may be used; 0 on GPUs
    std::int64_t direction;
    std::int64_t fusion;
    std::int64_t mode;
    std::int64_t dtype;
    std::int64_t deterministic;
    std::int64_t allow_tf32;
    std::int64_t packed_weights;  ///< the weights come as `Entry::pack_weights` makes them
    std::int64_t spatial;
    std::int64_t groups;
    std::array<std::int64_t, max_spatial> padding, stride, dilation;
    std::array<std::array<std::int64_t, max_dims>, operand_count> shape, strides;
    std::array<std::int64_t, operand_count> alignment;  ///< of the data pointers, capped at 16

    friend bool operator==(const ConvolutionParams& a, const ConvolutionParams& b) {
        return std::memcmp(&a, &b, sizeof a) == 0;
    }
    friend bool operator!=(const ConvolutionParams& a, const ConvolutionParams& b) {
        return !(a == b);
    }

    /// Size of an operand; tensors of a key are dense.
    std::size_t bytes(Operand operand) const {
        std::size_t product = dtype == miopenFloat ? 4 : 2;
        for (int i = 0; i < 2 + spatial; ++i)
            product *= static_cast<std::size_t>(shape[operand][i]);
        return product;
    }

    /// Whether an operand is dense in channels-last order and in no other.
    bool lies_channels_last() const {
        for (int operand = 0; operand < operand_count; ++operand) {
            std::int64_t pixels = 1;
            for (int i = 2; i < 2 + spatial; ++i) pixels *= shape[operand][i];
            if (strides[operand][1] == 1 && pixels > 1 && shape[operand][1] > 1) return true;
        }
        return false;
    }

    static constexpr std::size_t words() { return sizeof(ConvolutionParams) / 8; }

    /// 64-bit hash over the words: each multiplication folds two of them in, in two lanes that do
    /// not wait for each other.
    std::uint64_t hash() const {
        std::uint64_t a = 0x9E3779B97F4A7C15u, b = 0xC2B2AE3D27D4EB4Fu;
        for (std::size_t i = 0; i < words(); i += 4) {
            a = fold(word(i) ^ 0xA0761D6478BD642Fu, word(i + 1) ^ a);
            b = fold(word(i + 2) ^ 0xE7037ED1A0B428DBu, word(i + 3) ^ b);
        }
        return fold(a ^ 0x589965CC75374CC3u, b ^ words());
    }

private:
    // Zero behind the last one.
    std::uint64_t word(std::size_t i) const {
        std::uint64_t value = 0;
        if (i < words()) std::memcpy(&value, reinterpret_cast<const char*>(this) + 8 * i, 8);
        return value;
    }

    static std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
        __extension__ using wide = unsigned __int128;
        const wide product = static_cast<wide>(a) * b;
        return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
    }
};

static_assert(std::is_trivially_copyable_v<ConvolutionParams>);
static_assert(
    std::has_unique_object_representations_v<ConvolutionParams>,
    "padding bytes would make equal problems differ");

/// A key that knows its hash: hash maps ask for it again and again, also for neighbours of what is
/// looked up.
struct HashedParams {
    explicit HashedParams(const ConvolutionParams& params) : params(params), hash(params.hash()) {}

    ConvolutionParams params;
    std::uint64_t hash;

    friend bool operator==(const HashedParams& a, const HashedParams& b) {
        return a.hash == b.hash && a.params == b.params;
    }
    struct Hash {
        std::size_t operator()(const HashedParams& key) const { return key.hash; }
    };
};

}  // namespace mioconv
