// What works element by element: miopenOpTensor, SetTensor, ScaleTensor, TransformTensor,
// ActivationForward, and the bias with its gradient.
#include <cstring>

#include "common/export.hpp"
#include "common/guard.hpp"
#include "common/profile.hpp"
#include "common/scalars.hpp"
#include "copies.hpp"
#include "handle.hpp"
#include "kernels.hpp"

using namespace mioconv::cuda;
using namespace mioconv::provider;

namespace {

View view_of(const miopenTensorDescriptor& tensor, const void* memory) {
    return {tensor.dtype, memory, tensor.strides};
}

bool same_shape(const miopenTensorDescriptor& a, const miopenTensorDescriptor& b) {
    return a.rank == b.rank && a.dims == b.dims;
}

cudaStream_t stream_of(miopenHandle_t handle) {
    std::lock_guard lock(deref(handle).mutex);
    return to_cuda(handle->stream());
}

// `tensor` with dimensions of size 1 stretched to those of `shape`.
View broadcast(
    const miopenTensorDescriptor& tensor, const void* memory, const miopenTensorDescriptor& shape) {
    require(tensor.rank == shape.rank);
    View view = view_of(tensor, memory);
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

// The host's scalar of SetTensor and ScaleTensor, which has the tensor's dtype.
float host_scalar(miopenDataType_t dtype, const void* pointer) {
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

void map_scalar(
    miopenHandle_t handle, miopenTensorDescriptor_t descriptor, void* memory, const void* alpha,
    Map op) {
    require(handle != nullptr && memory != nullptr && alpha != nullptr);
    const KernelTimer timer(handle);
    const auto& tensor = deref(descriptor);
    require_supported(tensor);
    const View view = view_of(tensor, memory);
    map_elements(
        tensor.rank, tensor.dims, view, view, op, host_scalar(tensor.dtype, alpha),
        stream_of(handle));
}

Map map_of(miopenActivationMode_t mode) {
    switch (mode) {
        case miopenActivationPASTHRU: return Map::copy;
        case miopenActivationRELU: return Map::relu;
        case miopenActivationCLIPPEDRELU: return Map::clipped_relu;
        case miopenActivationLEAKYRELU: return Map::leaky_relu;
        default: throw StatusError(miopenStatusUnsupportedOp);
    }
}

}  // namespace

// C = op(alpha1 * A, alpha2 * B) + beta * C, B broadcast along its dimensions of size 1.
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
        combine_elements(
            shape.rank, shape.dims, view_of(shape, C), view_of(a, A), broadcast(b, B, shape),
            tensorOp, scalar(alpha1), scalar(alpha2), scalar(beta), stream_of(handle));
    });
}

MIOCONV_EXPORT miopenStatus_t miopenSetTensor(
    miopenHandle_t handle, const miopenTensorDescriptor_t yDesc, void* y, const void* alpha) {
    return guarded({__func__}, [&] { map_scalar(handle, yDesc, y, alpha, Map::set); });
}

MIOCONV_EXPORT miopenStatus_t miopenScaleTensor(
    miopenHandle_t handle, const miopenTensorDescriptor_t yDesc, void* y, const void* alpha) {
    return guarded({__func__}, [&] { map_scalar(handle, yDesc, y, alpha, Map::scale); });
}

// A copy into another layout or type.
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
        const View out = view_of(to, y), in = view_of(from, x);
        const cudaStream_t stream = stream_of(handle);
        if (from.dtype == to.dtype && from.rank >= 3) {
            copy_layout(to.rank, to.dims, out, in, stream);
        } else {
            map_elements(to.rank, to.dims, out, in, Map::copy, 0, stream);
        }
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
        require(same_shape(from, to) && from.dtype == to.dtype);
        require_plain(alpha, beta);
        map_elements(
            to.rank, to.dims, view_of(to, y), view_of(from, x), map_of(descriptor.mode),
            static_cast<float>(descriptor.alpha), stream_of(handle));
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
        require_supported(bias);
        require_supported(tensor);
        require(tensor.rank >= 2 && bias.dtype == tensor.dtype);
        require_plain(alpha, beta);
        View repeated = view_of(bias, b);
        repeated.strides = {};
        repeated.strides[1] = channel_stride(bias, tensor.dims[1]);
        const View view = view_of(tensor, y);
        combine_elements(
            tensor.rank, tensor.dims, view, view, repeated, miopenTensorOpAdd, 1, 1, 0,
            stream_of(handle));
    });
}

// db = the sum of dy over all dimensions but the channels.
MIOCONV_EXPORT miopenStatus_t miopenConvolutionBackwardBias(
    miopenHandle_t handle, const void* alpha, const miopenTensorDescriptor_t dyDesc, const void* dy,
    const void* beta, const miopenTensorDescriptor_t dbDesc, void* db) {
    return guarded({__func__}, [&] {
        require(handle != nullptr && dy != nullptr && db != nullptr);
        const KernelTimer timer(handle);
        const auto& tensor = deref(dyDesc);
        const auto& bias = deref(dbDesc);
        require_supported(tensor);
        require_supported(bias);
        require(tensor.rank >= 2 && bias.dtype == tensor.dtype);
        require_plain(alpha, beta);
        sum_channels(
            tensor.rank, tensor.dims, view_of(tensor, dy), view_of(bias, db),
            channel_stride(bias, tensor.dims[1]), stream_of(handle));
    });
}
