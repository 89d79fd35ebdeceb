"""The operators of PyTorch's MIOpen back end, under their own names and argument order.

For code written against ``torch.miopen_*`` (ATen's ``Conv_miopen.cpp``): the same calls with
tensors of any kind. The functions take the number of spatial dimensions from the weight. What they
compute is documented at the functions of `mioconv` that they call; mind the order of padding and
stride, which differs between the fused operators and the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mioconv import conv
from mioconv._borrow.tensor import shape_of

__all__ = [
    "miopen_convolution",
    "miopen_convolution_add_relu",
    "miopen_convolution_backward",
    "miopen_convolution_backward_bias",
    "miopen_convolution_backward_input",
    "miopen_convolution_backward_weight",
    "miopen_convolution_relu",
    "miopen_convolution_transpose",
    "miopen_convolution_transpose_backward",
    "miopen_convolution_transpose_backward_input",
    "miopen_convolution_transpose_backward_weight",
    "miopen_depthwise_convolution",
    "miopen_depthwise_convolution_backward",
    "miopen_depthwise_convolution_backward_input",
    "miopen_depthwise_convolution_backward_weight",
]

_T = TypeVar("_T")
_Sizes = int | Sequence[int]
_Gradients = tuple[_T | None, _T | None, _T | None]


def _function(template: str, dimensions: int) -> Any:
    """The public function of this name for tensors with so many dimensions."""
    if not 3 <= dimensions <= 5:
        raise ValueError(
            f"weight: expected 3, 4 or 5 dimensions, for 1 to 3 spatial ones, but got {dimensions}"
        )
    return getattr(conv, template.replace("Nd", f"{dimensions - 2}d"))


def _of_weight(template: str, weight: Any) -> Any:
    return _function(template, len(shape_of(weight)))


def _each(value: _Sizes, spatial: int) -> Sequence[int]:
    return value if isinstance(value, Sequence) else (int(value),) * spatial


def _left_over(
    grad_output: Sequence[int],
    weight: Sequence[int],
    padding: _Sizes,
    stride: _Sizes,
    dilation: _Sizes,
) -> tuple[int, ...]:
    """The output padding that these operators do not take: what the strides do not account for."""
    spatial = len(weight) - 2
    return tuple(
        max(size + 2 * pad - d * (k - 1) - 1, 0) % max(s, 1)
        for size, k, pad, s, d in zip(
            grad_output[-spatial:],
            weight[2:],
            _each(padding, spatial),
            _each(stride, spatial),
            _each(dilation, spatial),
            strict=False,
        )
    )


def miopen_convolution(
    input: _T, weight: _T, bias: _T | None, padding: _Sizes, stride: _Sizes, dilation: _Sizes,
    groups: int, benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.conv2d_forward` and its twins."""
    run: Callable[..., _T] = _of_weight("convNd_forward", weight)
    return run(
        input, weight, bias, stride, padding, dilation, groups, benchmark=benchmark,
        deterministic=deterministic,
    )  # fmt: skip


