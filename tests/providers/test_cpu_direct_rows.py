"""The CPU library's own kernel for short rows and long kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.tolerances import assert_close, gamma

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
from .test_operations import fused_call, per_channel

NAME = "direct_rows|asis"
DIRECT = 1  # miopenConvAlgorithm_t

ONE, NO = (1, 1), (0, 0)
POSITIONS = Shape("positions", (1, 768, 1, 49), (768, 48, 1, 128), ONE, (0, 64), ONE, 16)
SHAPES = [
    Shape("four_vectors", (1, 24, 1, 49), (24, 12, 1, 128), ONE, (0, 64), ONE, 2),
    Shape("three_vectors", (2, 18, 1, 40), (12, 18, 1, 64), ONE, (0, 32), ONE),
    Shape("two_vectors", (2, 6, 1, 31), (12, 3, 1, 32), ONE, (0, 15), ONE, 2),
    Shape("one_vector", (3, 8, 1, 16), (6, 8, 1, 33), ONE, (0, 16), ONE),
    Shape("pieces", (1, 7, 1, 230), (9, 7, 1, 66), ONE, (0, 33), ONE),
    Shape("last_block_overlaps", (1, 17, 1, 20), (20, 17, 1, 65), ONE, (0, 40), ONE),
    Shape("few_channels", (2, 10, 1, 21), (15, 2, 1, 40), ONE, (0, 20), ONE, 5),
    Shape("one_channel", (1, 1, 1, 50), (1, 1, 1, 32), ONE, (0, 16), ONE),
    Shape("no_padding", (1, 8, 1, 100), (8, 8, 1, 64), ONE, NO, ONE),
    Shape("one_result", (2, 8, 1, 64), (8, 8, 1, 64), ONE, NO, ONE),
    Shape("padding_beyond_the_kernel", (1, 5, 1, 9), (7, 5, 1, 32), ONE, (0, 50), ONE),
    Shape("one_pixel", (2, 6, 1, 1), (6, 6, 1, 32), ONE, (0, 20), ONE),
    Shape("few_pixels", (1, 6, 1, 3), (6, 6, 1, 64), ONE, (0, 63), ONE),
    Shape("image", (2, 6, 5, 30), (8, 3, 3, 32), ONE, (1, 16), ONE, 2),
    Shape("dilated_rows", (1, 4, 9, 20), (5, 4, 3, 32), ONE, (4, 16), (3, 1)),
    Shape("only_padding_above", (1, 4, 1, 20), (5, 4, 2, 32), ONE, (3, 16), ONE),
    Shape("volume", (1, 4, 3, 4, 18), (6, 2, 2, 3, 32), (1, 1, 1), (1, 0, 16), (1, 1, 1), 2),
]  # fmt: skip
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
by_direction = pytest.mark.parametrize("direction", [abi.FORWARD, abi.BACKWARD_DATA])


@pytest.fixture
def handle(cpu: abi.Library) -> Iterator[ctypes.c_void_p]:
    with cpu.handle() as handle:
        yield handle


def rows_solution(cpu: abi.Library, problem: Any) -> Any:
    found = [s for s in problem.solutions() if cpu.solution_name(s.solution_id) == NAME]
    assert all(s.algorithm == DIRECT for s in found)
    return found[0] if found else None


def run(cpu: abi.Library, handle: Any, shape: Shape, direction: str, arrays: Any) -> np.ndarray:
    with abi.problem(cpu, handle, direction, *arrays, **shape.settings()) as problem:
        solution = rows_solution(cpu, problem)
        assert solution is not None
        problem.immediate(solution)
        result: np.ndarray = problem.out
        return result


@pytest.mark.parametrize("threads", [1, 2, 3])
@by_direction
@by_shape
def test_sums(cpu: abi.Library, handle: Any, shape: Shape, threads: int, direction: str) -> None:
    """Whatever lay in the result and in the scratch memory."""
    case = case_of(shape, np.dtype(np.float32))
    with cpu_threads(cpu, threads):
        out = run(cpu, handle, shape, direction, case.arrays(direction, False))
    case.check(direction, out)


@by_direction
@by_shape
def test_gaps(cpu: abi.Library, handle: Any, shape: Shape, direction: str) -> None:
    """Tensors that are parts of larger ones; nothing beside them is written."""
    case = case_of(shape, np.dtype(np.float32))
    placed = [with_margin(array) for array in case.arrays(direction, False)]
    case.check(direction, run(cpu, handle, shape, direction, [view for _, view in placed]))
    for around, view in placed:
        assert_margin_untouched(around, view)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_problem(cpu: abi.Library, data: st.DataObject) -> None:
    """Small integers: exact, whatever the order of the sums."""
    draw = data.draw
    groups = draw(st.integers(1, 3))
    few = draw(st.booleans())
    channels, outputs = (draw(st.integers(1, 16 if few else 25)) for _ in range(2))
    taps = draw(st.integers(32 if few else 64, 140))
    above = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 2)))]
    kernel = [draw(st.integers(1, 3)) for _ in above]
    dilation = [draw(st.integers(1, 2)) for _ in above]
    width = draw(st.integers(1, 150))
    padding = []
    for size, count, gap in zip(above, kernel, dilation, strict=True):
        least = max(0, (gap * (count - 1) + 2 - size) // 2)
        padding.append(draw(st.integers(least, least + 1)))
    least = max(0, (taps + 1 - width) // 2)
    padding.append(draw(st.integers(least, least + 40)))
    shape = Shape(
        "drawn", (draw(st.integers(1, 3)), groups * channels, *above, width),
        (groups * outputs, channels, *kernel, taps), (1,) * len(padding), tuple(padding),
        (*dilation, 1), groups,
    )  # fmt: skip
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x, w, y = (rng.integers(-3, 4, size).astype(np.float32) for size in (shape.x, shape.w, shape.y))
    case: Case = with_exact(shape, x, w, y)
    direction = draw(st.sampled_from([abi.FORWARD, abi.BACKWARD_DATA]))
    with cpu.handle() as handle:
        out = run(cpu, handle, shape, direction, case.arrays(direction, False))
    np.testing.assert_array_equal(out, case.exact[direction])


@by_direction
@by_shape
def test_not_finite_as_in_a_plain_sum(
    cpu: abi.Library, handle: Any, shape: Shape, direction: str
) -> None:
    """A NaN or an infinity is in the results that it enters, zero times it or not, and no others.

    Padding is nothing at all: it does not meet an infinity either.
    """
    made = make_case(shape, np.float32, 5)
    operands = {abi.FORWARD: "xw", abi.BACKWARD_DATA: "yw"}[direction]
    rng = np.random.default_rng(6)
    for value in (np.inf, np.nan):
        for marked in operands:
            marks = {name: np.zeros_like(getattr(made, name)) for name in operands}
            marks[marked].flat[rng.integers(marks[marked].size)] = 1
            for name in operands:
                getattr(made, name)[...] = np.where(marks[name] == 1, value, 0)
            out = run(cpu, handle, shape, direction, made.arrays(direction, False))
            ones = {name: np.ones_like(getattr(made, name)) for name in "xwy"}
            ones[marked] = marks[marked]
            entered = with_exact(shape, *(ones[name] for name in "xwy")).exact[direction]
            assert (np.isnan(out) == (entered > 0)).all()
            assert (out[entered == 0] == 0).all()


@by_direction
def test_bits_do_not_depend_on_threads_or_time(
    cpu: abi.Library, handle: Any, direction: str
) -> None:
    shape = Shape("big", (2, 96, 1, 49), (96, 24, 1, 128), ONE, (0, 64), ONE, 4)
    arrays = case_of(shape, np.dtype(np.float32)).arrays(direction, False)
    found = set()
    for threads in (1, 2, 2, 2, 3, 4):
        with cpu_threads(cpu, threads):
            found.add(run(cpu, handle, shape, direction, arrays).tobytes())
    assert len(found) == 1


class Heap(ctypes.Structure):
    """mallinfo2 of the C library."""

    _fields_ = [(f"field_{i}", ctypes.c_size_t) for i in range(10)]

    @property
    def used(self) -> int:
        return self.field_7 + self.field_4  # in its arenas, and mapped


@by_direction
def test_long_rows(cpu: abi.Library, handle: Any, direction: str) -> None:
    """What is kept for a long row's pieces is little beside its results."""
    shape = Shape("long", (1, 1, 1, 2_000_000), (1, 1, 1, 64), ONE, (0, 20), ONE)
    x, w, y = (np.ones(size, np.float32) for size in (shape.x, shape.w, shape.y))
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("needs mallinfo2 of the C library")
    libc.mallinfo2.restype = Heap
    with abi.problem(cpu, handle, direction, x, w, y, **shape.settings()) as problem:
        solution = rows_solution(cpu, problem)
        problem.out[...] = np.nan
        before = libc.mallinfo2().used
        problem.immediate(solution)
        kept = libc.mallinfo2().used - before
        out = problem.out.ravel()
    assert kept < y.nbytes / 4
    assert (out[64:-64] == 64).all()
    # Of a gradient's first result 21 taps meet the output, of a result 44 the input.
    edge = 44 if direction == abi.FORWARD else 21
    assert (out[:20] == np.arange(edge, edge + 20)).all()
    assert (out[-20:] == np.arange(edge, edge + 20)[::-1]).all()


