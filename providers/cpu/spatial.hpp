// Convolutions of one to three spatial dimensions as ones of three.
#pragma once

#include "layouts.hpp"

namespace mioconv::cpu {

constexpr int kSpace = 3;

// Three spatial dimensions, those that a problem lacks of size 1.
struct Axes {
    std::int64_t size[kSpace], stride[kSpace];  // elements
};

struct Tensor {
    std::int64_t first, second;  // strides of the first two dimensions
    Axes axes;
};

// The caller's.
inline Tensor tensor_of(const ConvProblem& problem, Role role) {
    const Dims& dims = dims_of(problem, role);
    const Dims strides = strides_of(problem, role);
    Tensor tensor{strides[0], strides[1], {{1, 1, 1}, {0, 0, 0}}};
    const int missing = kSpace - (problem.rank - 2);
    for (int i = 2; i < problem.rank; ++i) {
        tensor.axes.size[i - 2 + missing] = dims[i];
        tensor.axes.stride[i - 2 + missing] = strides[i];
    }
    return tensor;
}

// How the kernel moves over the input.
struct Window {
    std::int64_t stride[kSpace], dilation[kSpace], padding[kSpace];
};

inline Window window_of(const ConvProblem& problem) {
    Window window{};
    const int missing = kSpace - (problem.rank - 2);
    for (int i = 0; i < kSpace; ++i) {
        const bool there = i >= missing;
        window.stride[i] = there ? problem.stride[i - missing] : 1;
        window.dilation[i] = there ? problem.dilation[i - missing] : 1;
        window.padding[i] = there ? problem.padding[i - missing] : 0;
    }
    return window;
}

}  // namespace mioconv::cpu
