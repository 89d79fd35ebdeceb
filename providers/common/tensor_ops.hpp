// MIOpen's operations on whole tensors, as a provider computes them: it defines these functions.
// tensor_api.cpp, which calls them, has checked the arguments.
#pragma once

#include "descriptors.hpp"

namespace mioconv::provider {

// A tensor's memory and how to walk it. Strides of 0 repeat an element.
struct Strided {
    miopenDataType_t dtype;
    const void* memory;
    Dims strides;

    Strided(const miopenTensorDescriptor& tensor, const void* memory)
        : dtype(tensor.dtype), memory(memory), strides(tensor.strides) {}
};

struct OpScalars {
    float alpha1, alpha2, beta;
};

// c = op(alpha1 * a, alpha2 * b) + beta * c, of that shape. With beta = 0 what c holds is not read.
void op_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape, miopenTensorOp_t op,
    const OpScalars& scalars, const Strided& c, const Strided& a, const Strided& b);
void set_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& y, float value);
void scale_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& y, float factor);
// A copy into another layout or type.
void transform_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& y, const Strided& x);
// By the identity, ReLU, clipped or leaky ReLU.
void activate_tensor(
    miopenHandle& handle, const miopenTensorDescriptor& shape,
    const miopenActivationDescriptor& function, const Strided& y, const Strided& x);
// db = the sum of dy over all dimensions but the channels; db's are `step` elements apart.
void sum_channels(
    miopenHandle& handle, const miopenTensorDescriptor& shape, const Strided& dy, const Strided& db,
    std::int64_t step);

}  // namespace mioconv::provider
