"""Problems of which implementations behind our providers were wrong: none is listed, run or kept.

Each is one of a kind, with the release that it was seen on. Every solution that is listed, and what
is chosen by default and by a search, is compared with the reference.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mioconv
from helpers import reference, tolerances
from helpers.processes import program
from mioconv.errors import WrongResultWarning
from providers import abi

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


# Kernels whose taps are so far apart that bytes along an axis are beyond 32 bits.
FAR = [
    ((1, 1, 17, 2, 17), (16, 1, 3, 1, 1), (1, 1, 2**31 - 1), (2**31 - 9, 0, 0),
     (2**31 - 2, 2**24, 1), 1),
    ((2, 17, 5, 2), (1, 17, 2, 1), (1, 1), (3 * 2**28 - 2, 0), (3 * 2**29, 1), 1),
    ((1, 16, 2, 5), (16, 1, 2, 1), (1, 1), (2**30 - 8, 0), (2**31 - 17, 1), 16),
    ((1, 8, 4), (8, 8, 2), (1,), (3 * 2**28,), (3 * 2**29 - 4,), 1),
    ((2, 16, 3, 1000), (16, 16, 2, 3), (1, 1), (300000, 1), (600001, 1), 1),
]  # fmt: skip


@dataclass
class Far:
    """By the definition, tap by tap: a reference that pads would not fit in memory."""

    x: np.ndarray
    w: np.ndarray
    y: np.ndarray
    right: dict[str, np.ndarray]


def far(
    x_shape: Any, w_shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Far:  # fmt: skip
    out = reference.output_size(x_shape[2:], w_shape[2:], stride, padding, dilation)
    y_shape = (x_shape[0], w_shape[0], *out)
    rng = np.random.default_rng(0)
    x, w, y = (rng.integers(-3, 4, s).astype(np.float32) for s in (x_shape, w_shape, y_shape))
    forward, back, weights = np.zeros(y_shape), np.zeros(x_shape), np.zeros(w_shape)
    inputs, outputs = w_shape[1], w_shape[0] // groups
    for taps in itertools.product(*map(range, w_shape[2:])):
        # The results at which this tap meets the input, and what it meets there.
        met = [
            [(o, o * s - p + t * d) for o in range(results) if 0 <= o * s - p + t * d < size]
            for s, p, t, d, results, size in
            zip(stride, padding, taps, dilation, out, x_shape[2:], strict=True)
        ]  # fmt: skip
        at_y, at_x = (np.ix_(*[[pair[i] for pair in axis] for axis in met]) for i in (0, 1))
        for n, g, c, k in itertools.product(
            range(x_shape[0]), range(groups), range(inputs), range(outputs)
        ):
            k, i = g * outputs + k, g * inputs + c
            forward[n, k][at_y] += x[n, i][at_x] * w[(k, c, *taps)]
            back[n, i][at_x] += y[n, k][at_y] * w[(k, c, *taps)]
            weights[(k, c, *taps)] += (x[n, i][at_x] * y[n, k][at_y]).sum(dtype=np.float64)
    right = {"forward": forward, "backward_input": back, "backward_weight": weights}
    return Far(x, w, y, right)


@pytest.mark.filterwarnings(f"error::{WrongResultWarning.__module__}.WrongResultWarning")
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("case", FAR, ids=lambda case: "x".join(map(str, case[0])))
def test_taps_far_apart(case: Any, layout: str) -> None:
    """Offsets of oneDNN's kernels overflowed, and they read far outside of the operands."""
    x_shape, w_shape, stride, padding, dilation, groups = case
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    it = far(*case)
    lay = abi.channels_last if layout == "channels_last" else np.ascontiguousarray
    x, w, y = map(lay, (it.x, it.w, it.y))
    mioconv.cache_clear()
    for direction, operands in {
        "forward": (x, w), "backward_input": (x_shape, y, w), "backward_weight": (w_shape, y, x),
    }.items():  # fmt: skip
        call = getattr(mioconv, f"conv{x.ndim - 2}d_{direction}")
        listed = mioconv.find_solutions(
            mioconv.Problem(direction, x_shape, w_shape, layout=layout, **how)
        )
        assert listed
        with mioconv.flags(verify="off"):
            for solution in listed:
                got = call(*operands, solution=solution, **how)
                np.testing.assert_array_equal(got, it.right[direction], solution.name)
        got = call(*operands, benchmark=True, **how)
        np.testing.assert_array_equal(got, it.right[direction])


