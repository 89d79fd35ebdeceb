"""Excluded solutions, and the property that holds under every restriction together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mioconv
from helpers.native import fault, native_calls, no_native_calls
from helpers.reference import conv_backward_input, conv_backward_weight, conv_forward

DIRECTIONS = ["forward", "backward_input", "backward_weight"]
RNG = np.random.default_rng(8)
X = RNG.standard_normal((2, 16, 9, 9)).astype(np.float32)
W = RNG.standard_normal((16, 16, 3, 3)).astype(np.float32)
DY = RNG.standard_normal((2, 16, 9, 9)).astype(np.float32)
EXPECTED = {
    "forward": conv_forward(X, W, padding=1),
    "backward_input": conv_backward_input(X.shape, DY, W, padding=1),
    "backward_weight": conv_backward_weight(W.shape, DY, X, padding=1),
}
NATIVE = {
    "forward": "miopenConvolutionForwardImmediate",
    "backward_input": "miopenConvolutionBackwardDataImmediate",
    "backward_weight": "miopenConvolutionBackwardWeightsImmediate",
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    mioconv.cache_clear()
    yield
    mioconv.cache_clear()


def run(direction: str, **how: Any) -> np.ndarray:
    if direction == "forward":
        return mioconv.conv2d_forward(X, W, padding=1, **how)
    if direction == "backward_input":
        return mioconv.conv2d_backward_input(X.shape, DY, W, padding=1, **how)
    return mioconv.conv2d_backward_weight(W.shape, DY, X, padding=1, **how)


def listed(direction: str) -> list[mioconv.Solution]:
    return mioconv.find_solutions(
        mioconv.Problem(direction, X.shape, W.shape, padding=1)  # type: ignore[arg-type]
    )


def check(result: np.ndarray, direction: str) -> None:
    np.testing.assert_allclose(result, EXPECTED[direction], rtol=0, atol=2e-3)


def ran() -> mioconv.Solution:
    call = mioconv.last_call()
    assert call is not None
    return next(s for s in listed(call.direction) if s.id == call.solution_id)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("benchmark", [False, True])
def test_backward_and_forward_by_id(direction: str, benchmark: bool) -> None:
    left = listed(direction)
    excluded: list[int] = []
    while left:
        check(run(direction, exclude=excluded, benchmark=benchmark), direction)
        assert ran().id not in excluded
        excluded.append(ran().id)
        left = [s for s in left if s.id != ran().id]
    with pytest.raises(mioconv.NoSolutionError, match="excluded"):
        run(direction, exclude=excluded, benchmark=benchmark)
    check(run(direction), direction)


@pytest.mark.parametrize("pattern", ["*gemm*", "*GEMM*", "direct", "jit:*|nhwc", "*|block[a-e]d"])
def test_by_pattern(pattern: str) -> None:
    names = {s.name for s in listed("forward")}
    check(run("forward", exclude=pattern), "forward")
    assert ran().name in names
    if "gemm" in pattern.lower():
        assert "gemm" not in ran().name
    if pattern == "direct":
        assert ran().algorithm != "Direct"


def test_by_solution_flag_and_context() -> None:
    first, second = listed("forward")[:2]
    run("forward", exclude=first)
    assert ran().id == second.id
    with mioconv.flags(exclude=[first, "no such name"]):
        assert mioconv.get_flags()["exclude"] == (first.id, "no such name")
        run("forward")
        assert ran().id == second.id
        run("forward", exclude=())
        assert ran().id == first.id
    mioconv.set_flags(exclude=first.id)
    run("forward")
    assert ran().id == second.id
    mioconv.set_flags(exclude=None)
    run("forward")
    assert ran().id == first.id


def test_backward_takes_one_for_all_gradients() -> None:
    mioconv.conv2d_backward(X, DY, W, padding=1, exclude="*nhwc")
    assert not ran().name.endswith("nhwc")


def test_fused_calls_run_separate_steps() -> None:
    mioconv.conv2d_relu_forward(X, W, padding=1)
    assert mioconv.last_call().way == "fused"
    y = mioconv.conv2d_relu_forward(X, W, padding=1, exclude=listed("forward")[0])
    assert mioconv.last_call().way == "separate"
    check(y, "forward") if (EXPECTED["forward"] >= 0).all() else np.testing.assert_allclose(
        y, np.maximum(EXPECTED["forward"], 0), rtol=0, atol=2e-3
    )


def test_nothing_excluded_runs_in_a_search() -> None:
    """Neither our measuring nor the library's own Find."""
    first = listed("forward")[0]
    find = "miopenFindConvolutionForwardAlgorithm"
    with (
        fault(NATIVE["forward"], nth=0, status=5, solution_id=first.id),
        fault(find, nth=0, status=5),
    ):
        check(run("forward", exclude=first, benchmark=True), "forward")
    # Had it run, it would be known as failed.
    run("forward", solution=first)
    assert mioconv.cache_info().fallbacks == 0


