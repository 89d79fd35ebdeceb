"""The CPU library's own kernels for depthwise convolutions."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import (
    Case,
    Shape,
    assert_margin_untouched,
    cpu_threads,
    make_case,
    with_exact,
    with_margin,
)
from .test_convolution import case_of

SHAPES = [
    Shape("three", (2, 32, 9, 8), (32, 1, 3, 3), (1, 1), (1, 1), (1, 1), 32),
    Shape("five", (1, 48, 7, 7), (48, 1, 5, 5), (1, 1), (2, 2), (1, 1), 48),
    Shape("five_strided", (3, 16, 13, 14), (16, 1, 5, 5), (2, 2), (2, 2), (1, 1), 16),
    Shape("last_block_overlaps", (2, 37, 8, 11), (37, 1, 3, 5), (1, 2), (0, 2), (1, 1), 37),
    Shape("few_channels", (2, 5, 12, 10), (5, 1, 4, 2), (1, 1), (1, 0), (1, 1), 5),
    Shape("multiplier", (2, 9, 8, 9), (27, 1, 3, 3), (1, 1), (1, 1), (1, 1), 9),
    Shape("one_channel", (2, 1, 11, 12), (20, 1, 3, 4), (2, 1), (1, 1), (1, 1), 1),
    Shape("wide_kernel", (1, 17, 15, 16), (17, 1, 7, 11), (1, 1), (3, 5), (1, 1), 17),
    Shape("dilated", (1, 16, 15, 12), (16, 1, 3, 3), (1, 2), (2, 4), (2, 3), 16),
    Shape("only_padding", (1, 16, 2, 1), (16, 1, 3, 4), (2, 3), (4, 6), (1, 1), 16),
    Shape("pixel", (2, 32, 4, 5), (32, 1, 1, 1), (1, 1), (0, 0), (1, 1), 32),
    Shape("row", (1, 18, 1, 6000), (18, 1, 1, 9), (1, 2), (0, 4), (1, 1), 18),
    Shape("many_rows", (1, 16, 90, 61), (16, 1, 3, 3), (1, 1), (1, 1), (1, 1), 16),
    Shape("volume", (2, 19, 4, 5, 6), (19, 1, 3, 2, 3), (1, 1, 2), (1, 0, 2), (2, 1, 1), 19),
]  # fmt: skip


# Channels-last activations are filtered by oneDNN, where a channel has one output.
KINDS = [
    (abi.FORWARD, False),
    (abi.BACKWARD_DATA, False),
    (abi.BACKWARD_WEIGHTS, False),
    (abi.BACKWARD_WEIGHTS, True),
]
by_kind = pytest.mark.parametrize(("direction", "last"), KINDS)
by_shape_and_kind = pytest.mark.parametrize(
    ("shape", "direction", "last"),
    [
        pytest.param(shape, direction, last, id=f"{shape.name}-{direction}-{last}")
        for shape in SHAPES
        for direction, last in KINDS
        # The gradient of the input is for one output a channel.
        if direction != abi.BACKWARD_DATA or shape.x[1] == shape.y[1]
    ],
)


@pytest.fixture
def handle(cpu: abi.Library) -> Iterator[ctypes.c_void_p]:
    with cpu.handle() as handle:
        yield handle


def depthwise_solution(cpu: abi.Library, problem: Any) -> Any:
    found = [
        s for s in problem.solutions() if cpu.solution_name(s.solution_id).startswith("depthwise")
    ]
    return found[0] if found else None


def run(cpu: abi.Library, handle: Any, case: Case, direction: str, arrays: Any) -> np.ndarray:
    with abi.problem(cpu, handle, direction, *arrays, **case.shape.settings()) as problem:
        solution = depthwise_solution(cpu, problem)
        assert solution is not None
        problem.immediate(solution)
        result: np.ndarray = problem.out
        return result


@pytest.mark.parametrize("threads", [1, 2, 3])
@by_shape_and_kind
def test_sums(
    cpu: abi.Library, handle: Any, shape: Shape, threads: int, last: bool, direction: str
) -> None:
    """Whatever lay in the result and in the scratch memory."""
    case = case_of(shape, np.dtype(np.float32))
    with cpu_threads(cpu, threads):
        out = run(cpu, handle, case, direction, case.arrays(direction, last))
    case.check(direction, out)


@by_shape_and_kind
def test_layouts_may_differ(
    cpu: abi.Library, handle: Any, shape: Shape, direction: str, last: bool
) -> None:
    case = case_of(shape, np.dtype(np.float32))
    x, w, y = case.arrays(direction, last)
    other = np.ascontiguousarray if last else abi.channels_last
    case.check(direction, run(cpu, handle, case, direction, (other(x), w, y)))
    case.check(direction, run(cpu, handle, case, direction, (x, w, other(y))))
    case.check(direction, run(cpu, handle, case, direction, (x, other(w), y)))


@by_shape_and_kind
def test_gaps(cpu: abi.Library, handle: Any, shape: Shape, last: bool, direction: str) -> None:
    """Tensors that are parts of larger ones; nothing beside them is written."""
    case = case_of(shape, np.dtype(np.float32))
    placed = [with_margin(array, last) for array in case.arrays(direction, last)]
    case.check(direction, run(cpu, handle, case, direction, [view for _, view in placed]))
    for around, view in placed:
        assert_margin_untouched(around, view)


@by_shape_and_kind
def test_not_finite_as_in_a_plain_sum(
    cpu: abi.Library, handle: Any, shape: Shape, last: bool, direction: str
) -> None:
    """A NaN or an infinity is in the results that it enters, zero times it or not, and no others.

    Padding is nothing at all: it does not meet an infinity either.
    """
    made = make_case(shape, np.float32, 5)
    operands = {abi.FORWARD: "xw", abi.BACKWARD_DATA: "yw", abi.BACKWARD_WEIGHTS: "xy"}[direction]
    rng = np.random.default_rng(6)
    marks = {}
    for name in operands:
        array = getattr(made, name)
        marks[name] = np.zeros_like(array)
        marks[name].flat[rng.integers(array.size)] = 1
        array[...] = np.where(marks[name] == 1, np.inf if name == operands[0] else np.nan, 0)
    out = run(cpu, handle, made, direction, made.arrays(direction, last))
    entered = sum(
        with_exact(
            shape, *(marks[role] if role == name else np.ones_like(getattr(made, role))
                     for role in "xwy"),
        ).exact[direction]
        for name in operands
    )  # fmt: skip
    assert (np.isnan(out) == (entered > 0)).all()
    assert (out[entered == 0] == 0).all()


@by_kind
def test_bits_are_the_same_at_every_run(
    cpu: abi.Library, handle: Any, last: bool, direction: str
) -> None:
    shape = Shape("big", (3, 40, 60, 50), (40, 1, 5, 5), (1, 1), (2, 2), (1, 1), 40)
    case = case_of(shape, np.dtype(np.float32))
    arrays = case.arrays(direction, last)
    first = run(cpu, handle, case, direction, arrays).tobytes()
    for _ in range(5):
        assert run(cpu, handle, case, direction, arrays).tobytes() == first


@by_kind
def test_scratch_memory_is_small(cpu: abi.Library, handle: Any, last: bool, direction: str) -> None:
    """Less than the tensors, and not growing with the images."""
    needed = []
    for images in (1, 8):
        shape = Shape("big", (images, 64, 56, 56), (64, 1, 5, 5), (1, 1), (2, 2), (1, 1), 64)
        x, w, y = (abi.empty_like_layout(s, np.float32, last) for s in (shape.x, shape.w, shape.y))
        with abi.problem(cpu, handle, direction, x, w, y, **shape.settings()) as problem:
            needed.append(depthwise_solution(cpu, problem).workspace_size)
        assert needed[-1] < x.nbytes + w.nbytes + y.nbytes
    assert needed[0] == needed[1]


@pytest.mark.parametrize(
    ("shape", "dtype", "direction", "last"),
    [
        (Shape("groups", (1, 32, 9, 9), (32, 2, 3, 3), (1, 1), (1, 1), (1, 1), 16), np.float32,
         abi.BACKWARD_WEIGHTS, False),
        (SHAPES[0], np.float16, abi.BACKWARD_WEIGHTS, False),
        (SHAPES[0], np.float32, abi.FORWARD, True),
        (next(s for s in SHAPES if s.name == "multiplier"), np.float32, abi.BACKWARD_DATA, False),
    ],
)  # fmt: skip
def test_other_problems_are_left_alone(
    cpu: abi.Library, handle: Any, shape: Shape, dtype: Any, direction: str, last: bool
) -> None:
    case = case_of(shape, np.dtype(dtype))
    with abi.problem(
        cpu, handle, direction, *case.arrays(direction, last), **shape.settings()
    ) as problem:
        assert depthwise_solution(cpu, problem) is None
