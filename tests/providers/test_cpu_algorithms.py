"""The CPU library's own algorithms: Winograd's, and the one for problems of a few operations."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import SHAPES, Shape, cpu_threads, with_exact
from .test_convolution import by_direction, by_layout, case_of


@pytest.fixture
def handle(cpu: abi.Library) -> Iterator[ctypes.c_void_p]:
    with cpu.handle() as handle:
        yield handle


WINOGRAD = [
    Shape("square", (2, 32, 12, 12), (48, 32, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("no_padding", (1, 40, 7, 6), (32, 40, 3, 3), (1, 1), (0, 0), (1, 1)),
    Shape("wide_padding", (3, 33, 4, 9), (35, 33, 3, 3), (1, 1), (2, 1), (1, 1)),
    Shape("one_pixel", (2, 32, 1, 1), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("many_blocks", (5, 64, 34, 30), (32, 64, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("depth", (2, 32, 3, 6, 5), (64, 32, 1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1)),
]


def winograd_solutions(cpu: abi.Library, problem: Any) -> dict[str, Any]:
    found = {cpu.solution_name(s.solution_id): s for s in problem.solutions()}
    return {name: s for name, s in found.items() if name.startswith("winograd")}


@by_direction
@by_layout
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", WINOGRAD, ids=lambda s: s.name)
def test_winograd(
    cpu: abi.Library, handle: Any, shape: Shape, threads: int, last: bool, direction: str
) -> None:
    """Both tile sizes are listed and right, whatever lay in the scratch memory."""
    case = case_of(shape, np.dtype(np.float32))
    arrays = case.arrays(direction, last)
    with (
        cpu_threads(cpu, threads),
        abi.problem(cpu, handle, direction, *arrays, **shape.settings()) as problem,
    ):
        found = winograd_solutions(cpu, problem)
        assert sorted(name[:12] for name in found) == ["winograd_2x2", "winograd_4x4"]
        for name, solution in found.items():
            assert solution.algorithm == abi.WINOGRAD
            problem.out[...] = np.nan
            problem.immediate(solution)
            case.check(direction, problem.out, name)


@by_direction
@by_layout
def test_winograd_is_exact_where_its_transforms_are(
    cpu: abi.Library, handle: Any, last: bool, direction: str
) -> None:
    """Small integers, the weights multiples of 4: F(2x2) then rounds nowhere."""
    shape = WINOGRAD[2]
    rng = np.random.default_rng(3)
    x, w, y = (
        rng.integers(-4, 5, s).astype(np.float32) * np.float32(scale)
        for s, scale in ((shape.x, 1), (shape.w, 4), (shape.y, 4))
    )
    case = with_exact(shape, x, w, y)
    with abi.problem(
        cpu, handle, direction, *case.arrays(direction, last), **shape.settings()
    ) as problem:
        for name, solution in winograd_solutions(cpu, problem).items():
            problem.immediate(solution)
            if name.startswith("winograd_2x2"):
                np.testing.assert_array_equal(problem.out, case.exact[direction])


@pytest.mark.parametrize(
    "shape",
    [
        Shape("strided", (1, 32, 9, 9), (32, 32, 3, 3), (2, 2), (1, 1), (1, 1)),
        Shape("dilated", (1, 32, 9, 9), (32, 32, 3, 3), (1, 1), (1, 1), (2, 2)),
        Shape("grouped", (1, 64, 9, 9), (64, 32, 3, 3), (1, 1), (1, 1), (1, 1), 2),
        Shape("narrow", (1, 16, 9, 9), (32, 16, 3, 3), (1, 1), (1, 1), (1, 1)),
        Shape("large_kernel", (1, 32, 9, 9), (32, 32, 5, 5), (1, 1), (1, 1), (1, 1)),
        Shape("far_padding", (1, 32, 9, 9), (32, 32, 3, 3), (1, 1), (3, 1), (1, 1)),
        Shape("volume", (1, 32, 3, 9, 9), (32, 32, 3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)),
    ],
    ids=lambda s: s.name,
)  # fmt: skip
def test_winograd_leaves_other_problems_alone(cpu: abi.Library, handle: Any, shape: Shape) -> None:
    case = case_of(shape, np.dtype(np.float32))
    with abi.problem(
        cpu, handle, abi.FORWARD, *case.arrays(abi.FORWARD, True), **shape.settings()
    ) as problem:
        assert not winograd_solutions(cpu, problem)


@by_direction
@by_layout
@pytest.mark.parametrize(
    "name", ["tiny", "small", "small_groups", "small_volume", "small_transposed"]
)
def test_small_problems_have_a_way_without_onednn(
    cpu: abi.Library, handle: Any, name: str, last: bool, direction: str
) -> None:
    """And need no scratch memory for it; `test_every_solution_is_right` has its numbers."""
    shape = next(s for s in SHAPES if s.name == name)
    case = case_of(shape, np.dtype(np.float32))
    with abi.problem(
        cpu, handle, direction, *case.arrays(direction, last), **shape.settings()
    ) as problem:
        found = {cpu.solution_name(s.solution_id): s for s in problem.solutions()}
        assert found["small_direct|asis"].workspace_size == 0
