"""The CPU library's gradients of weights by matrix products on pieces of the input's columns."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

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
from .test_convolution import by_layout, case_of

SHAPES = [
    Shape("three", (2, 20, 9, 8), (33, 20, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("many_pieces", (1, 150, 7, 7), (24, 150, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("collected", (6, 37, 7, 7), (18, 37, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("blocks_of_images", (3, 17, 16, 15), (19, 17, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("blocks_of_pixels", (1, 3, 96, 90), (5, 3, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("pointwise", (1, 40, 7, 7), (48, 40, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("pointwise_batch", (3, 40, 15, 14), (48, 40, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("pointwise_collected", (4, 40, 7, 7), (24, 40, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("one_pixel", (8, 48, 1, 1), (20, 48, 1, 1), (1, 1), (0, 0), (1, 1)),
    Shape("strided", (2, 17, 13, 14), (20, 17, 3, 5), (2, 3), (1, 2), (1, 1)),
    Shape("dilated", (1, 16, 15, 12), (16, 16, 3, 3), (1, 2), (2, 4), (2, 3)),
    Shape("only_padding", (1, 16, 2, 1), (16, 16, 3, 4), (2, 3), (4, 6), (1, 1)),
    Shape("dead_taps", (2, 18, 1, 7), (21, 18, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("long_kernel", (2, 12, 1, 20), (18, 4, 1, 32), (1, 1), (0, 16), (1, 1), 3),
    Shape("groups", (3, 24, 9, 8), (30, 8, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    Shape("one_channel", (2, 1, 11, 12), (20, 1, 3, 4), (2, 1), (1, 1), (1, 1)),
    Shape("one_output", (2, 20, 9, 8), (1, 20, 3, 3), (1, 1), (1, 1), (1, 1)),
    Shape("volume", (2, 9, 4, 5, 6), (8, 9, 3, 2, 3), (1, 1, 2), (1, 0, 2), (2, 1, 1)),
]  # fmt: skip
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
WEIGHTS = abi.BACKWARD_WEIGHTS
GEMM = 0  # miopenConvAlgorithm_t


@pytest.fixture
def handle(cpu: abi.Library) -> Iterator[ctypes.c_void_p]:
    with cpu.handle() as handle:
        yield handle


def matmul_solution(cpu: abi.Library, problem: Any) -> Any:
    found = [
        s for s in problem.solutions() if cpu.solution_name(s.solution_id).startswith("matmul")
    ]
    assert all(s.algorithm == GEMM for s in found)
    return found[0] if found else None


def run(cpu: abi.Library, handle: Any, shape: Shape, arrays: Any) -> np.ndarray:
    with abi.problem(cpu, handle, WEIGHTS, *arrays, **shape.settings()) as problem:
        solution = matmul_solution(cpu, problem)
        assert solution is not None
        problem.immediate(solution)
        result: np.ndarray = problem.out
        return result


def meets_the_input(shape: Shape) -> bool:
    """Not only padding: there are columns."""
    axes = zip(
        shape.x[2:], shape.y[2:], shape.w[2:], shape.stride, shape.padding, shape.dilation,
        strict=True,
    )  # fmt: skip
    return all(
        any(0 <= o * step - pad + t * gap < size for o in range(outputs) for t in range(taps))
        for size, outputs, taps, step, pad, gap in axes
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
@by_layout
@by_shape
def test_sums(cpu: abi.Library, handle: Any, shape: Shape, threads: int, last: bool) -> None:
    """Whatever lay in the result and in the scratch memory."""
    case = case_of(shape, np.dtype(np.float32))
    with cpu_threads(cpu, threads):
        out = run(cpu, handle, shape, case.arrays(WEIGHTS, last))
    case.check(WEIGHTS, out)


@by_layout
@by_shape
def test_layouts_may_differ(cpu: abi.Library, handle: Any, shape: Shape, last: bool) -> None:
    case = case_of(shape, np.dtype(np.float32))
    x, w, y = case.arrays(WEIGHTS, last)
    other = np.ascontiguousarray if last else abi.channels_last
    case.check(WEIGHTS, run(cpu, handle, shape, (other(x), w, y)))
    case.check(WEIGHTS, run(cpu, handle, shape, (x, w, other(y))))
    case.check(WEIGHTS, run(cpu, handle, shape, (x, other(w), y)))


@by_layout
@by_shape
def test_weights_with_gaps(cpu: abi.Library, handle: Any, shape: Shape, last: bool) -> None:
    """Nothing beside them is written."""
    case = case_of(shape, np.dtype(np.float32))
    x, w, y = case.arrays(WEIGHTS, last)
    around, view = with_margin(w, last)
    case.check(WEIGHTS, run(cpu, handle, shape, (x, view, y)))
    assert_margin_untouched(around, view)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_problem(cpu: abi.Library, data: st.DataObject) -> None:
    """Small integers: exact, whatever the order of the sums."""
    draw = data.draw
    rank = draw(st.integers(2, 3))
    groups = draw(st.integers(1, 3))
    spatial = [draw(st.integers(1, 9)) for _ in range(rank)]
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    stride = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    padding = []
    for size, taps, gap in zip(spatial, kernel, dilation, strict=True):
        least = max(0, (gap * (taps - 1) + 2 - size) // 2)
        padding.append(draw(st.integers(least, least + 2)))
    channels, outputs = draw(st.integers(2, 40)), draw(st.integers(1, 40))
    shape = Shape(
        "drawn", (draw(st.integers(1, 6)), groups * channels, *spatial),
        (groups * outputs, channels, *kernel), stride, tuple(padding), dilation, groups,
    )  # fmt: skip
    assume(meets_the_input(shape))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x, w, y = (rng.integers(-3, 4, size).astype(np.float32) for size in (shape.x, shape.w, shape.y))
    case: Case = with_exact(shape, x, w, y)
    with cpu.handle() as handle:
        out = run(cpu, handle, shape, case.arrays(WEIGHTS, draw(st.booleans())))
    np.testing.assert_array_equal(out, case.exact[WEIGHTS])


@by_layout
def test_bits_are_the_same_at_every_run(cpu: abi.Library, handle: Any, last: bool) -> None:
    shape = Shape("big", (4, 70, 14, 13), (60, 70, 3, 3), (1, 1), (1, 1), (1, 1))
    arrays = case_of(shape, np.dtype(np.float32)).arrays(WEIGHTS, last)
    first = run(cpu, handle, shape, arrays).tobytes()
    for _ in range(5):
        assert run(cpu, handle, shape, arrays).tobytes() == first


@by_layout
@pytest.mark.parametrize(
    ("shape", "most"),
    [
        (Shape("pointwise", (1, 512, 7, 7), (2048, 512, 1, 1), (1, 1), (0, 0), (1, 1)), 0.01),
        (Shape("three", (1, 512, 7, 7), (512, 512, 3, 3), (1, 1), (1, 1), (1, 1)), 0.25),
        (Shape("batch", (8, 512, 7, 7), (512, 512, 3, 3), (1, 1), (1, 1), (1, 1)), 0.5),
        (Shape("positions", (1, 768, 1, 49), (768, 48, 1, 128), (1, 1), (0, 64), (1, 1), 16), 0.25),
        (Shape("large", (2, 32, 112, 112), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1)), 0.5),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_scratch_memory_is_small(
    cpu: abi.Library, handle: Any, shape: Shape, most: float, last: bool
) -> None:
    """A fraction of the tensors, and none of our own where nothing is gathered."""
    x, w, y = (abi.empty_like_layout(s, np.float32, last) for s in (shape.x, shape.w, shape.y))
    with abi.problem(cpu, handle, WEIGHTS, x, w, y, **shape.settings()) as problem:
        needed = matmul_solution(cpu, problem).workspace_size
    assert needed <= most * (x.nbytes + w.nbytes + y.nbytes)


@by_layout
def test_not_finite_values_come_through(cpu: abi.Library, handle: Any, last: bool) -> None:
    shape = SHAPES[0]
    made = make_case(shape, np.float32, 5)
    made.y[1, 7, 4, 4] = np.nan
    out = run(cpu, handle, shape, made.arrays(WEIGHTS, last))
    assert np.isnan(out[7]).all()
    assert np.isfinite(np.delete(out, 7, axis=0)).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "direction"),
    [
        (SHAPES[0], np.float32, abi.FORWARD),
        (SHAPES[0], np.float32, abi.BACKWARD_DATA),
        (SHAPES[0], np.float16, WEIGHTS),
        (Shape("depthwise", (1, 32, 9, 9), (32, 1, 3, 3), (1, 1), (1, 1), (1, 1), 32), np.float32,
         WEIGHTS),
    ],
)  # fmt: skip
def test_other_problems_are_left_alone(
    cpu: abi.Library, handle: Any, shape: Shape, dtype: Any, direction: str
) -> None:
    case = case_of(shape, np.dtype(dtype))
    with abi.problem(
        cpu, handle, direction, *case.arrays(direction, False), **shape.settings()
    ) as problem:
        assert matmul_solution(cpu, problem) is None
