// One convolution problem as a value: the key of every cache in a provider.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "descriptors.hpp"

namespace mioconv::provider {

enum class Direction : std::int32_t { forward, backward_data, backward_weights };

// What is fused behind a forward convolution.
enum class Fused : std::int32_t { none, relu, leaky_relu };

// A problem in the terms of an ordinary convolution: `src` is what the forward convolution reads,
// `dst` what it writes, and `direction` says which of the three is computed. A transposed
// convolution has been turned around already (its forward is our backward_data, and so on).
//
// Without padding bytes, so that memcmp compares and the hash may read words.
struct ConvProblem {
    Direction direction;
    std::int32_t dtype;  // miopenDataType_t
    std::int32_t rank;   // 4 or 5
    std::int32_t groups;
    // What else the ways to compute it depend on: the bound on threads of a CPU, a GPU's number.
    std::int32_t place;
    Fused fused;
    std::int32_t has_bias;
    std::int32_t has_sum;
    float slope;  // of the leaky ReLU
    float sum_scale;  // dst = act(conv + sum_scale * z + bias)
    Spatial padding, stride, dilation;
    std::int32_t deterministic;
    std::int32_t strict_math;  // no TF32
    std::int32_t alignment;  // bytes that every pointer is a multiple of, at most 16
    std::int32_t packed_weights;  // the weights are what the solution itself has made of them
    std::int32_t unused;  // keeps Dims on multiples of 8
    Dims src, wei, dst;
    Dims src_strides, wei_strides, dst_strides;

    bool operator==(const ConvProblem& other) const noexcept {
        return std::memcmp(this, &other, sizeof *this) == 0;
    }
};
static_assert(std::is_trivially_copyable_v<ConvProblem>);
static_assert(
    sizeof(ConvProblem) == 24 * sizeof(std::int32_t) + 6 * sizeof(Dims), "no padding bytes");

struct ConvProblemHash {
    std::size_t operator()(const ConvProblem& problem) const noexcept;
};

// What fusion adds to a problem.
struct Epilogue {
    Fused fused = Fused::none;
    float slope = 0;
    bool bias = false;
    bool sum = false;
    float sum_scale = 0;
};

// Reads the descriptors, checks that they belong together (BadParm), and turns a transposed
// convolution around. x, w and y are the roles of MIOpen's forward call, whatever the direction:
// a gradient has the descriptor of what it is the gradient of.
ConvProblem make_problem(
    std::int32_t place, Direction direction, const miopenTensorDescriptor& x,
    const miopenTensorDescriptor& w, const miopenConvolutionDescriptor& conv,
    const miopenTensorDescriptor& y, const Epilogue& epilogue = {});

// A problem of three spatial axes as one of two, if neighbours can be stepped through as one axis:
// both with kernels of one tap that neither pad nor skip, or one of them of size 1. Libraries are
// faster with fewer axes, and oneDNN's gradient of weights is wrong where a depth is padded.
ConvProblem collapsed(ConvProblem problem) noexcept;

// One input channel a group.
inline bool is_depthwise(const ConvProblem& problem) noexcept {
    return problem.groups > 1 && problem.wei[1] == 1;
}

// Floating-point operations, counting a multiply-add as two and padding as work.
double flops(const ConvProblem& problem) noexcept;

// The tensors of a problem, and what a fused one reads besides.
enum class Role : int { src, wei, dst, bias, z };
constexpr int kRoles = 5;

// The caller's tensors, by role. The output's pointer is written through.
struct Operands {
    const void* pointer[kRoles] = {};

    const void*& operator[](Role role) noexcept { return pointer[static_cast<int>(role)]; }
    const void* operator[](Role role) const noexcept { return pointer[static_cast<int>(role)]; }
};

}  // namespace mioconv::provider
