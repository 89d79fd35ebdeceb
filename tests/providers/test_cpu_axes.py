"""Three spatial axes that the CPU library computes as two."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import Case, Shape
from .test_convolution import by_direction, by_dtype, by_layout, case_of


@pytest.fixture
def handle(cpu: abi.Library) -> Iterator[ctypes.c_void_p]:
    with cpu.handle() as handle:
        yield handle


# Each with the shape that it is computed as; its strides let it be.
PAIRS = [
    (Shape("in_time", (2, 16, 6, 5, 4), (24, 16, 3, 1, 1), (2, 1, 1), (1, 0, 0), (1, 1, 1)),
     Shape("in_time", (2, 16, 6, 20), (24, 16, 3, 1), (2, 1), (1, 0), (1, 1))),
    (Shape("in_width", (1, 4, 3, 5, 9), (6, 2, 1, 1, 4), (1, 1, 3), (0, 0, 2), (3, 2, 1), 2),
     Shape("in_width", (1, 4, 15, 9), (6, 2, 1, 4), (1, 3), (0, 2), (2, 1), 2)),
    (Shape("nowhere", (2, 8, 3, 4, 5), (16, 8, 1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1)),
     Shape("nowhere", (2, 8, 12, 5), (16, 8, 1, 1), (1, 1), (0, 0), (1, 1))),
    (Shape("one_deep", (2, 8, 1, 7, 6), (8, 8, 1, 3, 3), (2, 1, 2), (0, 1, 1), (1, 2, 1)),
     Shape("one_deep", (2, 8, 7, 6), (8, 8, 3, 3), (1, 2), (1, 1), (2, 1))),
    (Shape("one_high", (1, 8, 7, 1, 6), (8, 1, 3, 1, 3), (1, 3, 2), (1, 0, 1), (1, 1, 1), 8),
     Shape("one_high", (1, 8, 7, 6), (8, 1, 3, 3), (1, 2), (1, 1), (1, 1), 8)),
    (Shape("one_wide", (1, 5, 7, 6, 1), (8, 5, 3, 2, 1), (1, 2, 2), (1, 0, 0), (1, 1, 1)),
     Shape("one_wide", (1, 5, 7, 6), (8, 5, 3, 2), (1, 2), (1, 0), (1, 1))),
    (Shape("transformed", (1, 32, 6, 7, 1), (32, 32, 3, 3, 1), (1, 1, 1), (1, 0, 0), (1, 1, 1)),
     Shape("transformed", (1, 32, 6, 7), (32, 32, 3, 3), (1, 1), (1, 0), (1, 1))),
    (Shape("turned", (2, 6, 3, 4, 5), (6, 8, 3, 1, 1), (2, 1, 1), (1, 0, 0), (1, 1, 1), 1, True,
           (1, 0, 0)),
     Shape("turned", (2, 6, 3, 20), (6, 8, 3, 1), (2, 1), (1, 0), (1, 1), 1, True, (1, 0))),
]  # fmt: skip

by_pair = pytest.mark.parametrize("pair", PAIRS, ids=[pair[0].name for pair in PAIRS])


def names(cpu: abi.Library, problem: Any) -> list[str]:
    return [cpu.solution_name(s.solution_id) for s in problem.solutions()]


def check_all(cpu: abi.Library, problem: Any, case: Case, direction: str) -> None:
    for solution in problem.solutions():
        problem.out[...] = np.nan
        problem.immediate(solution)
        case.check(direction, problem.out, cpu.solution_name(solution.solution_id))


@by_direction
@by_layout
@by_dtype
@by_pair
def test_computed_as_fewer_axes(
    cpu: abi.Library, handle: Any, pair: tuple[Shape, Shape], dtype: Any, last: bool,
    direction: str,
) -> None:  # fmt: skip
    """What is listed for two axes is listed for three, and is right."""
    shape, flat = pair
    case = case_of(shape, dtype)
    arrays = case.arrays(direction, last)
    with abi.problem(cpu, handle, direction, *arrays, **shape.settings()) as problem:
        listed = names(cpu, problem)
        check_all(cpu, problem, case, direction)
    arrays = case_of(flat, dtype).arrays(direction, last)
    with abi.problem(cpu, handle, direction, *arrays, **flat.settings()) as problem:
        assert listed == names(cpu, problem)


@by_direction
@by_layout
@by_pair
def test_axes_with_a_gap_between_them(
    cpu: abi.Library, handle: Any, pair: tuple[Shape, Shape], last: bool, direction: str
) -> None:
    """Parts of larger tensors, in one of the three operands or in all."""
    shape, _ = pair
    case = case_of(shape, np.dtype(np.float32))
    for with_gaps in ((0,), (1,), (2,), (0, 1, 2)):
        arrays = list(case.arrays(direction, last))
        for i in with_gaps:
            around = np.full([n + 1 for n in arrays[i].shape], np.nan, arrays[i].dtype)
            around = abi.channels_last(around) if last else around
            view = around[tuple(slice(0, n) for n in arrays[i].shape)]
            view[...] = arrays[i]
            arrays[i] = view
        with abi.problem(cpu, handle, direction, *arrays, **shape.settings()) as problem:
            check_all(cpu, problem, case, direction)
