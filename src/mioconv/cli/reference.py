"""Convolutions in float64, by NumPy's matrix products, and how far a right result may be from that:
what `mioconv driver` verifies against.

A kernel position at a time: it meets a strided window of the input, and all channels of a group are
one matrix product.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mioconv.problem import Problem

__all__ = ["error_bound", "reference"]

Array = npt.NDArray[Any]


def reference(problem: Problem, first: Array, second: Array) -> Array:
    """The result of a problem from its operands, in the order in which its function takes them."""
    # A transposed convolution is the gradient of the ordinary one whose output is its input.
    x_shape, y_shape = problem.input_shape, problem.output_shape
    if problem.transposed:
        x_shape, y_shape = y_shape, x_shape
    first, second = first.astype(np.float64), second.astype(np.float64)
    if problem.direction == "backward_weight":
        x, y = (first, second) if problem.transposed else (second, first)
        return _weight_gradient(problem, x, y)
    if (problem.direction == "forward") != problem.transposed:
        return _forward(problem, first, second, y_shape)
    return _input_gradient(problem, first, second, x_shape)


def error_bound(
    problem: Problem, first: Array, second: Array, expected: Array, *, mixes: bool, tf32: bool
) -> Array:
    """Largest error of each element of a right result.

    A sum of K products in float32 is off by at most gamma_K = K u / (1 - K u) times the sum of
    their absolute values, in any order (Higham), u = 2^-24; storing it rounds once more. Winograd's
    and Fourier's transforms (`mixes`) add up and cancel neighbours: there the largest of these sums
    counts for all elements, 32 times. TF32 rounds the operands to 11 bits first. MIOpen's matrix
    products keep columns and partial sums in half types: one rounding more for each kernel position
    and each image.
    """
    magnitude = reference(problem, np.abs(first), np.abs(second))
    length = _terms(problem)
    growth = length * 2.0**-24
    growth /= 1 - growth
    spread = 32 * np.full_like(magnitude, magnitude.max(initial=0)) if mixes else magnitude
    bound = growth * spread + length * 2.0**-126
    if tf32:
        bound = bound + (2 * 2.0**-11 + 2.0**-22) * magnitude
    if problem.dtype != "float32":
        roundoff, smallest = {"float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 2.0**-134)}[
            problem.dtype
        ]
        stored = np.abs(expected)
        if problem.device.startswith("rocm"):
            parts = problem.input_shape[0] + int(np.prod(problem.weight_shape[2:]))
            stored = stored + parts * magnitude
        bound = bound + np.maximum(roundoff * (stored + bound), smallest)
    result: Array = bound
    return result


def _terms(problem: Problem) -> int:
    """Products in the longest sum of a result."""
    k, c, *kernel = problem.weight_shape
    if problem.direction == "backward_weight":
        y = problem.input_shape if problem.transposed else problem.output_shape
        return int(y[0] * np.prod(y[2:]))
    if (problem.direction == "forward") != problem.transposed:
        return int(c * np.prod(kernel))
    return int(k // problem.groups * np.prod(kernel))


def _windows(problem: Problem, sizes: tuple[int, ...]) -> Iterator[tuple[Any, Any]]:
    """For each kernel position its index, and the slices of the padded input that it meets."""
    kernel = problem.weight_shape[2:]
    for position in itertools.product(*map(range, kernel)):
        window = tuple(
            slice(at * dilation, at * dilation + stride * (size - 1) + 1, stride)
            for at, dilation, stride, size in zip(
                position, problem.dilation, problem.stride, sizes, strict=True
            )
        )
        yield (Ellipsis, *position), (slice(None), slice(None), *window)


def _padded(problem: Problem, x: Array) -> Array:
    return np.pad(x, [(0, 0), (0, 0)] + [(pad, pad) for pad in problem.padding])


def _grouped(problem: Problem, tensor: Array) -> Array:
    """N, C, spatial as N, groups, C / groups, positions."""
    return tensor.reshape(tensor.shape[0], problem.groups, tensor.shape[1] // problem.groups, -1)


def _matrices(problem: Problem, w: Array) -> Array:
    """A kernel position of the weight as groups, K / groups, C / groups."""
    return w.reshape(problem.groups, w.shape[0] // problem.groups, w.shape[1])


def _forward(problem: Problem, x: Array, w: Array, shape: tuple[int, ...]) -> Array:
    y = np.zeros(shape)
    padded = _padded(problem, x)
    for position, window in _windows(problem, shape[2:]):
        part = _matrices(problem, w[position]) @ _grouped(problem, padded[window])
        y += part.reshape(shape)
    return y


def _input_gradient(problem: Problem, y: Array, w: Array, shape: tuple[int, ...]) -> Array:
    padded = _padded(problem, np.zeros(shape))
    gradients = _grouped(problem, y)
    for position, window in _windows(problem, y.shape[2:]):
        part = _matrices(problem, w[position]).swapaxes(1, 2) @ gradients
        padded[window] += part.reshape(padded[window].shape)
    inner = [slice(None), slice(None)]
    inner += [slice(pad, pad + size) for pad, size in zip(problem.padding, shape[2:], strict=True)]
    return padded[tuple(inner)]


def _weight_gradient(problem: Problem, x: Array, y: Array) -> Array:
    w = np.zeros(problem.weight_shape)
    padded = _padded(problem, x)
    gradients = _grouped(problem, y)
    for position, window in _windows(problem, y.shape[2:]):
        part = gradients @ _grouped(problem, padded[window]).swapaxes(2, 3)
        w[position] = part.sum(axis=0).reshape(w.shape[:2])
    return w
