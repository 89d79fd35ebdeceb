"""The CUDA library's own kernels for depthwise convolutions in half types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import Shape, make_case

SHAPES = [
    Shape("three", (2, 32, 9, 8), (32, 1, 3, 3), (1, 1), (1, 1), (1, 1), 32),
    Shape("five", (1, 48, 7, 7), (48, 1, 5, 5), (1, 1), (2, 2), (1, 1), 48),
    Shape("five_strided", (3, 16, 13, 14), (16, 1, 5, 5), (2, 2), (2, 2), (1, 1), 16),
    Shape("three_strided", (2, 80, 14, 14), (80, 1, 3, 3), (2, 2), (1, 1), (1, 1), 80),
    Shape("many_parts", (5, 4, 60, 61), (4, 1, 3, 3), (1, 1), (1, 1), (1, 1), 4),
    Shape("odd_channels", (2, 37, 8, 11), (37, 1, 3, 5), (1, 2), (0, 2), (1, 1), 37),
    Shape("even_kernel", (2, 6, 12, 10), (6, 1, 4, 2), (1, 1), (1, 0), (1, 1), 6),
    Shape("dilated", (1, 16, 15, 12), (16, 1, 3, 3), (1, 2), (2, 4), (2, 3), 16),
    Shape("wide_padding", (1, 16, 5, 6), (16, 1, 3, 3), (1, 1), (4, 5), (1, 1), 16),
    Shape("only_padding", (1, 16, 2, 1), (16, 1, 3, 4), (2, 3), (4, 6), (1, 1), 16),
    Shape("pixel", (2, 32, 4, 5), (32, 1, 1, 1), (1, 1), (0, 0), (1, 1), 32),
    Shape("words_of_four", (2, 8, 9, 12), (8, 1, 3, 3), (1, 1), (1, 1), (1, 1), 8),
    Shape("words_of_two_strided", (2, 8, 10, 18), (8, 1, 5, 3), (2, 2), (2, 1), (1, 1), 8),
    Shape("wide_strides", (2, 8, 17, 18), (8, 1, 3, 4), (3, 3), (1, 2), (1, 1), 8),
    Shape("padded_beyond", (1, 8, 6, 8), (8, 1, 2, 2), (1, 2), (4, 4), (1, 1), 8),
    Shape("row", (1, 18, 1, 600), (18, 1, 1, 9), (1, 2), (0, 4), (1, 1), 18),
]  # fmt: skip
HALF_TYPES = [np.dtype(np.float16), *([abi.BFLOAT16] if abi.BFLOAT16 is not None else [])]


@pytest.fixture(scope="module")
def cuda(library: abi.Library) -> abi.Library:
    if library.provider != "cuda":
        pytest.skip("of the CUDA library")
    return library


def own_solutions(cuda: abi.Library, problem: Any) -> dict[str, Any]:
    named = {cuda.solution_name(s.solution_id): s for s in problem.solutions(4000)}
    return {name: s for name, s in named.items() if ":depthwise" in name}


@pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
@pytest.mark.parametrize("direction", abi.DIRECTIONS)
@pytest.mark.parametrize("dtype", HALF_TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
def test_sums(
    cuda: abi.Library, handle: Any, shape: Shape, dtype: Any, direction: str, last: bool
) -> None:
    """Whatever lay in the result, and with the same bits at every run."""
    if last and shape.x[1] % 2:
        pytest.skip("pairs of channels only")
    case = make_case(shape, dtype)
    arrays = case.arrays(direction, last)
    with abi.problem(cuda, handle, direction, *arrays, **shape.settings()) as problem:
        solutions = own_solutions(cuda, problem)
        assert solutions
        for name, solution in solutions.items():
            bits = []
            for _ in range(2):
                problem.out[...] = np.nan
                problem.immediate(solution)
                case.check(direction, problem.out, name)
                bits.append(problem.out.tobytes())
            assert bits[0] == bits[1]


@pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
def test_infinities_stay_where_they_are(cuda: abi.Library, handle: Any, last: bool) -> None:
    """The corner of x meets the last tap alone, however tiles reach beyond the results."""
    shape = Shape("uneven", (1, 4, 11, 9), (4, 1, 3, 3), (1, 1), (0, 0), (1, 1), 4)
    case = make_case(shape, np.dtype(np.float16))
    x, w, y = case.arrays(abi.BACKWARD_WEIGHTS, last)
    x = x.copy("K")
    x[..., -1, -1] = np.inf
    with abi.problem(cuda, handle, abi.BACKWARD_WEIGHTS, x, w, y, **shape.settings()) as problem:
        for name, solution in own_solutions(cuda, problem).items():
            problem.out[...] = np.nan
            problem.immediate(solution)
            finite = np.isfinite(problem.out)
            assert not finite[..., -1, -1].any(), name
            assert finite.reshape(4, 9)[:, :-1].all(), name


@pytest.mark.parametrize(
    "shape",
    [
        Shape("multiplier", (1, 6, 9, 9), (12, 1, 3, 3), (1, 1), (1, 1), (1, 1), 6),
        Shape("large_kernel", (1, 8, 9, 9), (8, 1, 7, 7), (1, 1), (3, 3), (1, 1), 8),
        Shape("plain", (1, 8, 9, 9), (8, 8, 3, 3), (1, 1), (1, 1), (1, 1)),
    ],
    ids=lambda s: s.name,
)
def test_what_it_leaves_to_others(cuda: abi.Library, handle: Any, shape: Shape) -> None:
    arrays = make_case(shape, np.dtype(np.float16)).arrays(abi.FORWARD, False)
    with abi.problem(cuda, handle, abi.FORWARD, *arrays, **shape.settings()) as problem:
        assert not own_solutions(cuda, problem)
