"""Convolution cases for the provider tests: arrays, exact results and their bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers import reference, tolerances, winograd

from . import abi


@dataclass(frozen=True)
class Shape:
    """A convolution as the forward call sees it; `transposed` by shape of x as well."""

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    @property
    def y(self) -> tuple[int, ...]:
        spatial, kernel = self.x[2:], self.w[2:]
        if self.transposed:
            extra = self.output_padding or 0
            sizes = reference.transposed_output_size(
                spatial, kernel, self.stride, self.padding, extra, self.dilation
            )
            return (self.x[0], self.w[1] * self.groups, *sizes)
        sizes = reference.output_size(spatial, kernel, self.stride, self.padding, self.dilation)
        return (self.x[0], self.w[0], *sizes)

    def settings(self) -> dict[str, Any]:
        """Arguments of `abi.problem`."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "mode": abi.TRANSPOSE if self.transposed else abi.CONVOLUTION,
            "output_padding": self.output_padding or None,
        }


@contextmanager
def cpu_threads(cpu: abi.Library, count: int) -> Iterator[None]:
    """So many threads for what this thread calls meanwhile."""
    cpu.call("mioconvSetNumThreads", count)
    try:
        yield
    finally:
        cpu.call("mioconvSetNumThreads", 0)


def with_margin(array: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A larger array of NaN, and the copy of `array` that is a part of it."""
    around = np.full([n + 2 for n in array.shape], np.nan, np.float32)
    around = abi.channels_last(around) if last else around
    view = around[tuple(slice(1, -1) for _ in array.shape)]
    view[...] = array
    return around, view


def assert_margin_untouched(around: np.ndarray, view: np.ndarray) -> None:
    view[...] = 0
    assert np.isnan(around).sum() == around.size - view.size


# The factors of Winograd's 6x6 tiles and of an FFT of a few thousand points are below this.
TRANSFORMS = 32.0

SHAPES = (
    Shape("tiny", (1, 1, 4, 4), (1, 1, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("plain", (2, 16, 9, 8), (32, 16, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("pointwise", (2, 24, 7, 5), (40, 24, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("pointwise_packs", (3, 40, 8, 4), (16, 40, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("pointwise_halves", (2, 16, 6, 6), (24, 16, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("pointwise_pairs", (1, 32, 2, 5), (8, 32, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("pointwise_tiles", (2, 264, 12, 13), (136, 264, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("pointwise_strided", (2, 40, 9, 7), (72, 40, 1, 1), (2, 3), (0, 0), (1, 1)),
    Shape("pointwise_halved", (2, 72, 8, 16), (80, 72, 1, 1), (2, 2), (0, 0), (1, 1)),
    Shape("pointwise_volume", (1, 16, 3, 5, 4), (24, 16, 1, 1, 1), (2, 1, 3), (0, 0, 0),
          (1, 1, 1)),
    Shape("uneven", (2, 5, 11, 7), (3, 5, 3, 2), (2, 1), (1, 0), (1, 2)),
    Shape("strided", (1, 16, 13, 12), (16, 16, 3, 3), (2, 2), (1, 1), (1, 1)),
    Shape("grouped", (2, 12, 8, 9), (18, 4, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    Shape("depthwise", (2, 32, 8, 8), (32, 1, 3, 3), (1, 1), (1, 1), (1, 1), 32),
    Shape("multiplier", (1, 6, 9, 9), (12, 1, 3, 3), (2, 2), (1, 1), (1, 1), 6),
    Shape("dilated", (1, 8, 12, 10), (8, 8, 3, 3), (1, 1), (2, 3), (2, 3)),
    Shape("winograd", (2, 37, 9, 14), (50, 37, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("winograd_volume", (2, 32, 3, 5, 7), (32, 32, 1, 3, 3), (1, 1, 1), (0, 2, 0), (1, 1, 1)),
    Shape("small", (1, 2, 5, 4), (3, 2, 3, 2), (2, 1), (1, 1), (1, 2)),
    Shape("small_groups", (2, 4, 4, 4), (4, 2, 2, 2), (1, 1), (1, 0), (1, 1), 2),
    Shape("small_volume", (1, 2, 3, 3, 4), (2, 1, 2, 2, 3), (1, 2, 1), (1, 0, 1), (1, 1, 1), 2),
    Shape("small_transposed", (1, 2, 3, 3), (2, 3, 3, 2), (2, 1), (1, 0), (1, 1), 1, True, (1, 0)),
    Shape("one_row", (2, 6, 1, 17), (8, 6, 1, 5), (1, 2), (0, 2), (1, 1)),
    Shape("volume", (1, 8, 5, 6, 4), (16, 8, 3, 2, 3), (1, 2, 1), (1, 0, 1), (1, 1, 1)),
    Shape("volume_groups", (2, 4, 4, 4, 5), (6, 2, 2, 3, 1), (1, 1, 1), (0, 1, 0), (1, 1, 2), 2),
    Shape("transposed", (2, 8, 6, 5), (8, 6, 3, 3), (2, 2), (1, 1), (1, 1), 1, True, (1, 1)),
    Shape("transposed_groups", (1, 6, 5, 4), (6, 2, 3, 2), (1, 2), (1, 0), (2, 1), 3, True),
    Shape("transposed_volume", (1, 4, 3, 3, 3), (4, 5, 2, 3, 2), (2, 1, 2), (0, 1, 0), (1, 1, 1),
          1, True),
)  # fmt: skip


@dataclass
class Case:
    """Operands of one shape and what each direction must give."""

    shape: Shape
    x: np.ndarray
    w: np.ndarray
    y: np.ndarray  # grad_output of the gradients
    exact: dict[str, np.ndarray]
    bound: dict[str, np.ndarray]
    transform_bound: dict[str, np.ndarray]

    def arrays(self, direction: str, last: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, w and y in a layout; the output is NaN everywhere."""
        lay = abi.channels_last if last else np.ascontiguousarray
        made = {"x": lay(self.x), "w": lay(self.w), "y": lay(self.y)}
        out = {abi.FORWARD: "y", abi.BACKWARD_DATA: "x", abi.BACKWARD_WEIGHTS: "w"}[direction]
        made[out] = abi.empty_like_layout(made[out].shape, made[out].dtype, last)
        return made["x"], made["w"], made["y"]

    def check(
        self, direction: str, out: np.ndarray, solution: str = "", mixes: bool = False
    ) -> None:
        """Within the bound of plain sums, or of a transform that mixes elements before it sums.

        `solution`: the name of what computed it, whose algorithm may have a bound of its own.
        """
        bound = self.bound[direction]
        if mixes:
            bound = bound + self.transform_bound[direction]
        elif m := winograd.output_tile(solution):
            named = {
                abi.FORWARD: "forward",
                abi.BACKWARD_DATA: "backward_input",
                abi.BACKWARD_WEIGHTS: "backward_weight",
            }[direction]
            bound = winograd.error_bound(named, self.x, self.w, self.y, self.shape.padding, m)
        tolerances.assert_close(out, self.exact[direction], bound)


def exact_result(
    shape: Shape, direction: str, x: np.ndarray, w: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """What one direction must give, in float64; the operand in the result's place gives no more
    than its shape."""
    options = {"stride": shape.stride, "padding": shape.padding, "dilation": shape.dilation,
               "groups": shape.groups}  # fmt: skip
    # A transposed convolution is the ordinary one from y to x, turned around.
    src, dst = (y, x) if shape.transposed else (x, y)
    if direction == abi.BACKWARD_WEIGHTS:
        return reference.conv_backward_weight(shape.w, dst, src, **options)
    if (direction == abi.FORWARD) != shape.transposed:
        return reference.conv_forward(src, w, **options)
    return reference.conv_backward_input(src.shape, dst, w, **options)


def _results(shape: Shape, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    return {d: exact_result(shape, d, x, w, y) for d in abi.DIRECTIONS}


def make_case(shape: Shape, dtype: Any, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    x, w, y = (rng.standard_normal(s).astype(dtype) for s in (shape.x, shape.w, shape.y))
    return with_exact(shape, x, w, y)


def with_exact(shape: Shape, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> Case:
    """The case of these operands."""
    dtype = x.dtype
    exact = _results(shape, x, w, y)
    magnitude = _results(shape, np.abs(x), np.abs(w), np.abs(y))
    taps = int(np.prod(shape.w[2:]))
    length = {
        abi.FORWARD: taps * (shape.w[0] // shape.groups if shape.transposed else shape.w[1]),
        abi.BACKWARD_DATA: taps * (shape.w[1] if shape.transposed else shape.w[0] // shape.groups),
        abi.BACKWARD_WEIGHTS: shape.x[0]
        * int(np.prod((shape.x if shape.transposed else shape.y)[2:])),
    }
    bound = {
        d: tolerances.error_bound(dtype, np.abs(exact[d]), magnitude[d], length[d])
        for d in abi.DIRECTIONS
    }
    transform_bound = {
        d: tolerances.error_bound(
            dtype, np.abs(exact[d]), magnitude[d], length[d], amplification=TRANSFORMS
        )
        for d in abi.DIRECTIONS
    }
    return Case(shape, x, w, y, exact, bound, transform_bound)
