"""Selection when things go wrong: failing solutions, short memory, limits, empty answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.native import fault, live_objects, native_calls, no_native_calls
from helpers.reference import conv_backward_weight, conv_forward
from helpers.tensors import BareTensor, random_array

NOT_IMPLEMENTED, ALLOC_FAILED, INTERNAL_ERROR = 6, 4, 5
HIP_OUT_OF_MEMORY = 2
RUN = "miopenConvolutionForwardImmediate"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    mioconv.cache_clear()
    mioconv.empty_cache()
    yield
    mioconv.cache_clear()
    mioconv.empty_cache()


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((2, 16, 14, 14)).astype(np.float32)
    w = rng.standard_normal((16, 16, 3, 3)).astype(np.float32)
    return x, w, conv_forward(x, w, padding=1)


def solutions(x: np.ndarray, w: np.ndarray) -> list[mioconv.Solution]:
    return mioconv.find_solutions(mioconv.Problem.from_tensors("forward", x, w, padding=1))


def check(y: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-3)


def call() -> mioconv.CallInfo:
    info = mioconv.last_call()
    assert info is not None
    return info


class TestFailures:
    def test_next_solution_serves(self, pair: tuple) -> None:
        x, w, expected = pair
        first, second = solutions(x, w)[:2]
        with fault(RUN, nth=0, status=INTERNAL_ERROR, solution_id=first.id):
            check(mioconv.conv2d_forward(x, w, padding=1), expected)
        assert (call().solution_id, call().tried) == (second.id, 1)
        assert mioconv.cache_info().fallbacks == 1
        # The failure is remembered: the next call does not try it again.
        check(mioconv.conv2d_forward(x, w, padding=1), expected)
        assert (call().solution_id, call().tried) == (second.id, 0)
        mioconv.cache_clear()
        mioconv.conv2d_forward(x, w, padding=1)
        assert call().solution_id == first.id

    def test_all_fail(self, pair: tuple) -> None:
        x, w, expected = pair
        before = live_objects()["handles"]
        with (
            fault(RUN, nth=0, status=INTERNAL_ERROR),
            pytest.raises(mioconv.StatusError, match=RUN) as caught,
        ):
            mioconv.conv2d_forward(x, w, padding=1)
        assert caught.value.status == INTERNAL_ERROR
        assert caught.value.driver_line
        assert "-H 14" in caught.value.driver_line
        with pytest.raises(mioconv.NoSolutionError, match="earlier call"):
            mioconv.conv2d_forward(x, w, padding=1)
        mioconv.cache_clear()
        check(mioconv.conv2d_forward(x, w, padding=1), expected)
        assert live_objects()["handles"] <= before + 1

    def test_memory_that_a_run_lacks_is_tried_again(self, pair: tuple) -> None:
        x, w, _ = pair
        first = solutions(x, w)[0]
        with fault(RUN, nth=1, status=ALLOC_FAILED, solution_id=first.id):
            mioconv.conv2d_forward(x, w, padding=1)
        assert call().solution_id != first.id
        mioconv.empty_cache()
        mioconv.conv2d_forward(x, w, padding=1)
        assert call().solution_id == first.id

    def test_pinned_solution_has_no_other(self, pair: tuple) -> None:
        x, w, _ = pair
        first = solutions(x, w)[0]
        with fault(RUN, nth=1, status=INTERNAL_ERROR), pytest.raises(mioconv.StatusError):
            mioconv.conv2d_forward(x, w, padding=1, solution=first)
        mioconv.conv2d_forward(x, w, padding=1)
        assert call().solution_id == first.id, "a pinned failure changes nothing for others"


class TestMemory:
    def test_short_memory_takes_a_smaller_solution(self, pair: tuple) -> None:
        x, w, expected = pair
        listed = solutions(x, w)
        most = max(s.workspace_bytes for s in listed)
        less = [s for s in listed if s.workspace_bytes < most]
        assert less, "the problem has solutions of different needs"
        bound = max(s.workspace_bytes for s in less)
        with fault("hipMalloc", nth=0, above_bytes=bound + 4096, status=HIP_OUT_OF_MEMORY):
            check(mioconv.conv2d_forward(x, w, padding=1), expected)
        assert call().workspace_bytes <= bound

    def test_what_is_remembered_of_lacking_memory(self) -> None:
        """Nothing that needs as much is tried after a failure; what failed is put aside for later
        calls, until `empty_cache`."""
        x, w = random_array((2, 32, 14, 14)), random_array((32, 32, 3, 3), seed=1)
        listed = sorted(solutions(x, w), key=lambda s: s.workspace_bytes)
        most, failing = listed[-1], listed[-2]
        least = [s for s in listed if s.workspace_bytes < failing.workspace_bytes]
        assert most.workspace_bytes > failing.workspace_bytes
        assert least
        # Ranked: the failing one by hand, the neediest by measurement, the others behind.
        others = [s.id for s in listed if s.id != most.id]
        mioconv.conv2d_forward(x, w, padding=1, exclude=others, benchmark=True)
        problem = mioconv.Problem.from_tensors("forward", x, w, padding=1)
        mioconv.prepare(problem, solution=failing)
        assert [s.id for s in solutions(x, w)[:2]] == [failing.id, most.id]
        asked: list[int] = []

        def allocate(nbytes: int, *_: Any) -> None:
            asked.append(nbytes)
            if short and nbytes >= failing.workspace_bytes:
                raise MemoryError

        mioconv.set_allocator(allocate)
        try:
            short = True
            mioconv.conv2d_forward(x, w, padding=1, workspace_limit=1 << 40)
            assert call().solution_id in [s.id for s in least]
            assert call().tried == 1
            assert most.workspace_bytes not in asked
            short = False
            mioconv.conv2d_forward(x, w, padding=1, workspace_limit=1 << 40)
            assert call().solution_id == most.id, "what lacked memory is put aside"
            mioconv.empty_cache()
            mioconv.conv2d_forward(x, w, padding=1, workspace_limit=1 << 40)
            assert call().solution_id == failing.id
        finally:
            mioconv.set_allocator(None)

    def test_what_a_search_lacked_is_searched_later(self) -> None:
        """A solution that a search could not measure was not searched."""
        x, w = random_array((2, 32, 14, 14)), random_array((32, 32, 3, 3), seed=1)
        most = max(solutions(x, w), key=lambda s: s.workspace_bytes)

        def allocate(nbytes: int, *_: Any) -> None:
            if short and nbytes >= most.workspace_bytes:
                raise MemoryError

        mioconv.cache_clear()
        mioconv.set_allocator(allocate)
        try:
            for short in (True, False):
                mioconv.empty_cache()
                with mioconv.flags(benchmark_budget_ms=30_000):  # on a busy machine too
                    mioconv.conv2d_forward(x, w, padding=1, benchmark=True, workspace_limit=1 << 40)
                (found,) = [s for s in solutions(x, w) if s.id == most.id]
                assert (found.source == "measured") == (not short)
        finally:
            mioconv.set_allocator(None)

    def test_no_memory_at_all(self, pair: tuple) -> None:
        x, w, expected = pair
        sliced = np.repeat(x, 2, axis=3)[..., ::2]
        with (
            fault("hipMalloc", nth=0, status=HIP_OUT_OF_MEMORY),
            pytest.raises(mioconv.OutOfMemoryError) as caught,
        ):
            mioconv.conv2d_forward(sliced, w, padding=1)
        assert isinstance(caught.value, MemoryError)
        check(mioconv.conv2d_forward(sliced, w, padding=1), expected)

    def test_one_failure_is_made_good_by_releasing(self, pair: tuple) -> None:
        x, w, expected = pair
        with fault("hipMalloc", nth=1, status=HIP_OUT_OF_MEMORY):
            check(mioconv.conv2d_forward(x, w, padding=1), expected)
        assert call().tried == 0

    @pytest.mark.parametrize("benchmark", [False, True])
    def test_limit_holds(self, pair: tuple, benchmark: bool) -> None:
        x, w, expected = pair
        for limit in sorted({s.workspace_bytes for s in solutions(x, w)}):
            y = mioconv.conv2d_forward(x, w, padding=1, workspace_limit=limit, benchmark=benchmark)
            check(y, expected)
            assert call().workspace_bytes <= limit
        least = min(s.workspace_bytes for s in solutions(x, w))
        if least:
            with pytest.raises(mioconv.NoSolutionError, match=str(least)):
                mioconv.conv2d_forward(x, w, padding=1, workspace_limit=least - 1)

    def test_limit_holds_while_searching(self) -> None:
        x, w = np.ones((4, 32, 28, 28), np.float32), np.ones((32, 32, 3, 3), np.float32)
        listed = solutions(x, w)
        limit = min(s.workspace_bytes for s in listed)
        assert limit < max(s.workspace_bytes for s in listed)
        mioconv.cache_clear()
        before = mioconv.memory_stats()["cpu:0"]["peak"]
        mioconv.conv2d_forward(x, w, padding=1, workspace_limit=limit, benchmark=True)
        stats = mioconv.memory_stats()["cpu:0"]
        # The scratch for the result comes on top.
        assert stats["peak"] <= max(before, limit + x.nbytes + 3 * 4096)

    def test_limit_holds_for_a_pinned_solution(self, pair: tuple) -> None:
        x, w, _ = pair
        pinned = max(solutions(x, w), key=lambda s: s.workspace_bytes)
        with pytest.raises(mioconv.NoSolutionError, match="workspace_limit"):
            mioconv.conv2d_forward(x, w, padding=1, solution=pinned, workspace_limit=0)


class TestListing:
    @pytest.mark.parametrize("benchmark", [False, True])
    def test_an_empty_answer_is_not_kept(self, pair: tuple, benchmark: bool) -> None:
        x, w, expected = pair
        count = "miopenConvolutionForwardGetSolutionCount"
        with (
            fault(count, nth=1, status=NOT_IMPLEMENTED),
            pytest.raises(mioconv.NoSolutionError, match="MIOpenDriver"),
        ):
            mioconv.conv2d_forward(x, w, padding=1, benchmark=benchmark)
        check(mioconv.conv2d_forward(x, w, padding=1, benchmark=benchmark), expected)

    def test_an_empty_answer_after_find_changes_nothing(self, pair: tuple) -> None:
        x, w, expected = pair
        listed = solutions(x, w)
        count = "miopenConvolutionForwardGetSolutionCount"
        with fault(count, nth=0, status=NOT_IMPLEMENTED):
            check(mioconv.conv2d_forward(x, w, padding=1, benchmark=True), expected)
        assert {s.id for s in solutions(x, w)} == {s.id for s in listed}

    def test_benchmark_measures_once(self, pair: tuple) -> None:
        x, w, expected = pair
        for _ in range(3):
            check(mioconv.conv2d_forward(x, w, padding=1, benchmark=True), expected)
        info = mioconv.cache_info()
        assert (info.finds, info.by_direction["forward"]["finds"]) == (1, 1)
        assert info.find_ms > 0
        listed = solutions(x, w)
        assert listed[0].source == "measured"
        times = [s.time_ms for s in listed if s.source == "measured"]
        assert times == sorted(times)
        assert (call().mode, call().solution_id) == ("benchmark", listed[0].id)

    def test_find_failing_is_no_error(self, pair: tuple) -> None:
        x, w, expected = pair
        with fault("miopenFindConvolutionForwardAlgorithm", nth=0, status=INTERNAL_ERROR):
            check(mioconv.conv2d_forward(x, w, padding=1, benchmark=True), expected)
        assert solutions(x, w)[0].source == "measured"

    def test_the_first_few_are_tried_whatever_the_budget(self) -> None:
        """What ranks first may be so slow that it uses the budget up alone."""
        x, w = np.ones((1, 32, 28, 28), np.float32), np.ones((32, 32, 3, 3), np.float32)
        ranked = [found.id for found in solutions(x, w)]
        assert len(ranked) > 3
        with mioconv.flags(benchmark_budget_ms=0):
            # With a limit given, whatever fits it is measured, however greedy.
            mioconv.conv2d_forward(x, w, padding=1, benchmark=True, workspace_limit=1 << 30)
        measured = [found.id for found in solutions(x, w) if found.source == "measured"]
        assert sorted(measured) == sorted(ranked[:3])

    def test_search_leaves_out_alone(self, pair: tuple) -> None:
        """With every run failing after the search, `out` still has its own values."""
        x, w, _ = pair
        out = np.full((2, 16, 14, 14), 7, np.float32)
        with fault(RUN, nth=0, status=INTERNAL_ERROR), pytest.raises(mioconv.MioconvError):
            mioconv.conv2d_forward(x, w, padding=1, out=out, benchmark=True)
        assert (out == 7).all()

    def test_fused_way_within_a_limit(self, pair: tuple) -> None:
        """A fused call needs no workspace of ours, so a limit that fits none is no obstacle."""
        x, w, expected = pair
        for benchmark in (False, True):
            y = mioconv.conv2d_relu_forward(x, w, padding=1, workspace_limit=0, benchmark=benchmark)
            check(y, np.maximum(expected, 0))

    def test_depthwise_and_groups_are_one_problem(self) -> None:
        x, w = np.ones((1, 8, 9, 9), np.float32), np.ones((8, 1, 3, 3), np.float32)
        mioconv.depthwise_conv2d_forward(x, w)
        mioconv.conv2d_forward(x, w, groups=8)
        assert mioconv.cache_info().entries == 1


class TestGradientsTogether:
    """_backward checks all three results before it computes the first."""

    @pytest.fixture
    def operands(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(3)
        x = rng.standard_normal((2, 4, 7, 7)).astype(np.float32)
        w = rng.standard_normal((6, 4, 3, 3)).astype(np.float32)
        return x, rng.standard_normal((2, 6, 5, 5)).astype(np.float32), w

    def test_backward_out_is_an_operand(self, operands: tuple) -> None:
        x, dy, w = operands
        for outs in [(x, None, None), (None, w, None)]:
            with no_native_calls(), pytest.raises(ValueError, match="overlap"):
                mioconv.conv2d_backward(x, dy, w, out=outs)

    def test_backward_outs_overlap_each_other(self, operands: tuple) -> None:
        x, dy, w = operands
        memory = np.empty(x.size, np.float32)
        outs = (memory.reshape(x.shape), memory[: w.size].reshape(w.shape), None)
        with no_native_calls(), pytest.raises(ValueError, match="overlap"):
            mioconv.conv2d_backward(x, dy, w, out=outs)

    def test_backward_later_arguments_come_first(self, operands: tuple) -> None:
        x, dy, w = operands
        out = np.full_like(x, 7)
        for bad in [
            {"out": (out, np.empty((1,), np.float32), None)},
            {"out": (out, None, None), "solution": (None, "x", None)},
            {"out": (out, None, None), "workspace_limit": -1},
        ]:
            before = native_calls()
            with pytest.raises((ValueError, TypeError)):
                mioconv.conv2d_backward(x, dy, w, **bad)
            assert native_calls() == before
        assert (out == 7).all()

    def test_backward_bias_out_of_another_size(self, operands: tuple) -> None:
        _, dy, _ = operands
        with no_native_calls(), pytest.raises(ValueError, match="out"):
            mioconv.conv2d_backward_bias(dy, out=np.empty(5, np.float32))

    def test_backward_borrows_once(self, operands: tuple) -> None:
        """A bare capsule can be consumed only once, and that is enough."""
        x, dy, w = operands
        capsules = [array.__dlpack__() for array in operands]
        gradients = mioconv.conv2d_backward(*capsules)
        expected = mioconv.conv2d_backward(x, dy, w)
        for one, other in zip(gradients, expected, strict=True):
            assert np.asarray(one).tobytes() == other.tobytes()


class TestSecondWays:
    def test_sum_into_its_own_memory(self, pair: tuple) -> None:
        """z is out, and the library refuses the sum once the convolution has overwritten it."""
        x, w, expected = pair
        z = np.random.default_rng(1).standard_normal(expected.shape).astype(np.float32)
        out = z.copy()
        refused = {"nth": 0, "status": NOT_IMPLEMENTED}
        solution = solutions(x, w)[0]
        with fault("miopenOpTensor", **refused):
            mioconv.conv2d_add_relu_forward(x, w, out, 0.5, padding=1, out=out, solution=solution)
        check(out, np.maximum(expected + 0.5 * z, 0))

    def test_half_types_round_once(self) -> None:
        x = np.full((1, 1, 1, 1), 1, np.float16)
        z = np.full((1, 1, 1, 1), 0.01, np.float16)
        solution = mioconv.find_solutions(mioconv.Problem("forward", x.shape, x.shape, "float16"))[
            0
        ]
        with fault("miopenOpTensor", nth=0, status=NOT_IMPLEMENTED):
            y = mioconv.conv2d_add_relu_forward(x, x, z, 1e5, solution=solution)
        assert np.isfinite(y).all()
        assert abs(float(y[0, 0, 0, 0]) - 1001) < 2

    def test_without_array_library(self, pair: tuple) -> None:
        x, w, _ = pair
        bias = np.ones(16, np.float32)
        with (
            fault("miopenConvolutionForwardBias", nth=0, status=NOT_IMPLEMENTED),
            pytest.raises(mioconv.UnsupportedError, match="miopenConvolutionForwardBias"),
        ):
            mioconv.conv2d_forward(*(BareTensor(a) for a in (x, w, bias)), padding=1)


class TestSizes:
    @pytest.mark.parametrize("padding", [2**31 - 1, 2**30 - 1, 2**20])
    def test_result_too_large(self, padding: int) -> None:
        """Sizes that overflow, or that no memory holds, and nothing native is asked."""
        x = memoryview(bytearray(16)).cast("f", shape=(1, 1, 2, 2))
        w = memoryview(bytearray(4)).cast("f", shape=(1, 1, 1, 1))
        with no_native_calls(), pytest.raises((ValueError, MemoryError)):
            mioconv.conv2d_forward(x, w, padding=padding)

    def test_channels_last_is_no_flat_buffer(self) -> None:
        x = np.ones((2, 4, 5, 5), np.float32).transpose(0, 3, 1, 2)
        y = mioconv.conv2d_forward(BareTensor(x), BareTensor(np.ones((3, 5, 1, 1), np.float32)))
        assert y.strides[1] == 1
        with pytest.raises((BufferError, ValueError)):
            np.frombuffer(y, np.float32)
        assert np.asarray(y).shape == y.shape

    def test_gradient_of_nothing(self) -> None:
        dy, x = np.empty((0, 3, 4, 4), np.float32), np.empty((0, 2, 6, 6), np.float32)
        gradient = mioconv.conv2d_backward_weight((3, 2, 3, 3), dy, x)
        assert (gradient == conv_backward_weight((3, 2, 3, 3), dy, x)).all()


def test_exit_with_a_fault_set() -> None:
    """Nothing of ours calls the native library while the process tears it down."""
    program = (
        "import numpy as np, mioconv\n"
        "from mioconv._native import api as _api\n"
        "x = np.ones((1, 2, 5, 5), 'f'); w = np.ones((3, 2, 3, 3), 'f')\n"
        "mioconv.conv2d_relu_forward(x, w); mioconv.conv2d_forward(x, w, benchmark=True)\n"
        "_api.inject_fault('cpu', 'miopenDestroy', nth=0, status=5)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


class TestAlgorithmsAndScratchMemory:
    """What is chosen where nothing was said about accuracy and memory."""

    X, W = (1, 64, 56, 56), (64, 64, 3, 3)

    def problem(self) -> tuple[np.ndarray, np.ndarray, list[mioconv.Solution]]:
        x, w = random_array(self.X), random_array(self.W)
        problem = mioconv.Problem.from_tensors("forward", x, w, padding=1)
        return x, w, mioconv.find_solutions(problem)

    def test_strict_accuracy(self) -> None:
        """Neither default nor benchmark mode takes Winograd; who names one gets it."""
        x, w, solutions = self.problem()
        winograd = [s for s in solutions if s.algorithm == "Winograd"]
        assert winograd
        with mioconv.flags(strict_accuracy=True):
            for benchmark in (False, True):
                mioconv.conv2d_forward(x, w, padding=1, benchmark=benchmark)
                chosen = mioconv.last_call().solution_id
                assert chosen not in {s.id for s in winograd}
            mioconv.conv2d_forward(x, w, padding=1, solution=winograd[0])
            assert mioconv.last_call().solution_id == winograd[0].id

    @pytest.mark.parametrize("benchmark", [False, True])
    def test_greedy_solutions_are_left_out(self, benchmark: bool) -> None:
        """Small images and wide kernels: oneDNN's gemm asks for four times the tensors."""
        x, w = random_array((1, 256, 7, 7)), random_array((256, 256, 3, 3))
        y = mioconv.conv2d_forward(x, w, padding=1)
        tensors = x.nbytes + w.nbytes + y.nbytes
        for direction, call in (
            ("forward", lambda **o: mioconv.conv2d_forward(x, w, padding=1, **o)),
            (
                "backward_weight",
                lambda **o: mioconv.conv2d_backward_weight(w.shape, y, x, padding=1, **o),
            ),
        ):
            call(benchmark=benchmark)
            assert mioconv.last_call().workspace_bytes <= 2 * tensors
            problem = mioconv.Problem.from_tensors(direction, x, w, padding=1)

            def greedy(problem: mioconv.Problem = problem) -> list[mioconv.Solution]:
                listed = mioconv.find_solutions(problem)
                return [s for s in listed if s.workspace_bytes > 2 * tensors]

            assert greedy(), "nothing to leave out"
            assert not any(s.source == "measured" for s in greedy())
            call(solution=greedy()[0])
            assert mioconv.last_call().solution_id == greedy()[0].id
            # A limit is a question too: then a search measures them as well.
            with mioconv.flags(benchmark_budget_ms=30_000):  # on a busy machine too
                call(benchmark=benchmark, workspace_limit=1 << 40)
            assert any(s.source == "measured" for s in greedy()) == benchmark

    def test_the_only_solutions_are_used_however_greedy(self) -> None:
        x, w = random_array((1, 256, 7, 7)), random_array((256, 256, 3, 3))
        y = mioconv.conv2d_forward(x, w, padding=1)
        problem = mioconv.Problem.from_tensors("forward", x, w, padding=1)
        tensors = x.nbytes + w.nbytes + y.nbytes
        frugal = [s.id for s in mioconv.find_solutions(problem) if s.workspace_bytes <= 2 * tensors]
        again = mioconv.conv2d_forward(x, w, padding=1, exclude=frugal)
        assert mioconv.last_call().workspace_bytes > 2 * tensors
        check(again, y)

    def test_nor_is_the_slowest_way_taken_instead(self) -> None:
        """The sum by its definition, without scratch memory, is not what is meant by another."""
        x, w = random_array((1, 256, 7, 7)), random_array((256, 256, 3, 3))
        y = mioconv.conv2d_forward(x, w, padding=1)
        problem = mioconv.Problem.from_tensors("forward", x, w, padding=1)
        tensors = x.nbytes + w.nbytes + y.nbytes
        listed = mioconv.find_solutions(problem)
        (naive,) = (s for s in listed if s.name == "naive|asis")
        assert naive.workspace_bytes == 0
        others = [s.id for s in listed if s.workspace_bytes <= 2 * tensors and s != naive]
        again = mioconv.conv2d_forward(x, w, padding=1, exclude=others)
        assert mioconv.last_call().workspace_bytes > 2 * tensors
        check(again, y)
        with pytest.raises(mioconv.NoSolutionError):
            mioconv.conv2d_forward(x, w, padding=1, exclude=["naive*"], workspace_limit=0)
        check(mioconv.conv2d_forward(x, w, padding=1, workspace_limit=0), y)
        assert mioconv.last_call().solution_id == naive.id

    def test_a_limit_lifts_it(self) -> None:
        x, w = random_array((1, 256, 7, 7)), random_array((256, 256, 3, 3))
        problem = mioconv.Problem.from_tensors("backward_weight", x, w, padding=1)
        best = mioconv.find_solutions(problem)[0]
        mioconv.conv2d_backward_weight(w.shape, x, x, padding=1, workspace_limit=1 << 40)
        assert mioconv.last_call().solution_id == best.id