@by_direction
@pytest.mark.parametrize("images", [1, 8])
def test_first_for_the_positional_layer(
    cpu: abi.Library, handle: Any, images: int, direction: str
) -> None:
    """wav2vec 2.0's; its scratch memory is the activations with room around them."""
    shape = Shape("batch", (images, *POSITIONS.x[1:]), POSITIONS.w, ONE, (0, 64), ONE, 16)
    x, w, y = (np.zeros(size, np.float32) for size in (shape.x, shape.w, shape.y))
    with abi.problem(cpu, handle, direction, x, w, y, **shape.settings()) as problem:
        first = problem.solutions()[0]
    assert cpu.solution_name(first.solution_id) == NAME
    assert first.workspace_size < 2 * max(x.nbytes, y.nbytes)


@by_direction
def test_packed_weights(cpu: abi.Library, handle: Any, direction: str) -> None:
    """They are the weights as they are, and for groups of few channels only."""
    shape = SHAPES[0]
    case = case_of(shape, np.dtype(np.float32))
    arrays = case.arrays(direction, False)
    with abi.problem(cpu, handle, direction, *arrays, **shape.settings()) as problem:
        cpu.call("mioconvSetPackedWeights", problem.conv, 1)
        solution = rows_solution(cpu, problem)
        place = 0 if direction == abi.FORWARD else 1
        wd, xd = problem.descs[place], problem.descs[1 - place]
        last = problem.descs[3]
        xd, yd = (xd, last) if direction == abi.FORWARD else (last, xd)
        size = ctypes.c_size_t(1)
        cpu.call(
            "mioconvGetPackedWeightsSize", handle, place, wd, xd, problem.conv, yd,
            ctypes.c_uint64(solution.solution_id), ctypes.byref(size),
        )  # fmt: skip
        assert size.value == 0
        problem.immediate(solution)
        case.check(direction, problem.out)
    x, w, y = (np.zeros(size, np.float32) for size in (POSITIONS.x, POSITIONS.w, POSITIONS.y))
    with abi.problem(cpu, handle, direction, x, w, y, **POSITIONS.settings()) as problem:
        cpu.call("mioconvSetPackedWeights", problem.conv, 1)
        assert rows_solution(cpu, problem) is None


