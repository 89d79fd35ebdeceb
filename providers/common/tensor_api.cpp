// What works element by element: miopenOpTensor, SetTensor, ScaleTensor, TransformTensor,
// ActivationForward, and the bias with its gradient.
#include <cstring>

#include "export.hpp"
#include "guard.hpp"
#include "profile.hpp"
#include "scalars.hpp"
#include "tensor_ops.hpp"

using namespace mioconv::provider;

namespace {

bool same_shape(const miopenTensorDescriptor& a, const miopenTensorDescriptor& b) {
    return a.rank == b.rank && a.dims == b.dims;
}

// `tensor` with dimensions of size 1 stretched to those of `shape`.
Strided broadcast(
    const miopenTensorDescriptor& tensor, const void* memory, const miopenTensorDescriptor& shape) {
    require(tensor.rank == shape.rank);
    Strided view(tensor, memory);
    for (int i = 0; i < shape.rank; ++i) {
        require(tensor.dims[i] == shape.dims[i] || tensor.dims[i] == 1);
        if (tensor.dims[i] == 1) view.strides[i] = 0;
    }
    return view;
}

// A bias descriptor is [1, C, 1, ...] as MIOpen has it, or plain [C].
std::int64_t channel_stride(const miopenTensorDescriptor& bias, std::int64_t channels) {
    const int channel_dim = bias.rank == 1 ? 0 : 1;
    for (int i = 0; i < bias.rank; ++i) {
        require(bias.dims[i] == (i == channel_dim ? channels : 1));
    }
    return channels == 1 ? 1 : bias.strides[channel_dim];
}

// The host's scalar of SetTensor and ScaleTensor, which has the tensor's dtype, unlike everywhere
// else.
float typed_scalar(miopenDataType_t dtype, const void* pointer) {
    if (dtype == miopenFloat) return *static_cast<const float*>(pointer);
    std::uint16_t bits = 0;
    std::memcpy(&bits, pointer, sizeof bits);
    float value = 0;
    if (dtype == miopenBFloat16) {
        const std::uint32_t wide = std::uint32_t{bits} << 16;
        std::memcpy(&value, &wide, sizeof value);
        return value;
    }
    const std::uint32_t sign = std::uint32_t{bits} >> 15 << 31;
    const std::uint32_t exponent = bits >> 10 & 0x1fu, fraction = bits & 0x3ffu;
    if (exponent == 0) {  // zero or subnormal: the fraction counts steps of 2^-24
        value = static_cast<float>(fraction) * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    const std::uint32_t wide =
        sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}

void with_scalar(
    miopenHandle_t handle, const miopenTensorDescriptor_t descriptor, const void* memory,
    const void* scalar,
    void (*operation)(miopenHandle&, const miopenTensorDescriptor&, const Strided&, float)) {
    require(handle != nullptr && memory != nullptr && scalar != nullptr);
    const KernelTimer timer(handle);
    const auto& tensor = deref(descriptor);
    require_supported(tensor);
    operation(*handle, tensor, {tensor, memory}, typed_scalar(tensor.dtype, scalar));
}

void require_known(miopenActivationMode_t mode) {
    require(
        mode == miopenActivationPASTHRU || mode == miopenActivationRELU ||
            mode == miopenActivationCLIPPEDRELU || mode == miopenActivationLEAKYRELU,
        miopenStatusUnsupportedOp);
}

// A tensor and a bias of its channels: the stride of that.
std::int64_t check_bias(
    const miopenTensorDescriptor& tensor, const miopenTensorDescriptor& bias, const void* alpha,
    const void* beta) {
    require_supported(bias);
    require_supported(tensor);
    require(tensor.rank >= 2 && bias.dtype == tensor.dtype);
    require_plain(alpha, beta);
    return channel_stride(bias, tensor.dims[1]);
}

}  // namespace

MIOCONV_EXPORT miopenStatus_t miopenOpTensor(
    miopenHandle_t handle, miopenTensorOp_t tensorOp, const void* alpha1,
    const miopenTensorDescriptor_t aDesc, const void* A, const void* alpha2,
    const miopenTensorDescriptor_t bDesc, const void* B, const void* beta,
    const miopenTensorDescriptor_t cDesc, void* C) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && A != nullptr && B != nullptr && C != nullptr);
        const KernelTimer timer(handle);
        const auto& shape = deref(cDesc);
        const auto& a = deref(aDesc);
        const auto& b = deref(bDesc);
        for (const auto* tensor : {&a, &b, &shape}) require_supported(*tensor);
        require(same_shape(a, shape) && a.dtype == shape.dtype && b.dtype == shape.dtype);
        require(tensorOp >= miopenTensorOpAdd && tensorOp <= miopenTensorOpMax);
        op_tensor(
            *handle, shape, tensorOp, {scalar(alpha1), scalar(alpha2), scalar(beta)}, {shape, C},
            {a, A}, broadcast(b, B, shape));
    });
}