def test_what_was_excluded_is_searched_later() -> None:
    first = listed("forward")[0]
    how = {"benchmark": True, "workspace_limit": 1 << 40}  # with those that want much memory
    run("forward", exclude=first, **how)
    assert {s.source for s in listed("forward") if s.id == first.id} == {"heuristic"}
    run("forward", **how)
    assert {s.source for s in listed("forward")} == {"measured"}
    assert mioconv.cache_info().finds == 2


@pytest.mark.parametrize("bad", [1.5, 0, -1, "", [""], [1.5], 1 << 64, True, [None], b"GEMM"])
def test_bad_input(bad: Any) -> None:
    with no_native_calls(), pytest.raises((TypeError, ValueError), match="exclude"):
        run("forward", exclude=bad)


@given(data=st.data())
def test_restrictions_together(data: st.DataObject) -> None:
    """Whatever is excluded, limited or failing: the result is right, or the error is clear."""
    direction = data.draw(st.sampled_from(DIRECTIONS))
    mioconv.cache_clear()
    mioconv.empty_cache()
    solutions = listed(direction)
    ids = st.sets(st.sampled_from([s.id for s in solutions]))
    excluded, failing = data.draw(ids), data.draw(ids)
    limit = data.draw(st.sampled_from([None, *sorted({s.workspace_bytes for s in solutions}), 0]))
    memory = data.draw(st.sampled_from([None, *sorted({s.workspace_bytes for s in solutions})]))
    how = {
        "exclude": sorted(excluded), "workspace_limit": limit,
        "benchmark": data.draw(st.booleans()), "deterministic": data.draw(st.booleans()),
    }  # fmt: skip
    fits = {s.id for s in solutions if limit is None or s.workspace_bytes <= limit}

    from mioconv._native import api as _api

    # One fault a function: of those that fail, the last one does.
    failing = set(sorted(failing)[-1:])
    for solution in failing:
        _api.inject_fault("cpu", NATIVE[direction], nth=0, status=5, solution_id=solution)
    if memory is not None:
        # A block is rounded up to a page.
        _api.inject_fault("cpu", "hipMalloc", nth=0, status=2, above_bytes=memory + 4096)
    refusal = None
    try:
        check(run(direction, **how), direction)
        solution = ran()
    except (mioconv.NoSolutionError, mioconv.StatusError, mioconv.OutOfMemoryError) as error:
        refusal = error
    finally:
        _api.inject_fault("cpu", None)
    if refusal is None:
        assert solution.id in fits - excluded - failing
    else:
        enough = {s.id for s in solutions if memory is None or s.workspace_bytes <= memory}
        assert not (fits - excluded - failing) & enough, refusal
        assert "MIOpenDriver" in str(refusal)
    before = native_calls()
    check(run(direction, exclude=()), direction)
    assert native_calls() > before
