"""The CPU library's own reorder of weights between plain and blocked layouts."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from . import abi
from .cases import Case, Shape, with_exact

# Channels in and out that fill no block (of 16 to 64), kernels whose rows fill no strip of 16.
SHAPES = [
    Shape("tails", (1, 37, 6, 5), (50, 37, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("full", (1, 64, 5, 5), (128, 64, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("two_taps", (1, 19, 4, 3), (130, 19, 1, 2), (1, 1), (0, 1), (1, 1)),
    Shape("pointwise", (1, 90, 4, 3), (130, 90, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("pointwise_full", (1, 128, 4, 4), (64, 128, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("long_groups", (1, 96, 1, 20), (96, 48, 1, 32), (1, 1), (0, 16), (1, 1), 2),
    Shape("groups_with_tails", (1, 60, 5, 4), (69, 20, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    Shape("volume", (1, 21, 3, 4, 5), (35, 21, 3, 2, 3), (1, 1, 1), (1, 0, 1), (1, 1, 1)),
    Shape("transposed", (1, 37, 5, 4), (37, 50, 3, 3), (2, 2), (1, 1), (1, 1), 1, True),
]


@cache
def whole_numbers(shape: Shape) -> Case:
    """Small whole numbers: every plain sum of them is exact, so that one wrong weight shows."""
    rng = np.random.default_rng(1)
    x, w, y = (rng.integers(-4, 5, s).astype(np.float32) for s in (shape.x, shape.w, shape.y))
    return with_exact(shape, x, w, y)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
@pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
@pytest.mark.parametrize("direction", abi.DIRECTIONS)
def test_blocked_weights(cpu: abi.Library, shape: Shape, last: bool, direction: str) -> None:
    case = whole_numbers(shape)
    arrays = case.arrays(direction, last)
    with (
        cpu.handle() as handle,
        abi.problem(cpu, handle, direction, *arrays, **shape.settings()) as problem,
    ):
        for solution in problem.solutions():
            problem.out[...] = np.nan
            problem.immediate(solution)
            name = cpu.solution_name(solution.solution_id)
            if "winograd" in name:
                case.check(direction, problem.out, name)
            else:
                np.testing.assert_array_equal(problem.out, case.exact[direction], err_msg=name)
