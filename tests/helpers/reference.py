"""Convolutions in float64, written to be obviously right and nothing else.

Each operator is one loop over the taps of the kernel. A tap sees the padded input through a strided
slice, and one einsum contracts the channels of every group. Nothing here comes from mioconv, and
`test_reference.py` checks it against cases computed by hand, PyTorch, adjointness and finite
differences.

Arrays of any dtype are converted to float64. Shapes are PyTorch's: input ``(N, C, *spatial)``,
weight ``(K, C/groups, *kernel)``, transposed weight ``(C, K/groups, *kernel)``. `stride`,
`dilation` and `output_padding` are an int or one int a dimension; an entry of `padding` may also be
a pair ``(low, high)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
Ints = int | Sequence[int]
Padding = int | Sequence[int | tuple[int, int]]


def per_dimension(value: Any, rank: int) -> tuple[Any, ...]:
    """One entry a spatial dimension."""
    entries = (value,) * rank if isinstance(value, int) else tuple(value)
    assert len(entries) == rank, f"{entries} has not {rank} entries"
    return entries


def padding_pairs(padding: Padding, rank: int) -> tuple[tuple[int, int], ...]:
    """(low, high) of every spatial dimension."""
    return tuple((p, p) if isinstance(p, int) else tuple(p) for p in per_dimension(padding, rank))


def same_padding(kernel: Sequence[int], dilation: Ints = 1) -> tuple[tuple[int, int], ...]:
    """The padding that "same" means: an odd total puts its extra row behind, as PyTorch does."""
    totals = [
        d * (k - 1) for k, d in zip(kernel, per_dimension(dilation, len(kernel)), strict=True)
    ]
    return tuple((total // 2, total - total // 2) for total in totals)


def output_size(
    spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
) -> tuple[int, ...]:
    """Spatial size of a convolution's output."""
    rank = len(kernel)
    return tuple(
        (size + low + high - (d * (k - 1) + 1)) // s + 1
        for size, k, s, (low, high), d in zip(
            spatial,
            kernel,
            per_dimension(stride, rank),
            padding_pairs(padding, rank),
            per_dimension(dilation, rank),
            strict=True,
        )
    )


def transposed_output_size(
    spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
) -> tuple[int, ...]:
    """Spatial size of a transposed convolution's output."""
    rank = len(kernel)
    return tuple(
        (size - 1) * s - 2 * p + d * (k - 1) + 1 + extra
        for size, k, s, p, extra, d in zip(
            spatial,
            kernel,
            *(per_dimension(v, rank) for v in (stride, padding, output_padding, dilation)),
            strict=True,
        )
    )


def _taps(
    kernel: Sequence[int], output: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
    """Every tap with the slice of the padded input that it meets, output position by position."""
    for tap in product(*map(range, kernel)):
        window = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, dilation, output, stride, strict=True)
        )
        yield tap, (..., *window)


