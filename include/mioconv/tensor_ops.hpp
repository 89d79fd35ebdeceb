// MIOpen's operations on whole tensors: the gradient of a bias, copies between strides, sums.
#pragma once

#include "descriptors.hpp"
#include "tensor_view.hpp"

namespace mioconv {

/// bias = sum of a dense gradient over every dimension but the channels.
inline Status bias_gradient(
    const Api& api, miopenHandle_t handle, const TensorView& gradient, const TensorView& bias) {
    constexpr float one = 1, zero = 0;
    const int dims = static_cast<int>(gradient.ndim);
    const std::int64_t channels = gradient.shape[1];
    const std::array<std::int64_t, max_dims> shape{1, channels, 1, 1, 1},
        strides{channels, 1, 1, 1, 1};
    TensorDescriptor from, to;
    MIOCONV_TRY(
        from.set(api, gradient.dtype, dims, gradient.shape.data(), gradient.strides.data()));
    MIOCONV_TRY(to.set(api, bias.dtype, dims, shape.data(), strides.data()));
    return MIOCONV_CALL_OPTIONAL(
        api, miopenConvolutionBackwardBias, handle, &one, from.get(), gradient.data, &zero,
        to.get(), bias.data);
}

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

}  // namespace detail

/// to = from, element by element, for any positive strides.
inline Status transform(
    const Api& api, miopenHandle_t handle, const TensorView& from, const TensorView& to) {
    constexpr float one = 1, zero = 0;
    TensorDescriptor source, target;
    MIOCONV_TRY(detail::describe_any(api, from, &source));
    MIOCONV_TRY(detail::describe_any(api, to, &target));
    return MIOCONV_CALL_OPTIONAL(
        api, miopenTransformTensor, handle, &one, source.get(), from.data, &zero, target.get(),
        to.data);
}

/// to += from, for tensors that lie alike.
inline Status accumulate(
    const Api& api, miopenHandle_t handle, const TensorView& from, const TensorView& to) {
    constexpr float one = 1, zero = 0;
    TensorDescriptor descriptor;
    MIOCONV_TRY(detail::describe_any(api, to, &descriptor));
    return MIOCONV_CALL_OPTIONAL(
        api, miopenOpTensor, handle, miopenTensorOpAdd, &one, descriptor.get(), to.data, &one,
        descriptor.get(), from.data, &zero, descriptor.get(), to.data);
}

}  // namespace mioconv
