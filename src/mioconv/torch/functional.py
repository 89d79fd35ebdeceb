"""Differentiable convolutions under the names and with the arguments of `torch.nn.functional`.

    y = mioconv.torch.conv2d(x, w, b, padding=1)
    y.sum().backward()

All exist for 1, 2 and 3 spatial dimensions; beside PyTorch's own there are ``depthwise_convNd``,
``convNd_relu`` and ``convNd_add_relu``, as among mioconv's public functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mioconv.torch import operators

__all__ = [
    "conv1d",
    "conv1d_add_relu",
    "conv1d_relu",
    "conv2d",
    "conv2d_add_relu",
    "conv2d_relu",
    "conv3d",
    "conv3d_add_relu",
    "conv3d_relu",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "depthwise_conv1d",
    "depthwise_conv2d",
    "depthwise_conv3d",
]

_Sizes = int | Sequence[int]
_Function = Callable[..., Tensor]


# --- arguments ------------------------------------------------------------------------------------


def _each(name: str, value: Any, spatial: int) -> list[Any]:
    """One number for each spatial dimension."""
    if isinstance(value, (int, torch.SymInt)):
        return [value] * spatial
    if isinstance(value, str) or not hasattr(value, "__len__"):
        raise TypeError(f"{name}: expected int or {spatial} of them, but got {value!r}")
    values = list(value)
    if len(values) == 1:
        values *= spatial
    if len(values) != spatial:
        raise ValueError(f"{name}: expected 1 or {spatial} values, but got {tuple(values)}")
    return values


def _with_batch(
    input: Tensor, weight: Tensor, spatial: int, *others: Tensor
) -> tuple[bool, list[Tensor]]:
    """The activations with a batch dimension, and whether they had it."""
    named = {"input": input, "weight": weight}
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name}: expected a torch.Tensor, but got {type(tensor).__name__}")
    if weight.dim() != spatial + 2:
        raise ValueError(
            f"weight: expected a {spatial + 2}-D weight for a {spatial}-D convolution, but got "
            f"{weight.dim()}-D of size {tuple(weight.shape)}"
        )
    batched = input.dim() != spatial + 1
    activations = [input, *others]
    return batched, activations if batched else [tensor.unsqueeze(0) for tensor in activations]


def _same(
    input: Tensor, weight: Tensor, padding: Any, stride: list[Any], dilation: list[Any]
) -> tuple[Tensor, list[Any]]:
    """The padding in numbers, and the input with the zeros that these cannot say."""
    spatial = len(stride)
    if not isinstance(padding, str):
        return input, _each("padding", padding, spatial)
    if padding == "valid":
        return input, [0] * spatial
    if padding != "same":
        raise ValueError(f'padding: expected int, "same" or "valid", but got {padding!r}')
    if any(step != 1 for step in stride):
        raise ValueError(f'padding: "same" needs stride 1, but got stride {tuple(stride)}')
    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    # An even kernel needs one more zero, which goes behind the input.
    behind = [extra for size in reversed(total) for extra in (0, size % 2)]
    if any(behind):
        input = torch.nn.functional.pad(input, behind)
    return input, [size // 2 for size in total]


# --- the functions --------------------------------------------------------------------------------


def _convolve(
    run: _Function, spatial: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any,
    padding: Any, dilation: Any, *groups: int, between: tuple[Any, ...] = (),
) -> Tensor:  # fmt: skip
    """Any of them but the transposed ones; `between` is what stands between weight and bias."""
    z = [value for value in between if isinstance(value, Tensor)]
    batched, (input, *z) = _with_batch(input, weight, spatial, *z)
    steps, dilations = _each("stride", stride, spatial), _each("dilation", dilation, spatial)
    input, pads = _same(input, weight, padding, steps, dilations)
    output = run(input, weight, *z, *between[len(z) :], bias, steps, pads, dilations, *groups)
    return output if batched else output.squeeze(0)


def _conv(spatial: int) -> _Function:
    def convNd(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: _Sizes = 1,
        padding: _Sizes | str = 0, dilation: _Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        run = operators.CONVOLUTION.forward
        return _convolve(run, spatial, input, weight, bias, stride, padding, dilation, groups)

    return convNd


def _conv_transpose(spatial: int) -> _Function:
    def conv_transposeNd(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: _Sizes = 1,
        padding: _Sizes = 0, output_padding: _Sizes = 0, groups: int = 1, dilation: _Sizes = 1,
    ) -> Tensor:  # fmt: skip
        batched, (input,) = _with_batch(input, weight, spatial)
        output = operators.TRANSPOSED.forward(
            input, weight, bias, _each("stride", stride, spatial),
            _each("padding", padding, spatial), _each("output_padding", output_padding, spatial),
            groups, _each("dilation", dilation, spatial),
        )  # fmt: skip
        return output if batched else output.squeeze(0)

    return conv_transposeNd


def _depthwise_conv(spatial: int) -> _Function:
    def depthwise_convNd(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: _Sizes = 1,
        padding: _Sizes | str = 0, dilation: _Sizes = 1,
    ) -> Tensor:  # fmt: skip
        run = operators.DEPTHWISE.forward
        return _convolve(run, spatial, input, weight, bias, stride, padding, dilation)

    return depthwise_convNd


def _conv_relu(spatial: int) -> _Function:
    def convNd_relu(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: _Sizes = 1,
        padding: _Sizes | str = 0, dilation: _Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        run = operators.convolution_relu
        return _convolve(run, spatial, input, weight, bias, stride, padding, dilation, groups)

    return convNd_relu


def _conv_add_relu(spatial: int) -> _Function:
    def convNd_add_relu(
        input: Tensor, weight: Tensor, z: Tensor, alpha: float = 1.0, bias: Tensor | None = None,
        stride: _Sizes = 1, padding: _Sizes | str = 0, dilation: _Sizes = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        run = operators.convolution_add_relu
        return _convolve(
            run, spatial, input, weight, bias, stride, padding, dilation, groups,
            between=(z, alpha),
        )  # fmt: skip

    return convNd_add_relu


def _per_rank(make: Callable[[int], _Function], what: str) -> tuple[_Function, ...]:
    functions = tuple(make(spatial) for spatial in (1, 2, 3))
    for spatial, function in enumerate(functions, start=1):
        name = function.__name__.replace("N", str(spatial), 1)
        function.__name__ = function.__qualname__ = name
        function.__module__ = "mioconv.torch"
        plain = f"{name}_forward"
        function.__doc__ = (
            f"{what}, recorded by autograd.\n\n"
            f"    Tensors and arguments are those of `mioconv.{plain}`; so are the errors.\n    "
        )
    return functions


conv1d, conv2d, conv3d = _per_rank(_conv, "Convolution")
conv_transpose1d, conv_transpose2d, conv_transpose3d = _per_rank(
    _conv_transpose, "Transposed convolution"
)
depthwise_conv1d, depthwise_conv2d, depthwise_conv3d = _per_rank(
    _depthwise_conv, "Depthwise convolution: one group for each channel of the input"
)
conv1d_relu, conv2d_relu, conv3d_relu = _per_rank(_conv_relu, "Convolution and ReLU")
conv1d_add_relu, conv2d_add_relu, conv3d_add_relu = _per_rank(
    _conv_add_relu, "relu(convolution + alpha * z + bias)"
)
