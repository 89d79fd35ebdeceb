"""Modules that take the place of PyTorch's, with its constructors, parameters and state dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mioconv.torch import functional

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvReLU2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
]


def _convolve(
    run: Callable[..., Tensor], module: Any, input: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """A module's convolution; what is no padding with zeros PyTorch does before it."""
    padding = module.padding
    if module.padding_mode != "zeros":
        pads, padding = module._reversed_padding_repeated_twice, 0
        input = torch.nn.functional.pad(input, pads, mode=module.padding_mode)
    return run(input, weight, bias, module.stride, padding, module.dilation, module.groups)


class Conv1d(torch.nn.Conv1d):
    """`torch.nn.Conv1d`, computed by mioconv."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(functional.conv1d, self, input, weight, bias)


class Conv2d(torch.nn.Conv2d):
    """`torch.nn.Conv2d`, computed by mioconv."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(functional.conv2d, self, input, weight, bias)


class Conv3d(torch.nn.Conv3d):
    """`torch.nn.Conv3d`, computed by mioconv."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(functional.conv3d, self, input, weight, bias)


class ConvReLU2d(torch.nn.Conv2d):
    """A `torch.nn.Conv2d` and the ReLU that follows it, as one operation where that is possible.

    Takes what `torch.nn.Conv2d` takes, and has its state dict.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(functional.conv2d_relu, self, input, weight, bias)


def _transpose(
    run: Callable[..., Tensor], module: Any, input: Tensor, output_size: Sequence[int] | None
) -> Tensor:
    spatial = len(module.kernel_size)
    output_padding = module._output_padding(
        input, output_size, module.stride, module.padding, module.kernel_size, spatial,
        module.dilation,
    )  # fmt: skip
    return run(
        input, module.weight, module.bias, module.stride, module.padding, output_padding,
        module.groups, module.dilation,
    )  # fmt: skip


class ConvTranspose1d(torch.nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d`, computed by mioconv."""

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return _transpose(functional.conv_transpose1d, self, input, output_size)


class ConvTranspose2d(torch.nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d`, computed by mioconv."""

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return _transpose(functional.conv_transpose2d, self, input, output_size)


class ConvTranspose3d(torch.nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d`, computed by mioconv."""

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return _transpose(functional.conv_transpose3d, self, input, output_size)
