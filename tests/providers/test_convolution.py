"""Every solution of every direction, dtype and layout against the reference."""

from __future__ import annotations

import ctypes as c
from functools import cache
from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import SHAPES, Case, Shape, make_case

DTYPES = [np.dtype(np.float32), np.dtype(np.float16)]
if abi.BFLOAT16 is not None:
    DTYPES.append(abi.BFLOAT16)

by_direction = pytest.mark.parametrize("direction", abi.DIRECTIONS)
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
by_layout = pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
STRATEGIES = {
    "cpu": {"asis", "plain", "nhwc", "blocked", "channel_blocks"},
    "cuda": {"asis", "nhwc", "nchw", "padded", "halfpadded", "gathered", "gatherednhwc"},
}
PLAIN = next(s for s in SHAPES if s.name == "plain")


@cache
def case_of(shape: Shape, dtype: Any) -> Case:
    return make_case(shape, dtype)


@by_direction
@by_layout
@by_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s.name)
def test_every_solution_is_right(
    library: abi.Library, handle: Any, shape: Shape, dtype: Any, last: bool, direction: str
) -> None:
    case = case_of(shape, dtype)
    with abi.problem(
        library, handle, direction, *case.arrays(direction, last), **shape.settings()
    ) as problem:
        solutions = problem.solutions()
        assert solutions
        assert len(solutions) == problem.count()
        assert [s.time for s in solutions] == sorted(s.time for s in solutions)
        for solution in solutions:
            problem.out[...] = np.nan
            problem.immediate(solution)
            name = library.solution_name(solution.solution_id)
            # On a CPU the transforms are ours, with a bound of their own.
            mixes = library.provider == "cuda" and ("winograd" in name or "fft" in name)
            try:
                case.check(direction, problem.out, name, mixes)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from None


@by_direction
@by_dtype
def test_tensors_with_gaps(library: abi.Library, handle: Any, dtype: Any, direction: str) -> None:
    case = case_of(PLAIN, dtype)
    arrays = []
    for array in case.arrays(direction, False):
        wide = np.full((*array.shape[:-1], array.shape[-1] + 3), np.nan, np.float32).astype(dtype)
        wide[..., : array.shape[-1]] = array
        arrays.append(wide)
    views = [a[..., : a.shape[-1] - 3] for a in arrays]
    with abi.problem(library, handle, direction, *views, **PLAIN.settings()) as problem:
        for solution in problem.solutions():
            problem.immediate(solution)
            case.check(direction, problem.out)
    for array in arrays:
        assert np.isnan(array[..., -3:].astype(np.float32)).all(), "written outside the tensor"


@by_direction
@by_dtype
def test_mixed_layouts(library: abi.Library, handle: Any, dtype: Any, direction: str) -> None:
    case = case_of(PLAIN, dtype)
    x, w, y = case.arrays(direction, False)
    x = abi.channels_last(x)
    with abi.problem(library, handle, direction, x, w, y, **PLAIN.settings()) as problem:
        for solution in problem.solutions():
            problem.out[...] = np.nan
            problem.immediate(solution)
            case.check(direction, problem.out)


@by_direction
@by_layout
def test_find_measures_and_reranks(
    library: abi.Library, handle: Any, last: bool, direction: str
) -> None:
    shape = Shape("find", (2, 16, 14, 14), (16, 16, 3, 3), (1, 1), (1, 1), (1, 1))
    case = case_of(shape, np.dtype(np.float32))
    arrays = case.arrays(direction, last)
    with abi.problem(library, handle, direction, *arrays, **shape.settings()) as problem:
        found = problem.find()
        case.check(direction, problem.out)
        assert [f.time for f in found] == sorted(f.time for f in found)
        assert len({f.algo for f in found}) == len(found)
        solutions = problem.solutions()
        assert solutions[0].time == pytest.approx(found[0].time)
        assert solutions[0].algorithm == found[0].algo
        assert [s.time for s in solutions] == sorted(s.time for s in solutions)
        # Another handle knows it too.
        with (
            library.handle() as other,
            abi.problem(library, other, direction, *arrays, **shape.settings()) as again,
        ):
            assert [s.time for s in again.solutions()] == [s.time for s in solutions]
        for item in found:
            problem.out[...] = np.nan
            problem.execute(item.algo)
            case.check(direction, problem.out)


@by_direction
def test_execute_takes_plain_scalars_and_listed_algorithms(
    library: abi.Library, handle: Any, direction: str
) -> None:
    case = case_of(PLAIN, np.dtype(np.float32))
    with abi.problem(
        library, handle, direction, *case.arrays(direction, False), **PLAIN.settings()
    ) as problem:
        listed = {s.algorithm for s in problem.solutions()}
        for algo in listed:  # not found yet, on this handle
            with pytest.raises(abi.StatusError) as caught:
                problem.execute(algo)
            assert caught.value.status == abi.UNKNOWN_ERROR
        found = problem.find()
        absent = next(algo for algo in range(6) if algo not in {f.algo for f in found})
        for algo, alpha, beta, status in (
            (found[0].algo, 2, 0, abi.NOT_IMPLEMENTED),
            (found[0].algo, 1, 1, abi.NOT_IMPLEMENTED),
            (absent, 1, 0, abi.UNKNOWN_ERROR),
        ):
            with pytest.raises(abi.StatusError) as caught:
                problem.execute(algo, alpha, beta)
            assert caught.value.status == status