def test_a_kernel_without_its_registers() -> None:
    """oneDNN 3.2 scales a sum in its depthwise kernel for AVX2 by a register of AVX-512: that ends
    the process on machines without it. It is run on none."""
    program = (
        "import numpy as np, mioconv\n"
        "x, w = np.ones((1, 16, 8, 8), np.float16), np.ones((16, 1, 3, 3), np.float16)\n"
        "z = np.ones((1, 16, 6, 6), np.float16)\n"
        "y = mioconv.conv2d_add_relu_forward(x, w, z, 0.5, groups=16)\n"
        "assert (y == 9.5).all()\n"
    )
    variables = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ONEDNN_VERBOSE": "1", "MIOCONV_CACHE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | variables, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ran = [line for line in done.stdout.splitlines() if "exec,cpu,convolution" in line]
    assert ran
    assert not any("brdgmm" in line for line in ran)


# oneDNN 3.2: brgconv adds z twice, and in bfloat16 computes nonsense and writes past the result,
# where rows have fewer columns than padding, and as much as that at their end no kernel reaches.
TWICE = [
    # x, w, stride, padding, dilation
    ((5, 16, 1, 21), (16, 16, 1, 7), (1, 8), (0, 3), (1, 2)),
    ((5, 80, 1, 21), (32, 80, 1, 7), (1, 8), (0, 3), (1, 2)),
    ((6, 8, 1, 21), (16, 8, 1, 3), (1, 9), (0, 4), (1, 1)),
    ((4, 32, 1, 31), (8, 32, 1, 6), (2, 10), (0, 4), (1, 2)),
    ((3, 32, 3, 14), (8, 32, 2, 2), (2, 9), (1, 4), (1, 4)),
    ((2, 48, 1, 105), (32, 48, 1, 5), (1, 23), (0, 11), (1, 4)),
    ((2, 16, 15), (32, 16, 4), (8,), (3,), (2,)),
    ((2, 16, 26), (16, 16, 2), (12,), (4,), (1,)),
    ((2, 17, 11), (20, 17, 2), (7,), (3,), (3,)),
    ((3, 17, 6, 18), (5, 17, 1, 4), (1, 11), (0, 4), (3, 2)),
    ((2, 16, 2, 3, 21), (16, 16, 1, 2, 7), (1, 1, 8), (0, 0, 3), (1, 1, 2)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, BFLOAT16], ids=str)
@pytest.mark.parametrize("case", TWICE, ids=str)
def test_rows_with_more_padding_than_results(case: Any, dtype: Any) -> None:
    """By every solution and fused, also where nobody looks at results."""
    x_shape, w_shape, stride, padding, dilation = case
    how = {"stride": stride, "padding": padding, "dilation": dilation}
    rng = np.random.default_rng(0)
    x, w = (
        abi.channels_last(rng.integers(-1, 2, shape).astype(dtype)) for shape in (x_shape, w_shape)
    )
    y = reference.conv_forward(x.astype(np.float32), w.astype(np.float32), **how)
    z = abi.channels_last((64 * rng.integers(0, 2, y.shape)).astype(dtype))

    def function(name: str) -> Any:
        return getattr(mioconv, f"conv{len(stride)}d_{name}")

    problem = mioconv.Problem.from_tensors("forward", x, w, **how)
    with mioconv.flags(verify="off"):
        results = [
            (function("forward")(x, w, solution=solution, **how), y)
            for solution in mioconv.find_solutions(problem)
        ]
        results.append((function("relu_forward")(x, w, **how), np.maximum(y, 0)))
        added = np.maximum(y + z.astype(np.float32), 0)
        results.append((function("add_relu_forward")(x, w, z, **how), added))
    # Sums of at most 560 products of -1, 0 and 1, rounded once; what is added is 64 or nothing.
    for got, right in results:
        assert np.abs(got.astype(np.float32) - right).max() <= 4


@pytest.mark.parametrize("isa", ["AVX512_CORE", "AVX512_CORE_BF16"])
def test_what_is_left_out_leaves_more_than_products(isa: str) -> None:
    """oneDNN 3.2's bfloat16 kernels are wrong where the depth is padded: those for float32 serve,
    on copies, and no product takes twenty times as long."""
    if "avx512f" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("no AVX-512: all that there is in bfloat16 is computed in float32")
    text = (
        "import numpy as np, ml_dtypes, mioconv\n"
        "from helpers import reference\n"
        "rng = np.random.default_rng(0)\n"
        "x, g = rng.integers(-1, 2, (2, 1, 32, 6, 14, 14)).astype(ml_dtypes.bfloat16)\n"
        "y = mioconv.conv3d_backward_weight((32, 32, 3, 3, 3), g, x, padding=1)\n"
        "right = reference.conv_backward_weight(y.shape, g.astype('f'), x.astype('f'), padding=1)\n"
        "np.testing.assert_array_equal(y, right.astype(ml_dtypes.bfloat16))\n"
        "print(mioconv.last_call().solution_name)\n"
    )
    ran = program(
        text, PYTHONPATH=os.path.dirname(__file__), ONEDNN_MAX_CPU_ISA=isa, MIOCONV_CACHE="0"
    )
    assert "gemm" not in ran
    assert "naive" not in ran