@pytest.mark.parametrize("slope", [None, 0.0, 0.25])
@pytest.mark.parametrize("with_bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("aliased", [False, True], ids=["z", "z_is_y"])
@pytest.mark.parametrize(
    "shape", [s for s in SHAPES if s.name in ("four_vectors", "few_channels", "pieces", "image")],
    ids=lambda s: s.name,
)  # fmt: skip
def test_fused(
    cpu: abi.Library, handle: Any, shape: Shape, aliased: bool, scale: float, with_bias: bool,
    slope: float | None,
) -> None:  # fmt: skip
    """Three roundings more than the sum has: of the bias, of scale * z and of their sum."""
    case = case_of(shape, np.dtype(np.float32))
    x, w, y = case.arrays(abi.FORWARD, False)
    rng = np.random.default_rng(9)
    z = rng.standard_normal(shape.y).astype(np.float32)
    bias = rng.standard_normal(shape.w[0]).astype(np.float32) if with_bias else None
    exact, size = case.exact[abi.FORWARD], np.abs(case.exact[abi.FORWARD])
    if bias is not None:
        exact = exact + per_channel(bias, x.ndim).astype(np.float64)
        size = size + np.abs(per_channel(bias, x.ndim))
    exact, size = exact + scale * z.astype(np.float64), size + scale * np.abs(z)
    bound = case.bound[abi.FORWARD] + gamma(3) * (size + case.bound[abi.FORWARD])
    mode = abi.PASSTHRU if slope is None else abi.RELU if slope == 0 else abi.LEAKY_RELU
    if slope is not None:
        exact = np.where(exact < 0, slope * exact, exact)
        bound = bound + gamma(1) * np.abs(exact)  # a slope's product is rounded as well
    out = z if aliased else y
    given = None if scale == 0 else z
    assert fused_call(cpu, handle, shape, x, w, out, given, scale, bias, mode, slope or 0) == 0
    assert_close(out, exact, bound)


@pytest.mark.parametrize(
    ("shape", "dtype", "direction", "last"),
    [
        (Shape("strided", (1, 8, 1, 99), (8, 8, 1, 64), (1, 2), NO, ONE), np.float32,
         abi.FORWARD, False),
        (Shape("dilated", (1, 8, 1, 200), (8, 8, 1, 64), ONE, NO, (1, 2)), np.float32,
         abi.FORWARD, False),
        (Shape("short", (1, 8, 1, 49), (8, 8, 1, 31), ONE, (0, 15), ONE), np.float32,
         abi.FORWARD, False),
        (Shape("many_channels", (1, 32, 1, 49), (32, 32, 1, 63), ONE, (0, 31), ONE), np.float32,
         abi.FORWARD, False),
        (Shape("tall", (1, 8, 99, 9), (8, 8, 64, 3), ONE, NO, ONE), np.float32,
         abi.FORWARD, False),
        (SHAPES[0], np.float16, abi.FORWARD, False),
        (SHAPES[0], np.float32, abi.FORWARD, True),
        (SHAPES[0], np.float32, abi.BACKWARD_DATA, True),
        (SHAPES[0], np.float32, abi.BACKWARD_WEIGHTS, False),
    ],
)  # fmt: skip
def test_other_problems_are_left_alone(
    cpu: abi.Library, handle: Any, shape: Shape, dtype: Any, direction: str, last: bool
) -> None:
    case = case_of(shape, np.dtype(dtype))
    with abi.problem(
        cpu, handle, direction, *case.arrays(direction, last), **shape.settings()
    ) as problem:
        assert rows_solution(cpu, problem) is None