@by_direction
def test_workspace_is_exact(library: abi.Library, handle: Any, direction: str) -> None:
    """Each solution runs with what it asked for, at any address, and not with less."""
    case = case_of(PLAIN, np.dtype(np.float16))
    with abi.problem(
        library, handle, direction, *case.arrays(direction, False), **PLAIN.settings()
    ) as problem:
        largest = problem.workspace()  # a search's: what is listed after it is all of them
        solutions = problem.solutions(4000)
        assert largest == max(s.workspace_size for s in solutions)
        for solution in solutions:
            needed = solution.workspace_size
            assert needed == problem.solution_workspace(solution.solution_id)
            if needed == 0:
                continue
            for given in (0, needed - 1):
                with pytest.raises(abi.StatusError) as caught:
                    problem.immediate(solution, given)
                assert caught.value.status == abi.UNKNOWN_ERROR


@by_direction
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_solution_without_scratch_memory(cpu: abi.Library, shape: Shape, direction: str) -> None:
    """Find without a workspace finds one, and it is right; as MIOpen's naive solvers."""
    for dtype in DTYPES:
        case = case_of(shape, dtype)
        with (
            cpu.handle() as handle,
            abi.problem(
                cpu, handle, direction, *case.arrays(direction, False), **shape.settings()
            ) as problem,
        ):
            assert any(s.workspace_size == 0 for s in problem.solutions())
            found = problem.find(workspace_bytes=0)
            assert found
            assert [f.memory for f in found] == [0] * len(found)
            case.check(direction, problem.out)


def test_workspace_bounds_hold(library: abi.Library, handle: Any) -> None:
    """Nothing is written before or behind the workspace, whatever its alignment."""
    case = case_of(PLAIN, np.dtype(np.float16))
    for direction in abi.DIRECTIONS:
        with abi.problem(
            library, handle, direction, *case.arrays(direction, True), **PLAIN.settings()
        ) as problem:
            for solution in problem.solutions():
                size = solution.workspace_size
                for shift in (64, 65, 127):
                    memory = np.full(size + 256, 0xA5, np.uint8)
                    space = memory[shift : shift + size]
                    a, b, out = problem.first, problem.second, problem.third
                    library.call(
                        problem.name("Immediate"), handle, a[0], abi.pointer(a[1]), b[0],
                        abi.pointer(b[1]), problem.conv, out[0], abi.pointer(out[1]),
                        abi.pointer(space), c.c_size_t(size), c.c_uint64(solution.solution_id),
                    )  # fmt: skip
                    assert (memory[:shift] == 0xA5).all()
                    assert (memory[shift + size :] == 0xA5).all()
                    case.check(direction, problem.out)


@by_direction
def test_solution_names_and_ids(library: abi.Library, handle: Any, direction: str) -> None:
    case = case_of(PLAIN, np.dtype(np.float32))
    with abi.problem(
        library, handle, direction, *case.arrays(direction, False), **PLAIN.settings()
    ) as problem:
        solutions = problem.solutions()
        names = {library.solution_name(s.solution_id) for s in solutions}
        assert len(names) == len({s.solution_id for s in solutions}) == len(solutions)
        assert not any(name.startswith("ref") for name in names)
        for name in names:
            implementation, strategy = name.split("|")
            assert implementation
            assert strategy in STRATEGIES[library.provider]
        for solution in solutions:
            problem.compile(solution.solution_id)
        assert problem.solutions(most=1)[0].solution_id == solutions[0].solution_id
        for bad in (0, 1, 2**64 - 1):
            with pytest.raises(abi.StatusError) as caught:
                problem.compile(bad)
            assert caught.value.status == abi.BAD_PARM
    # The name's FNV-1a hash, so that ids mean the same in every process and release.
    for solution in solutions:
        value = 0xCBF29CE484222325
        for byte in library.solution_name(solution.solution_id).encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
        assert value == solution.solution_id


@by_direction
def test_runs_are_reproducible(library: abi.Library, handle: Any, direction: str) -> None:
    shape = Shape("big", (4, 32, 28, 28), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1))
    rng = np.random.default_rng(1)
    x, w, y = (rng.standard_normal(s, dtype=np.float32) for s in (shape.x, shape.w, shape.y))
    with abi.problem(library, handle, direction, x, w, y, **shape.settings()) as problem:
        library.call("miopenSetConvolutionAttribute", problem.conv, abi.DETERMINISTIC, 1)
        for solution in problem.solutions():
            problem.immediate(solution)
            first = problem.out.copy()
            for _ in range(3):
                problem.immediate(solution)
                assert problem.out.tobytes() == first.tobytes()


def test_special_values_pass_through(library: abi.Library, handle: Any) -> None:
    """A 1x1 identity kernel copies NaN, infinities and subnormals of the input."""
    values = np.array([np.nan, np.inf, -np.inf, 1e-40, -1e-40, 0, 1, -2], np.float32)
    x = np.ascontiguousarray(values.reshape(1, 1, 2, 4))
    w = np.ones((1, 1, 1, 1), np.float32)
    y = np.empty_like(x)
    options = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    with abi.problem(library, handle, abi.FORWARD, x, w, y, **options) as problem:
        for solution in problem.solutions():
            problem.immediate(solution)
            np.testing.assert_array_equal(y, x, library.solution_name(solution.solution_id))


def test_half_rounds_once_to_nearest_even(library: abi.Library, handle: Any) -> None:
    """Sums whose exact value lies between two halves."""
    x = np.array([2048, 2048, 2050, 65504], np.float16).reshape(1, 1, 1, 4)
    extra = np.array([1, 3, 1, 15], np.float16).reshape(1, 1, 1, 4)
    both = np.ascontiguousarray(np.concatenate([x, extra], axis=1))
    w = np.ones((1, 2, 1, 1), np.float16)
    y = np.empty((1, 1, 1, 4), np.float16)
    options = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    with abi.problem(library, handle, abi.FORWARD, both, w, y, **options) as problem:
        for solution in problem.solutions():
            problem.immediate(solution)
            assert y.ravel().tolist() == [2048, 2052, 2052, 65504]