MIOCONV_EXPORT miopenStatus_t miopenSetTensor(
    miopenHandle_t handle, const miopenTensorDescriptor_t yDesc, void* y, const void* alpha) {
    return guarded({__func__}, [&] { with_scalar(handle, yDesc, y, alpha, set_tensor); });
}

MIOCONV_EXPORT miopenStatus_t miopenScaleTensor(
    miopenHandle_t handle, const miopenTensorDescriptor_t yDesc, void* y, const void* alpha) {
    return guarded({__func__}, [&] { with_scalar(handle, yDesc, y, alpha, scale_tensor); });
}

MIOCONV_EXPORT miopenStatus_t miopenTransformTensor(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t xDesc, const void* x,
    const void* beta, const miopenTensorDescriptor_t yDesc, void* y) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && x != nullptr && y != nullptr);
        const KernelTimer timer(handle);
        const auto& from = deref(xDesc);
        const auto& to = deref(yDesc);
        require_supported(from);
        require_supported(to);
        require(same_shape(from, to));
        require_plain(alpha, beta);
        transform_tensor(*handle, to, {to, y}, {from, x});
    });
}

MIOCONV_EXPORT miopenStatus_t miopenActivationForward(
    miopenHandle_t handle, const miopenActivationDescriptor_t activDesc, const void* alpha,
    const miopenTensorDescriptor_t xDesc, const void* x, const void* beta,
    const miopenTensorDescriptor_t yDesc, void* y) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && x != nullptr && y != nullptr);
        const KernelTimer timer(handle);
        const auto& descriptor = deref(activDesc);
        const auto& from = deref(xDesc);
        const auto& to = deref(yDesc);
        require_supported(from);
        require_known(descriptor.mode);
        require(same_shape(from, to) && from.dtype == to.dtype);
        require_plain(alpha, beta);
        activate_tensor(*handle, to, descriptor, {to, y}, {from, x});
    });
}

// y += b, broadcast along the channels. alpha must be 1 and beta 0, which here means just that: it
// is what MIOpen computes.
MIOCONV_EXPORT miopenStatus_t miopenConvolutionForwardBias(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t bDesc, const void* b,
    const void* beta, const miopenTensorDescriptor_t yDesc, void* y) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && b != nullptr && y != nullptr);
        const KernelTimer timer(handle);
        const auto& bias = deref(bDesc);
        const auto& tensor = deref(yDesc);
        Strided repeated(bias, b);
        repeated.strides = {};
        repeated.strides[1] = check_bias(tensor, bias, alpha, beta);
        op_tensor(
            *handle, tensor, miopenTensorOpAdd, {1, 1, 0}, {tensor, y}, {tensor, y}, repeated);
    });
}

MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardBias(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const void* beta, const miopenTensorDescriptor_t dbDesc, void* db) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && dy != nullptr && db != nullptr);
        const KernelTimer timer(handle);
        const auto& tensor = deref(dyDesc);
        const auto& bias = deref(dbDesc);
        const std::int64_t step = check_bias(tensor, bias, alpha, beta);
        sum_channels(*handle, tensor, {tensor, dy}, {bias, db}, step);
    });
}
