"""Sizes and memory layouts of results, without computing them: what a graph is traced with.

Sizes may be symbols. Only what the shape of a result depends on is checked here; everything else,
element types and devices among it, is refused by the operator when it runs, in its own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

__all__ = ["any_channels_last", "check_meta", "convolution", "depthwise", "empty", "transposed"]

Sizes = Sequence[Any]  # of int, or of torch.SymInt while a graph is traced


def check_meta(arguments: dict[str, Any]) -> None:
    """Tensors without values together with others: what no operator that runs would ever see."""
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    first, *others = tensors
    for name in others:
        devices = tensors[first].device, tensors[name].device
        if devices[0] != devices[1] and "meta" in (devices[0].type, devices[1].type):
            raise ValueError(
                f"{name}: expected device {devices[0]} like {first}, but got {devices[1]}"
            )


def _check(input: Tensor, weight: Tensor, channels: Any, **settings: Sizes) -> None:
    spatial = weight.dim() - 2
    if not 1 <= spatial <= 3:
        raise ValueError(
            f"weight: expected 3 to 5 dimensions, for 1 to 3 spatial ones, but got {weight.dim()}"
        )
    if input.dim() != weight.dim():
        raise ValueError(
            f"input: expected {weight.dim()} dimensions like weight, the first for the batch, but "
            f"got {input.dim()}"
        )
    if input.shape[1] != channels:
        raise ValueError(
            f"input: given weight of size {tuple(weight.shape)}, expected input of size "
            f"{tuple(input.shape)} to have {channels} channels, but got {input.shape[1]} channels "
            "instead"
        )
    for name, values in settings.items():
        if len(values) != spatial:
            raise ValueError(f"{name}: expected {spatial} values, but got {tuple(values)}")
    if any(value < 1 for value in settings["stride"]):
        raise ValueError(f"stride: must be greater than 0, but got {tuple(settings['stride'])}")


def _output(batch: Any, channels: Any, sizes: list[Any], input: Tensor, weight: Tensor) -> Sizes:
    if any(size < 1 for size in sizes):
        raise ValueError(
            f"input: given size {tuple(input.shape)} and weight of size {tuple(weight.shape)}, "
            f"calculated output size {tuple(sizes)}. Output size is too small: the kernel size "
            "can't be greater than the padded input"
        )
    return [batch, channels, *sizes]


def convolution(
    input: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes, groups: Any
) -> Sizes:
    """Sizes of a convolution's output."""
    _check(
        input, weight, weight.shape[1] * groups, stride=stride, padding=padding, dilation=dilation
    )
    each = zip(input.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sizes = [(size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in each]
    return _output(input.shape[0], weight.shape[0], sizes, input, weight)


def depthwise(
    input: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Sizes:
    """Sizes of a depthwise convolution's output: as many groups as channels."""
    return convolution(input, weight, stride, padding, dilation, input.shape[1])


def transposed(
    input: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, output_padding: Sizes,
    groups: Any, dilation: Sizes,
) -> Sizes:  # fmt: skip
    """Sizes of a transposed convolution's output."""
    _check(
        input, weight, weight.shape[0], stride=stride, padding=padding,
        output_padding=output_padding, dilation=dilation,
    )  # fmt: skip
    shape = zip(input.shape[2:], weight.shape[2:], strict=True)
    settings = zip(stride, padding, output_padding, dilation, strict=True)
    sizes = [
        (size - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for (size, k), (s, p, extra, d) in zip(shape, settings, strict=True)
    ]
    return _output(input.shape[0], weight.shape[1] * groups, sizes, input, weight)


def _innermost_first(dimensions: int, channels_last: bool) -> list[int]:
    packed = list(range(dimensions - 1, -1, -1))
    return [1, *packed[:-2], 0] if channels_last else packed


def _lies_in(tensor: Tensor, channels_last: bool) -> bool:
    """Whether elements lie densely in this order. Strides of dimensions of size 1 say nothing."""
    step: Any = 1
    for dimension in _innermost_first(tensor.dim(), channels_last):
        size = tensor.shape[dimension]
        if size != 1 and tensor.stride(dimension) != step:
            return False
        step = step * size
    return True


def any_channels_last(*tensors: Tensor) -> bool:
    """The rule of every operator: channels-last out where an operand is that and not packed too."""
    return any(_lies_in(t, True) and not _lies_in(t, False) for t in tensors)


def empty(like: Tensor, shape: Sizes, channels_last: bool) -> Tensor:
    """A tensor as mioconv makes its results."""
    strides: list[Any] = [0] * len(shape)
    step: Any = 1
    for dimension in _innermost_first(len(shape), channels_last):
        strides[dimension] = step
        step = step * shape[dimension]
    return like.new_empty_strided(tuple(shape), tuple(strides))
