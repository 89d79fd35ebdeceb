"""Many threads at once: right results, one search a problem."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import operands
from helpers.native import live_objects
from helpers.operators import FORWARD
from helpers.problems import CASES, Case
from helpers.tensors import random_array
from helpers.tolerances import assert_close, assert_same_bits

THREADS = 8
SHARED = next(case for case in CASES if case.name == "2d-same")


def together(work: Callable[[int], Any]) -> list[Any]:
    """Run `work(thread)` in all threads, started at the same moment; raises what any raised."""
    barrier = threading.Barrier(THREADS)

    def start(index: int) -> Any:
        barrier.wait(60)
        return work(index)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(start, range(THREADS)))


def different(index: int) -> Case:
    return CASES[index * 3 % len(CASES)]


@pytest.mark.parametrize("benchmark", [False, True])
def test_shared_problem_is_searched_once(benchmark: bool) -> None:
    x, w = operands(FORWARD, SHARED)
    value, bound = FORWARD.expected(SHARED, x, w)
    for _ in range(5):
        mioconv.cache_clear()
        results = together(lambda _: FORWARD(SHARED, x, w, benchmark=benchmark))
        for result in results:
            assert_close(result, value, bound)
        info = mioconv.cache_info()
        assert info.entries == 1
        assert info.finds == (1 if benchmark else 0)


def test_different_problems() -> None:
    """One search a problem, whoever comes first."""
    cases = [different(index) for index in range(THREADS)]
    assert len(set(cases)) == THREADS
    given = {case: operands(FORWARD, case) for case in cases}
    right = {case: FORWARD.expected(case, *given[case]) for case in cases}
    mioconv.cache_clear()

    def work(index: int) -> None:
        for turn in range(THREADS):
            case = cases[(index + turn) % THREADS]
            assert_close(FORWARD(case, *given[case], benchmark=True), *right[case])

    together(work)
    info = mioconv.cache_info()
    assert info.finds == THREADS
    assert info.entries == THREADS


def test_many_calls_are_all_right() -> None:
    """Shared plan, own inputs and outputs, a hundred calls each."""

    def work(index: int) -> None:
        x, w = operands(FORWARD, SHARED, seed=10 * index)
        expected = FORWARD(SHARED, x, w)
        out = np.empty_like(expected)
        for _ in range(100):
            assert_same_bits(FORWARD(SHARED, x, w, out=out), expected)

    together(work)


@pytest.mark.parametrize("threads", [1, 2, 0])
def test_openmp_is_left_as_it_was(threads: int) -> None:
    """How many threads this one's own parallel regions have is not for a call to change."""
    openmp = ctypes.CDLL("libgomp.so.1")
    x, w = random_array((4, 32, 28, 28)), random_array((32, 32, 3, 3), seed=1)
    before = openmp.omp_get_max_threads()
    try:
        for own in (1, 2, 5):
            openmp.omp_set_num_threads(own)
            mioconv.cache_clear()
            with mioconv.flags(num_threads=threads):
                mioconv.conv2d_forward(x, w, benchmark=True)
                mioconv.conv2d_relu_forward(x, w)
                mioconv.conv2d_backward_weight(w.shape, x[:, :, 2:, 2:].copy(), x)
            assert openmp.omp_get_max_threads() == own
    finally:
        openmp.omp_set_num_threads(before)


def test_flags_belong_to_their_context() -> None:
    """`with flags(...)` in one thread is not seen by another."""
    x, w = operands(FORWARD, SHARED)
    mioconv.cache_clear()

    def work(index: int) -> None:
        with mioconv.flags(deterministic=index % 2 == 0):
            for _ in range(20):
                FORWARD(SHARED, x, w)

    together(work)
    # Determinism is part of the key: two entries, not one and not eight.
    assert mioconv.cache_info().entries == 2


def test_clearing_while_others_run() -> None:
    """cache_clear and empty_cache never pull a plan from under a call."""
    x, w = operands(FORWARD, SHARED)
    value, bound = FORWARD.expected(SHARED, x, w)

    def work(index: int) -> None:
        for turn in range(50):
            if index == 0:
                mioconv.cache_clear()
            elif index == 1 and turn % 5 == 0:
                mioconv.empty_cache()
            else:
                assert_close(FORWARD(SHARED, x, w), value, bound)

    together(work)


def test_threads_leave_nothing_behind() -> None:
    """Handles are pooled: new threads reuse what ended threads gave back."""
    x, w = operands(FORWARD, SHARED)
    together(lambda _: FORWARD(SHARED, x, w))
    before = live_objects()
    for _ in range(10):
        together(lambda _: FORWARD(SHARED, x, w))
    after = live_objects()
    assert after["handles"] <= max(before["handles"], THREADS)
    for kind in ("tensor_descriptors", "convolution_descriptors", "fusion_plans"):
        assert after[kind] == before[kind], kind


def test_last_call_is_the_threads_own() -> None:
    cases = [different(index) for index in range(THREADS)]
    given = {case: operands(FORWARD, case) for case in cases}
    ids = {}
    for case in cases:
        FORWARD(case, *given[case])
        ids[case] = mioconv.last_call().solution_id

    def work(index: int) -> None:
        case = cases[index]
        for _ in range(20):
            FORWARD(case, *given[case])
            assert mioconv.last_call().solution_id == ids[case]

    together(work)
