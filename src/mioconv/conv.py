"""The public convolution functions: names, defaults and documentation.

Each is written once and made for 1, 2 and 3 spatial dimensions; `conv.pyi` spells them out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mioconv import _operators
from mioconv._docstrings import document

__all__: list[str] = []


def _per_rank(make: Callable[[int], Callable[..., Any]]) -> None:
    """Publish the function that `make` writes for 1, 2 and 3 spatial dimensions."""
    for spatial in (1, 2, 3):
        function = make(spatial)
        name = function.__name__.replace("Nd", f"{spatial}d")
        function.__name__ = function.__qualname__ = name
        function.__module__ = "mioconv"
        document(function, spatial)
        globals()[name] = function
        __all__.append(name)


# The bodies call the core by position: a keyword costs a dictionary look-up on every call.
# Their types are in conv.pyi.

# --- convolution ----------------------------------------------------------------------------------


@_per_rank
def _forward(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.FORWARD

    def convNd_forward(
        input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        stream=None,
    ):  # fmt: skip
        return run(op, spatial, input, weight, None, bias, None, 0, False, stride, padding, 0,
            dilation, groups, out, benchmark, deterministic, allow_tf32, solution,
            workspace_limit, stream)  # fmt: skip

    return convNd_forward


@_per_rank
def _backward_input(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.BACKWARD_INPUT

    def convNd_backward_input(
        input_shape, grad_output, weight, stride=1, padding=0, dilation=1, groups=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        stream=None,
    ):  # fmt: skip
        return run(op, spatial, input_shape, weight, grad_output, None, None, 0, False, stride,
            padding, 0, dilation, groups, out, benchmark, deterministic, allow_tf32, solution,
            workspace_limit, stream)  # fmt: skip

    return convNd_backward_input


@_per_rank
def _backward_weight(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.BACKWARD_WEIGHT

    def convNd_backward_weight(
        weight_shape, grad_output, input, stride=1, padding=0, dilation=1, groups=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        stream=None,
    ):  # fmt: skip
        return run(op, spatial, input, weight_shape, grad_output, None, None, 0, False, stride,
            padding, 0, dilation, groups, out, benchmark, deterministic, allow_tf32, solution,
            workspace_limit, stream)  # fmt: skip

    return convNd_backward_weight


@_per_rank
def _backward_bias(spatial: int) -> Callable[..., Any]:
    run = _operators.bias_gradient

    def convNd_backward_bias(grad_output, *, out=None, stream=None):
        return run(spatial, grad_output, out, stream)

    return convNd_backward_bias


def _gradients(
    transposed, spatial, input, grad_output, weight, stride, padding, output_padding, dilation,
    groups, output_mask, out, solution, flags, stream,
):  # fmt: skip
    """The gradients that the mask asks for; the others cost nothing and are None."""
    mask = [bool(wanted) for wanted in _triple("output_mask", output_mask)]
    outs = (None, None, None) if out is None else _triple("out", out)
    pins = (None, None, None) if solution is None else _triple("solution", solution)
    return _operators.gradients(
        transposed, spatial, input, grad_output, weight, stride, padding, output_padding, dilation,
        groups, mask, outs, *flags[:3], pins, flags[3], stream)  # fmt: skip


def _triple(name: str, values: Any) -> Sequence[Any]:
    if not hasattr(values, "__len__") or isinstance(values, str) or len(values) != 3:
        raise ValueError(
            f"{name}: expected three values, for the gradients of input, weight and bias, but got "
            f"{values!r}"
        )
    return values


@_per_rank
def _backward(spatial: int) -> Callable[..., Any]:
    def convNd_backward(
        input, grad_output, weight, stride=1, padding=0, dilation=1, groups=1, output_mask=(True,
        True, True), *, out=None, benchmark=None, deterministic=None, allow_tf32=None,
        solution=None, workspace_limit=None, stream=None,
    ):  # fmt: skip
        return _gradients(False, spatial, input, grad_output, weight, stride, padding, 0,
            dilation, groups, output_mask, out, solution, (benchmark, deterministic, allow_tf32,
            workspace_limit), stream)  # fmt: skip

    return convNd_backward


# --- transposed convolution -----------------------------------------------------------------------


@_per_rank
def _transpose_forward(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.TRANSPOSED_FORWARD

    def conv_transposeNd_forward(
        input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
        out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, stream=None,
    ):  # fmt: skip
        return run(op, spatial, None, weight, input, bias, None, 0, False, stride, padding,
            output_padding, dilation, groups, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, stream)  # fmt: skip

    return conv_transposeNd_forward


@_per_rank
def _transpose_backward_input(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.TRANSPOSED_BACKWARD_INPUT

    def conv_transposeNd_backward_input(
        grad_output, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
        out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, stream=None,
    ):  # fmt: skip
        return run(op, spatial, grad_output, weight, None, None, None, 0, False, stride,
            padding, output_padding, dilation, groups, out, benchmark, deterministic,
            allow_tf32, solution, workspace_limit, stream)  # fmt: skip

    return conv_transposeNd_backward_input


@_per_rank
def _transpose_backward_weight(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.TRANSPOSED_BACKWARD_WEIGHT

    def conv_transposeNd_backward_weight(
        weight_shape, grad_output, input, stride=1, padding=0, output_padding=0, groups=1,
        dilation=1, *, out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, stream=None,
    ):  # fmt: skip
        return run(op, spatial, grad_output, weight_shape, input, None, None, 0, False, stride,
            padding, output_padding, dilation, groups, out, benchmark, deterministic,
            allow_tf32, solution, workspace_limit, stream)  # fmt: skip

    return conv_transposeNd_backward_weight


@_per_rank
def _transpose_backward(spatial: int) -> Callable[..., Any]:
    def conv_transposeNd_backward(
        input, grad_output, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1,
        output_mask=(True, True, True), *, out=None, benchmark=None, deterministic=None,
        allow_tf32=None, solution=None, workspace_limit=None, stream=None,
    ):  # fmt: skip
        return _gradients(True, spatial, input, grad_output, weight, stride, padding,
            output_padding, dilation, groups, output_mask, out, solution, (benchmark,
            deterministic, allow_tf32, workspace_limit), stream)  # fmt: skip

    return conv_transposeNd_backward


# --- depthwise convolution: one group for each channel of the input -------------------------------


@_per_rank
def _depthwise_forward(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.FORWARD

    def depthwise_convNd_forward(
        input, weight, bias=None, stride=1, padding=0, dilation=1, *, out=None, benchmark=None,
        deterministic=None, allow_tf32=None, solution=None, workspace_limit=None, stream=None,
    ):  # fmt: skip
        return run(op, spatial, input, weight, None, bias, None, 0, False, stride, padding, 0,
            dilation, _operators.DEPTHWISE, out, benchmark, deterministic, allow_tf32, solution,
            workspace_limit, stream)  # fmt: skip

    return depthwise_convNd_forward


@_per_rank
def _depthwise_backward_input(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.BACKWARD_INPUT

    def depthwise_convNd_backward_input(
        input_shape, grad_output, weight, stride=1, padding=0, dilation=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        stream=None,
    ):  # fmt: skip
        return run(op, spatial, input_shape, weight, grad_output, None, None, 0, False, stride,
            padding, 0, dilation, _operators.DEPTHWISE, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, stream)  # fmt: skip

    return depthwise_convNd_backward_input


@_per_rank
def _depthwise_backward_weight(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.BACKWARD_WEIGHT

    def depthwise_convNd_backward_weight(
        weight_shape, grad_output, input, stride=1, padding=0, dilation=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        stream=None,
    ):  # fmt: skip
        return run(op, spatial, input, weight_shape, grad_output, None, None, 0, False, stride,
            padding, 0, dilation, _operators.DEPTHWISE, out, benchmark, deterministic, allow_tf32,
            solution, workspace_limit, stream)  # fmt: skip

    return depthwise_convNd_backward_weight


@_per_rank
def _depthwise_backward(spatial: int) -> Callable[..., Any]:
    def depthwise_convNd_backward(
        input, grad_output, weight, stride=1, padding=0, dilation=1, output_mask=(True, True, True),
        *, out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, stream=None,
    ):  # fmt: skip
        return _gradients(False, spatial, input, grad_output, weight, stride, padding, 0,
            dilation, _operators.DEPTHWISE, output_mask, out, solution, (benchmark, deterministic,
            allow_tf32, workspace_limit), stream)  # fmt: skip

    return depthwise_convNd_backward


# --- convolution and what follows it --------------------------------------------------------------


@_per_rank
def _relu_forward(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.FORWARD

    def convNd_relu_forward(
        input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, out=None,
        benchmark=None, deterministic=None, allow_tf32=None, solution=None, workspace_limit=None,
        stream=None,
    ):  # fmt: skip
        return run(op, spatial, input, weight, None, bias, None, 0, True, stride, padding, 0,
            dilation, groups, out, benchmark, deterministic, allow_tf32, solution,
            workspace_limit, stream)  # fmt: skip

    return convNd_relu_forward


@_per_rank
def _add_relu_forward(spatial: int) -> Callable[..., Any]:
    run, op = _operators.operate, _operators.FORWARD

    def convNd_add_relu_forward(
        input, weight, z, alpha=1.0, bias=None, stride=1, padding=0, dilation=1, groups=1, *,
        out=None, benchmark=None, deterministic=None, allow_tf32=None, solution=None,
        workspace_limit=None, stream=None,
    ):  # fmt: skip
        if z is None:
            raise TypeError("z: expected a tensor of the output's shape, but got None")
        return run(op, spatial, input, weight, None, bias, z, alpha, True, stride, padding, 0,
            dilation, groups, out, benchmark, deterministic, allow_tf32, solution,
            workspace_limit, stream)  # fmt: skip

    return convNd_add_relu_forward