def miopen_convolution_backward_input(
    input_size: Sequence[int], grad_output: _T, weight: _T, padding: _Sizes, stride: _Sizes,
    dilation: _Sizes, groups: int, benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.conv2d_backward_input` and its twins."""
    run: Callable[..., _T] = _of_weight("convNd_backward_input", weight)
    return run(
        input_size, grad_output, weight, stride, padding, dilation, groups, benchmark=benchmark,
        deterministic=deterministic,
    )  # fmt: skip


def miopen_convolution_backward_weight(
    weight_size: Sequence[int], grad_output: _T, input: _T, padding: _Sizes, stride: _Sizes,
    dilation: _Sizes, groups: int, benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.conv2d_backward_weight` and its twins."""
    run: Callable[..., _T] = _function("convNd_backward_weight", len(weight_size))
    return run(
        weight_size, grad_output, input, stride, padding, dilation, groups, benchmark=benchmark,
        deterministic=deterministic,
    )  # fmt: skip


def miopen_convolution_backward_bias(grad_output: _T) -> _T:
    """`mioconv.conv2d_backward_bias` and its twins; `grad_output` has its batch dimension."""
    dimensions = len(shape_of(grad_output))
    run: Callable[..., _T] = _function("convNd_backward_bias", dimensions)
    return run(grad_output)


def miopen_convolution_backward(
    input: _T, grad_output: _T, weight: _T, padding: _Sizes, stride: _Sizes, dilation: _Sizes,
    groups: int, benchmark: bool, deterministic: bool, output_mask: Sequence[bool],
) -> _Gradients[_T]:  # fmt: skip
    """`mioconv.conv2d_backward` and its twins."""
    run: Callable[..., _Gradients[_T]] = _of_weight("convNd_backward", weight)
    return run(
        input, grad_output, weight, stride, padding, dilation, groups, output_mask,
        benchmark=benchmark, deterministic=deterministic,
    )  # fmt: skip


def miopen_convolution_transpose(
    input: _T, weight: _T, bias: _T | None, padding: _Sizes, output_padding: _Sizes,
    stride: _Sizes, dilation: _Sizes, groups: int, benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.conv_transpose2d_forward` and its twins."""
    run: Callable[..., _T] = _of_weight("conv_transposeNd_forward", weight)
    return run(
        input, weight, bias, stride, padding, output_padding, groups, dilation,
        benchmark=benchmark, deterministic=deterministic,
    )  # fmt: skip


def miopen_convolution_transpose_backward_input(
    grad_output: _T, weight: _T, padding: _Sizes, stride: _Sizes, dilation: _Sizes, groups: int,
    benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.conv_transpose2d_backward_input` and its twins."""
    run: Callable[..., _T] = _of_weight("conv_transposeNd_backward_input", weight)
    extra = _left_over(shape_of(grad_output), shape_of(weight), padding, stride, dilation)
    return run(
        grad_output, weight, stride, padding, extra, groups, dilation, benchmark=benchmark,
        deterministic=deterministic,
    )  # fmt: skip


def miopen_convolution_transpose_backward_weight(
    weight_size: Sequence[int], grad_output: _T, input: _T, padding: _Sizes, stride: _Sizes,
    dilation: _Sizes, groups: int, benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.conv_transpose2d_backward_weight` and its twins."""
    run: Callable[..., _T] = _function("conv_transposeNd_backward_weight", len(weight_size))
    extra = _left_over(shape_of(grad_output), weight_size, padding, stride, dilation)
    return run(
        weight_size, grad_output, input, stride, padding, extra, groups, dilation,
        benchmark=benchmark, deterministic=deterministic,
    )  # fmt: skip


def miopen_convolution_transpose_backward(
    input: _T, grad_output: _T, weight: _T, padding: _Sizes, output_padding: _Sizes,
    stride: _Sizes, dilation: _Sizes, groups: int, benchmark: bool, deterministic: bool,
    output_mask: Sequence[bool],
) -> _Gradients[_T]:  # fmt: skip
    """`mioconv.conv_transpose2d_backward` and its twins."""
    run: Callable[..., _Gradients[_T]] = _of_weight("conv_transposeNd_backward", weight)
    return run(
        input, grad_output, weight, stride, padding, output_padding, groups, dilation,
        output_mask, benchmark=benchmark, deterministic=deterministic,
    )  # fmt: skip


def _check_depthwise(groups: int, channels: int) -> None:
    if groups != channels:
        raise ValueError(
            f"groups: a depthwise convolution has one group for each of its {channels} channels, "
            f"but got groups={groups}"
        )


def miopen_depthwise_convolution(
    input: _T, weight: _T, bias: _T | None, padding: _Sizes, stride: _Sizes, dilation: _Sizes,
    groups: int, benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.depthwise_conv2d_forward` and its twins; `groups` is the channel count."""
    run: Callable[..., _T] = _of_weight("depthwise_convNd_forward", weight)
    _check_depthwise(groups, _channels(input, weight))
    return run(
        input, weight, bias, stride, padding, dilation, benchmark=benchmark,
        deterministic=deterministic,
    )  # fmt: skip


def _channels(input: Any, weight: Any) -> int:
    shape = shape_of(input)
    spatial = len(shape_of(weight)) - 2
    return shape[-spatial - 1] if len(shape) > spatial else 0


def miopen_depthwise_convolution_backward_input(
    input_size: Sequence[int], grad_output: _T, weight: _T, padding: _Sizes, stride: _Sizes,
    dilation: _Sizes, groups: int, benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.depthwise_conv2d_backward_input` and its twins."""
    run: Callable[..., _T] = _of_weight("depthwise_convNd_backward_input", weight)
    _check_depthwise(groups, input_size[1] if len(input_size) > 1 else 0)
    return run(
        input_size, grad_output, weight, stride, padding, dilation, benchmark=benchmark,
        deterministic=deterministic,
    )  # fmt: skip


def miopen_depthwise_convolution_backward_weight(
    weight_size: Sequence[int], grad_output: _T, input: _T, padding: _Sizes, stride: _Sizes,
    dilation: _Sizes, groups: int, benchmark: bool, deterministic: bool,
) -> _T:  # fmt: skip
    """`mioconv.depthwise_conv2d_backward_weight` and its twins."""
    run: Callable[..., _T] = _function("depthwise_convNd_backward_weight", len(weight_size))
    shape = shape_of(input)
    _check_depthwise(
        groups, shape[1 - len(weight_size)] if len(shape) >= len(weight_size) - 1 else 0
    )
    return run(
        weight_size, grad_output, input, stride, padding, dilation, benchmark=benchmark,
        deterministic=deterministic,
    )  # fmt: skip


def miopen_depthwise_convolution_backward(
    input: _T, grad_output: _T, weight: _T, padding: _Sizes, stride: _Sizes, dilation: _Sizes,
    groups: int, benchmark: bool, deterministic: bool, output_mask: Sequence[bool],
) -> _Gradients[_T]:  # fmt: skip
    """`mioconv.depthwise_conv2d_backward` and its twins."""
    run: Callable[..., _Gradients[_T]] = _of_weight("depthwise_convNd_backward", weight)
    _check_depthwise(groups, _channels(input, weight))
    return run(
        input, grad_output, weight, stride, padding, dilation, output_mask, benchmark=benchmark,
        deterministic=deterministic,
    )  # fmt: skip


def miopen_convolution_add_relu(
    input: _T, weight: _T, z: _T, alpha: float | None, bias: _T | None, stride: _Sizes,
    padding: _Sizes, dilation: _Sizes, groups: int,
) -> _T:  # fmt: skip
    """`mioconv.conv2d_add_relu_forward` and its twins; ``alpha=None`` is 1."""
    run: Callable[..., _T] = _of_weight("convNd_add_relu_forward", weight)
    factor = 1.0 if alpha is None else alpha
    return run(input, weight, z, factor, bias, stride, padding, dilation, groups)


def miopen_convolution_relu(
    input: _T, weight: _T, bias: _T | None, stride: _Sizes, padding: _Sizes, dilation: _Sizes,
    groups: int,
) -> _T:  # fmt: skip
    """`mioconv.conv2d_relu_forward` and its twins."""
    run: Callable[..., _T] = _of_weight("convNd_relu_forward", weight)
    return run(input, weight, bias, stride, padding, dilation, groups)