def _grouped(array: Float64, groups: int) -> Float64:
    """(N, C, …) as (N, groups, C/groups, …)."""
    n, channels, *spatial = array.shape
    return array.reshape(n, groups, channels // groups, *spatial)


def _contract_positions(a: Float64, b: Float64) -> Float64:
    """(g, i, j) from (n, g, i, …) and (n, g, j, …): the sum over images and positions."""
    flat = [t.reshape(*t.shape[:3], math.prod(t.shape[3:])) for t in (a, b)]
    return np.einsum("ngip,ngjp->gij", *flat)


def _pad_input(x: Float64, pairs: Sequence[tuple[int, int]]) -> Float64:
    return np.pad(x, ((0, 0), (0, 0), *pairs))


def _f64(array: ArrayLike) -> Float64:
    return np.asarray(array).astype(np.float64)


def _column(bias: ArrayLike, rank: int) -> Float64:
    """A bias as (C, 1, …), ready to broadcast."""
    return _f64(bias).reshape(-1, *(1,) * rank)


def conv_forward(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Float64:
    """``y[n, o, p] = sum over c, t of x[n, c, p*stride - padding + t*dilation] * w[o, c, t]``."""
    x, w = _f64(x), _f64(w)
    rank = x.ndim - 2
    kernel, out_channels = w.shape[2:], w.shape[0]
    stride, dilation = per_dimension(stride, rank), per_dimension(dilation, rank)
    pairs = padding_pairs(padding, rank)
    output = output_size(x.shape[2:], kernel, stride, pairs, dilation)
    padded = _grouped(_pad_input(x, pairs), groups)
    taps_weight = w.reshape(groups, out_channels // groups, *w.shape[1:])
    y = np.zeros((x.shape[0], groups, out_channels // groups, *output))
    for tap, window in _taps(kernel, output, stride, dilation):
        y += np.einsum("ngc...,goc->ngo...", padded[window], taps_weight[(..., *tap)])
    y = y.reshape(x.shape[0], out_channels, *output)
    return y if bias is None else y + _column(bias, rank)


def conv_backward_input(
    input_shape: Sequence[int],
    dy: ArrayLike,
    w: ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Float64:
    """Gradient of `conv_forward` with respect to x: every tap scatters where it gathered."""
    dy, w = _f64(dy), _f64(w)
    rank = dy.ndim - 2
    kernel = w.shape[2:]
    stride, dilation = per_dimension(stride, rank), per_dimension(dilation, rank)
    pairs = padding_pairs(padding, rank)
    n, channels, *spatial = input_shape
    padded = np.zeros(
        (n, channels, *(s + low + high for s, (low, high) in zip(spatial, pairs, strict=True)))
    )
    scattered = _grouped(padded, groups)  # a view: writing here fills `padded`
    gathered = _grouped(dy, groups)
    taps_weight = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for tap, window in _taps(kernel, dy.shape[2:], stride, dilation):
        scattered[window] += np.einsum("ngo...,goc->ngc...", gathered, taps_weight[(..., *tap)])
    inside = tuple(slice(low, low + s) for s, (low, _) in zip(spatial, pairs, strict=True))
    return padded[(..., *inside)].copy()


def conv_backward_weight(
    weight_shape: Sequence[int],
    dy: ArrayLike,
    x: ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Float64:
    """Gradient of `conv_forward` with respect to w."""
    dy, x = _f64(dy), _f64(x)
    rank = dy.ndim - 2
    kernel = tuple(weight_shape[2:])
    stride, dilation = per_dimension(stride, rank), per_dimension(dilation, rank)
    padded = _grouped(_pad_input(x, padding_pairs(padding, rank)), groups)
    gathered = _grouped(dy, groups)
    dw = np.zeros((groups, weight_shape[0] // groups, weight_shape[1], *kernel))
    for tap, window in _taps(kernel, dy.shape[2:], stride, dilation):
        dw[(..., *tap)] = _contract_positions(gathered, padded[window])
    return dw.reshape(tuple(weight_shape))


def conv_backward_bias(dy: ArrayLike) -> Float64:
    """Gradient with respect to the bias: the sum over every dimension but the channels."""
    dy = _f64(dy)
    return dy.sum(axis=(0, *range(2, dy.ndim)))


def conv_transpose_forward(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Float64:
    """Every input element adds its scaled kernel to the output at ``position * stride - padding``.

    Written out on its own rather than through `conv_backward_input`, so that each checks the other.
    """
    x, w = _f64(x), _f64(w)
    rank = x.ndim - 2
    kernel, out_channels = w.shape[2:], w.shape[1] * groups
    stride, padding = per_dimension(stride, rank), per_dimension(padding, rank)
    dilation = per_dimension(dilation, rank)
    output = transposed_output_size(x.shape[2:], kernel, stride, padding, output_padding, dilation)
    canvas_size = tuple(o + 2 * p for o, p in zip(output, padding, strict=True))
    canvas = np.zeros((x.shape[0], out_channels, *canvas_size))
    scattered = _grouped(canvas, groups)
    gathered = _grouped(x, groups)
    taps_weight = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    for tap, window in _taps(kernel, x.shape[2:], stride, dilation):
        scattered[window] += np.einsum("ngc...,gco->ngo...", gathered, taps_weight[(..., *tap)])
    y = canvas[(..., *(slice(p, p + o) for p, o in zip(padding, output, strict=True)))].copy()
    return y if bias is None else y + _column(bias, rank)


def conv_transpose_backward_input(
    dy: ArrayLike,
    w: ArrayLike,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Float64:
    """Gradient of `conv_transpose_forward` with respect to x: an ordinary convolution of dy.

    The transposed weight (C, K/groups, …) is that convolution's weight as it stands.
    """
    dy = _f64(dy)
    rank = dy.ndim - 2
    dx = conv_forward(dy, w, None, stride, padding, dilation, groups)
    # Rows that only output_padding at or above the stride brought in have no input to belong to.
    extra = [
        e // s
        for e, s in zip(
            per_dimension(output_padding, rank), per_dimension(stride, rank), strict=True
        )
    ]
    return dx[
        (..., *(slice(0, size - e) for size, e in zip(dx.shape[2:], extra, strict=True)))
    ].copy()


def conv_transpose_backward_weight(
    weight_shape: Sequence[int],
    dy: ArrayLike,
    x: ArrayLike,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Float64:
    """Gradient of `conv_transpose_forward` with respect to w."""
    dy, x = _f64(dy), _f64(x)
    rank = dy.ndim - 2
    del output_padding  # the rows that it adds are reached by no tap of this input
    stride, dilation = per_dimension(stride, rank), per_dimension(dilation, rank)
    kernel = tuple(weight_shape[2:])
    canvas = _grouped(_pad_input(dy, padding_pairs(padding, rank)), groups)
    gathered = _grouped(x, groups)
    dw = np.zeros((groups, weight_shape[0] // groups, weight_shape[1], *kernel))
    for tap, window in _taps(kernel, x.shape[2:], stride, dilation):
        dw[(..., *tap)] = _contract_positions(gathered, canvas[window])
    return dw.reshape(tuple(weight_shape))


def relu(x: ArrayLike) -> Float64:
    """max(x, 0) that lets NaN through."""
    return np.maximum(_f64(x), 0.0)


def conv_relu_forward(
    x: ArrayLike, w: ArrayLike, bias: ArrayLike | None = None, **settings: Any
) -> Float64:
    """relu(conv + bias)."""
    return relu(conv_forward(x, w, bias, **settings))


def conv_add_relu_forward(
    x: ArrayLike,
    w: ArrayLike,
    z: ArrayLike,
    alpha: float = 1.0,
    bias: ArrayLike | None = None,
    **settings: Any,
) -> Float64:
    """relu(conv + alpha * z + bias); z is not read when alpha is 0."""
    y = conv_forward(x, w, bias, **settings)
    return relu(y if alpha == 0 else y + alpha * _f64(z))
