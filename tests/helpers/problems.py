"""Convolution problems as data, and Hypothesis strategies that draw more of them.

`CASES` is the list that every operator's tests go through; `TRANSPOSED_CASES` adds an
output padding. A case holds plain integers or tuples, as a user would write them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from . import reference


@dataclass(frozen=True)
class Case:
    """One convolution: `n` images of `c` channels and size `spatial`, `k` output channels."""

    name: str
    n: int
    c: int
    spatial: tuple[int, ...]
    k: int
    kernel: tuple[int, ...]
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1
    groups: int = 1
    output_padding: int | tuple[int, ...] = 0
    transposed: bool = False

    @property
    def rank(self) -> int:
        return len(self.kernel)

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of the operators and of the reference."""
        names = ["stride", "padding", "dilation", "groups"]
        if self.transposed:
            names.append("output_padding")
        return {name: getattr(self, name) for name in names}

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.n, self.c, *self.spatial)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        if self.transposed:
            return (self.c, self.k // self.groups, *self.kernel)
        return (self.k, self.c // self.groups, *self.kernel)

    @property
    def output_shape(self) -> tuple[int, ...]:
        if self.transposed:
            size = reference.transposed_output_size(
                self.spatial,
                self.kernel,
                self.stride,
                self.padding,
                self.output_padding,
                self.dilation,
            )
        else:
            size = reference.output_size(
                self.spatial, self.kernel, self.stride, self.padding, self.dilation
            )
        return (self.n, self.k, *size)

    @property
    def _taps(self) -> int:
        taps = 1
        for size in self.kernel:
            taps *= size
        return taps

    @property
    def forward_length(self) -> int:
        """Products in one output element, at most."""
        return self._taps * (self.c // self.groups)

    @property
    def backward_input_length(self) -> int:
        """Products in one element of the input's gradient, at most."""
        return self._taps * (self.k // self.groups)

    @property
    def backward_weight_length(self) -> int:
        """Products in one element of the weight's gradient, at most."""
        positions = self.n
        for size in self.spatial if self.transposed else self.output_shape[2:]:
            positions *= size
        return positions

    @property
    def backward_bias_length(self) -> int:
        length = self.n
        for size in self.output_shape[2:]:
            length *= size
        return length

    def __str__(self) -> str:
        return self.name


# name, n, c, spatial, k, kernel, stride, padding, dilation, groups
CASES = [
    Case("1d", 2, 3, (17,), 4, (3,)),
    Case("1d-strided-dilated", 2, 4, (23,), 6, (4,), 2, 3, 3),
    Case("1d-groups", 1, 6, (11,), 9, (3,), 1, 1, 1, 3),
    Case("1d-pointwise", 3, 5, (8,), 7, (1,)),
    Case("1d-whole", 2, 3, (9,), 5, (9,)),
    Case("1d-single", 1, 1, (1,), 1, (1,)),
    # Taps of the kernel, or outputs, that meet nothing but padding: their terms are exact zeros.
    Case("1d-taps-in-padding", 2, 16, (1,), 16, (2,), 3, 1),
    Case("2d-taps-in-padding", 1, 16, (1, 1), 16, (1, 2), (1, 2), (0, 1)),
    Case("3d-taps-in-padding", 1, 1, (1, 1, 1), 1, (2, 1, 1), 1, (1, 0, 0)),
    Case("3d-outputs-in-padding", 1, 16, (3, 1, 1), 16, (4, 1, 1), (2, 1, 1), (3, 0, 0)),
    Case("2d", 2, 3, (8, 9), 4, (3, 3)),
    Case("2d-same", 2, 8, (7, 7), 8, (3, 3), 1, 1),
    Case("2d-odd-channels", 3, 17, (6, 5), 19, (3, 2), 1, 1),
    Case("2d-uneven", 2, 3, (11, 14), 5, (3, 4), (2, 3), (0, 2), (2, 1)),
    Case("2d-wide-padding", 1, 2, (4, 5), 3, (3, 3), 1, (3, 5)),
    Case("2d-stride-over-kernel", 2, 4, (13, 12), 3, (2, 2), 5),
    Case("2d-remainder", 1, 3, (10, 11), 2, (3, 3), 3),
    Case("2d-dilated", 1, 4, (15, 15), 4, (3, 3), 1, 2, (3, 5)),
    Case("2d-groups", 2, 12, (7, 6), 8, (3, 3), 2, 1, 1, 4),
    Case("2d-depthwise", 2, 9, (8, 8), 9, (3, 3), 1, 1, 1, 9),
    Case("2d-depthwise-multiplier", 2, 5, (9, 7), 15, (3, 3), 2, 1, 1, 5),
    Case("2d-pointwise", 2, 32, (7, 7), 24, (1, 1)),
    Case("2d-pointwise-odd", 2, 7, (5, 6), 5, (1, 1)),
    Case("2d-pointwise-strided", 2, 16, (9, 9), 8, (1, 1), 2),
    Case("2d-whole", 2, 6, (5, 7), 8, (5, 7)),
    Case("2d-size-one", 1, 1, (1, 1), 1, (1, 1)),
    Case("2d-row", 2, 3, (1, 12), 4, (1, 5), 1, (0, 2)),
    Case("2d-column", 2, 3, (12, 1), 4, (5, 1), (2, 1), (2, 0)),
    Case("2d-one-channel-out", 2, 7, (6, 6), 1, (3, 3)),
    Case("2d-stem", 1, 3, (32, 32), 16, (7, 7), 2, 3),
    Case("3d", 2, 3, (5, 6, 7), 4, (3, 3, 3)),
    Case("3d-uneven", 1, 4, (7, 8, 9), 6, (2, 3, 4), (1, 2, 3), (0, 1, 2), (2, 1, 2)),
    Case("3d-groups", 2, 6, (4, 5, 4), 4, (3, 3, 3), 1, 1, 1, 2),
    Case("3d-depthwise", 1, 4, (5, 5, 5), 8, (3, 3, 3), 2, 1, 1, 4),
    Case("3d-pointwise", 2, 5, (3, 4, 5), 3, (1, 1, 1)),
    Case("3d-whole", 1, 2, (3, 4, 5), 3, (3, 4, 5)),
    Case("3d-size-one", 1, 1, (1, 1, 1), 1, (1, 1, 1)),
]

TRANSPOSED_CASES = [
    replace(case, transposed=True)
    for case in [
        Case("t1d", 2, 3, (9,), 4, (3,), 2, 1, 1, 1, 1),
        Case("t1d-groups", 1, 6, (7,), 4, (4,), 3, 0, 2, 2),
        # Many layouts are the same memory here; caches behind the ABI have mistaken them.
        Case("t1d-one-channel", 1, 1, (2,), 2, (2,), 1, 1),
        Case("t1d-one-position", 1, 2, (1,), 4, (2,), 1, 1, 2, 2),
        Case("t2d", 2, 3, (6, 7), 4, (3, 3)),
        Case("t2d-strided", 2, 4, (5, 6), 6, (3, 3), 2, 1, 1, 1, 1),
        Case("t2d-uneven", 1, 3, (5, 4), 5, (4, 3), (3, 2), (1, 0), (1, 2), 1, (2, 1)),
        Case("t2d-groups", 2, 6, (5, 5), 9, (3, 3), 2, 1, 1, 3, (0, 1)),
        Case("t2d-depthwise", 2, 5, (6, 4), 10, (3, 3), 2, 1, 1, 5),
        Case("t2d-pointwise", 2, 7, (5, 5), 3, (1, 1)),
        Case("t2d-pointwise-strided", 1, 4, (4, 4), 4, (1, 1), 2, 0, 1, 1, 1),
        # Legal while below the dilation; contradicts MIOpen's size formula (design.md 4).
        Case("t2d-padding-over-stride", 1, 3, (4, 5), 2, (3, 3), (1, 2), 1, (3, 4), 1, (2, 3)),
        Case("t2d-size-one", 1, 1, (1, 1), 1, (3, 3)),
        Case("t3d", 1, 3, (3, 4, 3), 4, (3, 3, 3), 2, 1, 1, 1, 1),
        Case("t3d-groups", 2, 4, (3, 3, 4), 2, (2, 3, 2), (1, 2, 2), (0, 1, 0), 1, 2, (0, 1, 0)),
    ]
]

# Small ones, one of each kind, where a test is about something else than the arithmetic.
FEW = [c for c in CASES if c.name in {"1d-strided-dilated", "2d-uneven", "2d-groups", "3d-uneven"}]


def depthwise(case: Case) -> bool:
    """One group a channel."""
    return case.groups == case.c and case.k % case.c == 0


@st.composite
def valid_cases(draw: st.DrawFn, transposed: bool = False, min_rank: int = 1) -> Case:
    """Random problems that every operator must take."""
    rank = draw(st.integers(min_rank, 3))
    most = {1: 16, 2: 9, 3: 6}[rank]

    def sizes(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, stride, dilation = sizes(1, 4), sizes(1, 3), sizes(1, 3)
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    padding = tuple(draw(st.integers(0, e)) for e in extent)
    groups = draw(st.integers(1, 4))
    c, k = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 5))
    n = draw(st.integers(1, 3))
    if transposed:
        output_padding = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        # Large enough that something is left after the padding is cut off.
        least = tuple(
            max(1, -(-(2 * p - e - extra + 1) // s) + 1)
            for p, e, extra, s in zip(padding, extent, output_padding, stride, strict=True)
        )
        spatial = tuple(draw(st.integers(low, low + most // 2)) for low in least)
        return Case(
            "drawn", n, c, spatial, k, kernel, stride, padding, dilation, groups,
            output_padding, True,
        )  # fmt: skip
    least = tuple(max(1, e - 2 * p) for e, p in zip(extent, padding, strict=True))
    spatial = tuple(draw(st.integers(low, max(low, most))) for low in least)
    return Case("drawn", n, c, spatial, k, kernel, stride, padding, dilation, groups)
