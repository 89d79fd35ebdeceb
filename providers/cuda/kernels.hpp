// Our own kernels on the elements of tensors of any strides.
#pragma once

#include <cstdint>

#include "common/descriptors.hpp"
#include "error.hpp"

namespace mioconv::cuda {

using provider::Dims;

// A tensor in memory. Strides of 0 repeat an element (broadcasting).
struct View {
    miopenDataType_t dtype;
    const void* data;
    Dims strides;
};

enum class Map : int { copy, relu, clipped_relu, leaky_relu, scale, set };

// Compiles the kernels for the current device where that was not done yet.
void prepare_kernels();

// out = op(in), of the given sizes; `alpha` is the operation's parameter. The views may be the
// same memory, and may differ in type.
void map_elements(
    int rank, const Dims& dims, const View& out, const View& in, Map op, float alpha,
    cudaStream_t stream);

// out = op(alpha1 * a, alpha2 * b) + beta * out; all of one type.
void combine_elements(
    int rank, const Dims& dims, const View& out, const View& a, const View& b, miopenTensorOp_t op,
    float alpha1, float alpha2, float beta, cudaStream_t stream);

// out[c] = the sum of `in` over all other dimensions; the same bits whenever the sizes are.
void sum_channels(
    int rank, const Dims& dims, const View& in, const View& out, std::int64_t out_stride,
    cudaStream_t stream);

// Keeps the stream busy, so that what is queued next can run without waiting for the host.
void hold(int microseconds, cudaStream_t stream);

}  // namespace mioconv::cuda
