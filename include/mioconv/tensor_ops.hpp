// MIOpen's operations on whole tensors: the gradient of a bias, copies between strides, sums.
#pragma once

#include "descriptors.hpp"
#include "tensor_view.hpp"

namespace mioconv {

namespace detail {

/// Describes a tensor of any rank up to five as one of four or five dimensions. Strides that MIOpen
/// has no word for (zero, negative) answer NotImplemented.
inline Status describe_any(const Api& api, const TensorView& tensor, TensorDescriptor* out) {
    const int dims = std::max(4, static_cast<int>(tensor.ndim));
    const int lead = dims - static_cast<int>(tensor.ndim);
    std::array<std::int64_t, max_dims> shape{}, strides{};
    std::int64_t packed = 1;
    for (int i = dims - 1; i >= 0; --i) {
        shape[i] = i < lead ? 1 : tensor.shape[i - lead];
        strides[i] = shape[i] == 1 ? packed : tensor.strides[i - lead];
        if (strides[i] <= 0)
            return status_of("miopenSetTensorDescriptor", miopenStatusNotImplemented);
        packed = strides[i] * shape[i];
    }
    return out->set(api, tensor.dtype, dims, shape.data(), strides.data());
}

/// Describes a dense tensor to calls that work on one element, or one pixel, at a time.
inline Status describe_elements(const Api& api, const TensorView& tensor, TensorDescriptor* out) {
    const int dims = static_cast<int>(tensor.ndim);
    if (by_planes(dims, tensor.shape, tensor.strides)) return describe_any(api, tensor, out);
    return set_pixels(api, tensor.dtype, dims, tensor.shape, out);
}

}  // namespace detail

/// bias = sum of a dense gradient over every dimension but the channels.
inline Status bias_gradient(
    const Api& api, miopenHandle_t handle, const TensorView& gradient, const TensorView& bias) {
    constexpr float one = 1, zero = 0;
    const int dims = static_cast<int>(gradient.ndim);
    const std::int64_t channels = gradient.shape[1];
    const std::array<std::int64_t, max_dims> shape{1, channels, 1, 1, 1},
        strides{channels, 1, 1, 1, 1};
    TensorDescriptor from, to;
    MIOCONV_TRY(detail::describe_elements(api, gradient, &from));
    MIOCONV_TRY(to.set(api, bias.dtype, dims, shape.data(), strides.data()));
    return MIOCONV_CALL_OPTIONAL(
        api, miopenConvolutionBackwardBias, handle, &one, from.get(), gradient.data, &zero,
        to.get(), bias.data);
}

/// to = from, element by element, for any positive strides.
///
/// Our own providers read alpha and beta as float. MIOpen up to 6.3 reads them in the tensors'
/// dtype; newer releases compare them as float, and hand a kernel that is not made for 1 and 0 the
/// dtype's all the same. A 1 of the dtype with zeros behind it is right in both. The older kernels
/// add 0 * to, so that memory which holds NaN has to be cleared first.
inline Status transform(
    const Api& api, miopenHandle_t handle, const TensorView& from, const TensorView& to) {
    std::uint32_t one = 0x3F800000, zero = 0;  // the bits of 1.0f
    if (api.provider == Provider::rocm && to.dtype == miopenHalf) one = 0x3C00;
    if (api.provider == Provider::rocm && to.dtype == miopenBFloat16) one = 0x3F80;
    TensorDescriptor source, target;
    MIOCONV_TRY(detail::describe_any(api, from, &source));
    MIOCONV_TRY(detail::describe_any(api, to, &target));
    if (api.provider == Provider::rocm)
        MIOCONV_TRY(
            MIOCONV_CALL_OPTIONAL(api, miopenSetTensor, handle, target.get(), to.data, &zero));
    return MIOCONV_CALL_OPTIONAL(
        api, miopenTransformTensor, handle, &one, source.get(), from.data, &zero, target.get(),
        to.data);
}

/// to += from, for dense tensors that lie alike.
inline Status accumulate(
    const Api& api, miopenHandle_t handle, const TensorView& from, const TensorView& to) {
    constexpr float one = 1, zero = 0;
    TensorDescriptor descriptor;
    MIOCONV_TRY(detail::describe_elements(api, to, &descriptor));
    return MIOCONV_CALL_OPTIONAL(
        api, miopenOpTensor, handle, miopenTensorOpAdd, &one, descriptor.get(), to.data, &one,
        descriptor.get(), from.data, &zero, descriptor.get(), to.data);
}

}  // namespace mioconv
