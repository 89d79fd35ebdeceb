"""The CPU library's own reorder of activations between packed, channels-last and blocked layouts.

Operands are small whole numbers: every plain sum of them is exact, whatever its order, so that one
element in a wrong place shows, and so does a padding lane that was not cleared (the workspace is
full of NaN before each call).
"""

from __future__ import annotations

import ctypes as c
from contextlib import ExitStack
from functools import cache
from math import prod
from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import Case, Shape, cpu_threads, with_exact
from .test_operations import fused_call

CHANNELS = [1, 3, 15, 16, 17, 40, 100]  # none, part, just and more than blocks of 8 or 16
# Pixels of a channel: fewer than a tile's 16, whole tiles, tiles and a tail, several strips.
PIXELS: list[tuple[int, ...]] = [
    (1, 5), (1, 33), (4, 4), (7, 7), (18, 19), (1, 300), (2, 3, 7), (4, 4, 5),
]  # fmt: skip
REORDERED = ("|nhwc", "|blocked", "|channel_blocks")
GUARD = 64


@cache
def whole_numbers(shape: Shape) -> Case:
    rng = np.random.default_rng(1)
    x, w, y = (rng.integers(-3, 4, s).astype(np.float32) for s in (shape.x, shape.w, shape.y))
    return with_exact(shape, x, w, y)


def same_size(
    batch: int, inputs: int, outputs: int, pixels: tuple[int, ...], groups: int = 1
) -> Shape:
    """A convolution that keeps the size of its images, with a kernel of 3 where they have width."""
    kernel = tuple(3 if size > 1 else 1 for size in pixels)
    ones = tuple(1 for _ in pixels)
    return Shape(
        f"{batch}x{inputs}to{outputs}", (batch, inputs, *pixels),
        (outputs, inputs // groups, *kernel), ones, tuple(k // 2 for k in kernel), ones, groups,
    )  # fmt: skip


def guarded(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A packed array of NaN, and the memory that it lies in the middle of, all of it NaN."""
    memory = np.full(prod(shape) + 2 * GUARD, np.nan, np.float32)
    return memory[GUARD:-GUARD].reshape(shape), memory


def check_all(cpu: abi.Library, shape: Shape, direction: str, expect: bool = False) -> None:
    """Every solution on packed tensors; `expect`: some of them must reorder activations."""
    case = whole_numbers(shape)
    names = []
    x, w, y = case.arrays(direction, False)
    out, memory = guarded(case.exact[direction].shape)
    operands = {
        abi.FORWARD: (x, w, out), abi.BACKWARD_DATA: (out, w, y),
        abi.BACKWARD_WEIGHTS: (x, out, y),
    }[direction]  # fmt: skip
    with (
        cpu.handle() as handle,
        abi.problem(cpu, handle, direction, *operands, **shape.settings()) as problem,
    ):
        for solution in problem.solutions():
            memory[...] = np.nan
            problem.immediate(solution)
            name = cpu.solution_name(solution.solution_id)
            names.append(name)
            if "winograd" in name:
                case.check(direction, out, name)
            else:
                np.testing.assert_array_equal(out, case.exact[direction], err_msg=name)
            for guard in (memory[:GUARD], memory[-GUARD:]):
                assert np.isnan(guard).all(), name
    if expect:
        assert any(layout in name for layout in REORDERED for name in names), names


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest, cpu: abi.Library) -> Any:
    with cpu_threads(cpu, request.param):
        yield request.param


@pytest.mark.parametrize("direction", abi.DIRECTIONS)
@pytest.mark.parametrize("pixels", PIXELS, ids=lambda p: "x".join(map(str, p)))
@pytest.mark.parametrize("channels", CHANNELS)
def test_tails(cpu: abi.Library, channels: int, pixels: tuple[int, ...], direction: str) -> None:
    for batch, outputs in ((1, 17), (3, 40)):
        check_all(cpu, same_size(batch, channels, outputs, pixels), direction, channels > 1)
    check_all(cpu, same_size(1, 24, channels, pixels), direction, channels > 1)


@pytest.mark.parametrize("direction", abi.DIRECTIONS)
@pytest.mark.parametrize("channels", CHANNELS[1:])
def test_depthwise(cpu: abi.Library, channels: int, direction: str) -> None:
    for batch in (1, 3):
        check_all(cpu, same_size(batch, channels, channels, (9, 7), channels), direction, True)


@pytest.mark.parametrize("direction", abi.DIRECTIONS)
@pytest.mark.parametrize("channels", [3, 16, 17, 100])
def test_threads(cpu: abi.Library, threads: int, channels: int, direction: str) -> None:
    """Enough work for that many threads; few images, blocks and strips to divide among them."""
    for batch, pixels in ((1, (46, 47)), (3, (34, 35))):
        check_all(cpu, same_size(batch, channels, 48, pixels), direction, True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_converted(cpu: abi.Library, dtype: str) -> None:
    """Half types that are widened first, and those that the processor has."""
    if dtype == "bfloat16" and abi.BFLOAT16 is None:
        pytest.skip("needs ml_dtypes")
    numbers = whole_numbers(same_size(2, 17, 20, (5, 7)))
    kind = abi.BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    case = with_exact(numbers.shape, *(a.astype(kind) for a in (numbers.x, numbers.w, numbers.y)))
    for direction in abi.DIRECTIONS:
        with (
            cpu.handle() as handle,
            abi.problem(
                cpu, handle, direction, *case.arrays(direction, False), **case.shape.settings()
            ) as problem,
        ):
            for solution in problem.solutions():
                problem.immediate(solution)
                case.check(direction, problem.out, cpu.solution_name(solution.solution_id))


@pytest.mark.parametrize("aliased", [False, True], ids=["z", "z_is_y"])
@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
@pytest.mark.parametrize(
    "shape",
    [
        same_size(1, 17, 40, (7, 7)),
        same_size(3, 64, 100, (14, 15)),
        same_size(1, 40, 17, (30, 31)),
        same_size(3, 16, 40, (1, 300)),
        same_size(1, 100, 100, (2, 3, 7)),
        same_size(2, 40, 40, (9, 7), 40),
    ],
    ids=lambda s: s.name,
)
def test_sums(cpu: abi.Library, threads: int, shape: Shape, aliased: bool) -> None:
    """z comes to where the convolution adds to it, also where it lies in the output's place."""
    case = whole_numbers(shape)
    z = np.random.default_rng(2).integers(-9, 10, shape.y).astype(np.float32)
    before = z.copy()
    y = z if aliased else np.full(shape.y, np.nan, np.float32)
    x, w, _ = case.arrays(abi.FORWARD, False)
    bias = np.arange(shape.w[0], dtype=np.float32)
    with ExitStack() as stack:
        handle: c.c_void_p = stack.enter_context(cpu.handle())
        assert fused_call(cpu, handle, shape, x, w, y, z, 2.0, bias, abi.RELU) == 0
    added = 2 * before.astype(np.float64) + bias.reshape(-1, *(1 for _ in shape.y[2:]))
    expected = np.maximum(case.exact[abi.FORWARD] + added, 0)
    # Plain sums are exact; the first solution may be Winograd's.
    slack = case.transform_bound[abi.FORWARD] + 1e-6 * np.abs(added)
    assert (np.abs(y - expected) <= slack).all()
    if not aliased:
        np.testing.assert_array_equal(z, before)
