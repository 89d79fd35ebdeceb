"""Problems of which implementations behind our providers were wrong: none is listed, run or kept.

Each is one of a kind, with the release that it was seen on. Every solution that is listed, and what
is chosen by default and by a search, is compared with the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mioconv
from helpers import reference, tolerances
from mioconv.errors import WrongResultWarning

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Defect:
    """A gradient of weights, by the numbers of its convolution."""

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    last: bool = False

    def __str__(self) -> str:
        return self.name


# oneDNN 3.2: jit_1x1 copies every other pixel to scratch memory that is too small where there are
# fewer channels than a block has (its issue 6035).
COPIES = [
    Defect(f"strided-pointwise-{channels}-{filters}", (8, channels, size, size),
           (filters, channels, 1, 1), (2, 2), (0, 0), (1, 1), last=True)
    for channels, size, filters in (
        (14, 64, 16), (14, 64, 32), (12, 32, 16), (4, 32, 16), (6, 9, 5))
] + [
    Defect("strided-pointwise-row", (8, 14, 300), (16, 14, 1), (2,), (0,), (1,), last=True),
    Defect("strided-pointwise-one-way", (4, 7, 12, 12), (24, 7, 1, 1), (1, 3), (0, 0), (1, 1),
           last=True),
]  # fmt: skip
# oneDNN 3.2: jit with strides, dilations and wide padding, in rows of a middling length.
ROWS = [
    Defect(f"strided-dilated-row-{c}-{k}-{p}", (1, c, 178), (16, c, k), (s,), (p,), (3,))
    for c, k, s, p in ((32, 7, 5, 18), (16, 7, 5, 18), (2, 9, 4, 24), (3, 5, 3, 15))
] + [
    Defect("strided-dilated-groups", (3, 6, 7, 178), (183, 2, 3, 7), (1, 5), (0, 18), (3, 3), 3,
           last=True),
    Defect("many-taps-in-wide-padding", (5, 49, 14, 7), (4, 49, 27, 1), (1, 1), (13, 0), (1, 1)),
]  # fmt: skip
# oneDNN 3.2: jit_bf16 with one channel a group and a dilation.
DILATED = [
    Defect(f"dilated-depthwise-{d}", (4, 32, 20, 20), (32, 1, 3, 3), (1, 1), (d, d), (d, d), 32)
    for d in (2, 3)
] + [Defect("dilated-multiplier", (2, 8, 15, 11), (24, 1, 3, 3), (1, 1), (0, 1), (2, 1), 8)]
DEFECTS = COPIES + ROWS + DILATED


def operands(defect: Defect, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, the gradient of y, the exact gradient of the weights and the bound of its error."""
    rng = np.random.default_rng(len(defect.name))
    sizes = reference.output_size(
        defect.x[2:], defect.w[2:], defect.stride, defect.padding, defect.dilation
    )
    x = rng.standard_normal(defect.x).astype(dtype)
    dy = rng.standard_normal((defect.x[0], defect.w[0], *sizes)).astype(dtype)
    how = {"stride": defect.stride, "padding": defect.padding, "dilation": defect.dilation,
           "groups": defect.groups}  # fmt: skip
    exact = reference.conv_backward_weight(defect.w, dy, x, **how)
    magnitude = reference.conv_backward_weight(defect.w, np.abs(dy), np.abs(x), **how)
    length = defect.x[0] * int(np.prod(sizes))
    bound = tolerances.error_bound(dtype, np.abs(exact), magnitude, length)
    if defect.last:
        x, dy = (np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) for a in (x, dy))
    return x, dy, exact, bound


@pytest.mark.filterwarnings(f"error::{WrongResultWarning.__module__}.WrongResultWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16], ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("defect", DEFECTS, ids=str)
def test_backward_weight_is_right_by_every_solution(defect: Defect, dtype: Any) -> None:
    x, dy, exact, bound = operands(defect, dtype)
    how = {"stride": defect.stride, "padding": defect.padding, "dilation": defect.dilation,
           "groups": defect.groups}  # fmt: skip
    backward = getattr(mioconv, f"conv{x.ndim - 2}d_backward_weight")
    mioconv.cache_clear()
    problem = mioconv.Problem(
        "backward_weight", x.shape, defect.w, dtype=np.dtype(dtype).name,
        layout="channels_last" if defect.last else "packed", **how,
    )  # fmt: skip
    listed = mioconv.find_solutions(problem)
    assert listed
    # What is wrong must not be listed; that it is set aside when it runs would not do.
    with mioconv.flags(verify="off"):
        for solution in listed:
            got = backward(defect.w, dy, x, solution=solution, **how)
            tolerances.assert_close(got, exact, bound)
    for benchmark in (False, True):
        tolerances.assert_close(backward(defect.w, dy, x, benchmark=benchmark, **how), exact, bound)
    got = backward(defect.w, dy, x, exclude=["*gemm*"], **how)
    tolerances.assert_close(got, exact, bound)
