"""prepare, plan, on_search, and the commands tune and driver."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mioconv
from helpers import tolerances
from helpers.checks import operands, refuses
from helpers.native import fault, live_objects, native_calls, no_native_calls
from helpers.operators import BACKWARD_INPUT, BACKWARD_WEIGHT, FORWARD, TRANSPOSE_FORWARD
from helpers.problems import CASES, TRANSPOSED_CASES, Case, valid_cases
from helpers.processes import in_a_child
from helpers.reference import conv_forward
from helpers.tolerances import assert_same_bits
from mioconv.cli import main
from mioconv.cli.reference import error_bound, reference

PROBLEM = mioconv.Problem("forward", (2, 8, 9, 9), (8, 8, 3, 3), padding=1)
LINE = "MIOpenDriver conv -n 2 -c 8 -H 10 -W 10 -k 8 -y 3 -x 3 -p 1 -q 1"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    mioconv.cache_clear()
    yield
    mioconv.cache_clear()


def arrays(problem: mioconv.Problem = PROBLEM) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    shapes = {
        "forward": (problem.input_shape, problem.weight_shape),
        "backward_input": (problem.output_shape, problem.weight_shape),
        "backward_weight": (problem.output_shape, problem.input_shape),
    }[problem.direction]
    first, second = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return first, second


@contextmanager
def watching(callback: Callable[[mioconv.SearchProgress], None]) -> Iterator[None]:
    """`callback` is told of searches inside."""
    mioconv.on_search(callback)
    try:
        yield
    finally:
        mioconv.on_search(None)


class TestPrepare:
    def test_calls_find_nothing_afterwards(self) -> None:
        (done,) = mioconv.prepare(PROBLEM)
        assert done.error is None
        assert done.solution.source == "measured"
        assert done.compiled
        assert mioconv.cache_info().finds == 1
        mioconv.conv2d_forward(*arrays(), padding=1, benchmark=True)
        info = mioconv.cache_info()
        assert (info.finds, info.misses) == (1, 1)
        assert mioconv.last_call().solution_id == done.solution.id

    def test_everything_that_names_problems(self, tmp_path: Path) -> None:
        file = tmp_path / "lines"
        file.write_text(f"# two directions\n\nMIOpen(HIP): Command [Log] ./bin/{LINE} -F 3\n")
        seen: list[tuple[int, int]] = []
        done = mioconv.prepare(
            [PROBLEM, LINE, file], progress=lambda one, at, total: seen.append((at, total))
        )
        assert [one.problem.direction for one in done] == [
            "forward", "forward", "backward_input", "backward_weight", "forward", "backward_input",
        ]  # fmt: skip
        assert seen == [(i + 1, 6) for i in range(6)]
        assert mioconv.cache_info().finds == 4, "the same problem is searched once"
        for one in done:
            assert one.solution.time_ms <= one.before.time_ms
            assert one.speedup >= 1

    def test_without_measuring(self) -> None:
        (done,) = mioconv.prepare(PROBLEM, benchmark=False)
        assert (done.solution.source, done.speedup) == ("heuristic", None)
        assert mioconv.cache_info().finds == 0

    def test_restrictions(self) -> None:
        solutions = mioconv.find_solutions(PROBLEM)
        (done,) = mioconv.prepare(PROBLEM, exclude=solutions[0])
        assert done.solution.id != solutions[0].id
        (done,) = mioconv.prepare(PROBLEM, workspace_limit=0, exclude="*|asis")
        assert isinstance(done.error, mioconv.NoSolutionError)
        assert done.solution is None

    def test_an_error_does_not_stop_the_others(self) -> None:
        other = mioconv.Problem("forward", (1, 8, 5, 5), (8, 8, 3, 3))
        with fault("miopenConvolutionForwardGetSolutionCount", nth=1, status=5):
            first, second = mioconv.prepare([PROBLEM, other])
        assert isinstance(first.error, mioconv.StatusError)
        assert second.error is None

    @pytest.mark.parametrize(
        ("bad", "error"),
        [(7, TypeError), ([None], TypeError), ("conv -Q 1", ValueError), (Path("/no"), OSError)],
    )
    def test_bad_input(self, bad: Any, error: type[Exception]) -> None:
        with no_native_calls(), pytest.raises(error):
            mioconv.prepare(bad)

    def test_pin_needs_one_problem(self) -> None:
        with pytest.raises(ValueError, match="one problem"):
            mioconv.prepare([PROBLEM, PROBLEM], solution=1)

    def test_bad_line_of_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "lines"
        file.write_text(f"{LINE}\nnonsense\n")
        with pytest.raises(ValueError, match="line 2"):
            mioconv.prepare(file)

    def test_many_threads_make_few_handles(self) -> None:
        problems = [mioconv.Problem("forward", (1, 8, 5, 5 + i), (8, 8, 3, 3)) for i in range(12)]
        before = live_objects()["handles"]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda problem: mioconv.prepare(problem, benchmark=False), problems))
        assert live_objects()["handles"] <= before + 8

    def test_unknown_solution_and_nothing_to_compute(self) -> None:
        with pytest.raises(ValueError, match=r"12345.*not one of"):
            mioconv.prepare(PROBLEM, solution=12345)
        with pytest.raises(ValueError, match="not one of"):
            mioconv.plan(PROBLEM, solution=12345)
        empty = mioconv.Problem("forward", (0, 8, 5, 5), (8, 8, 3, 3))
        (done,) = mioconv.prepare(empty)
        assert isinstance(done.error, mioconv.UnsupportedError)
        with pytest.raises(mioconv.UnsupportedError, match="batch 0"):
            mioconv.plan(empty)

    def test_leaves_nothing_behind(self) -> None:
        mioconv.prepare(PROBLEM)
        before = live_objects()
        for _ in range(3):
            mioconv.cache_clear()
            mioconv.prepare(PROBLEM)
        after = live_objects()
        assert after["handles"] == before["handles"]
        assert after["allocations"] <= before["allocations"]


class TestOnSearch:
    def test_progress(self) -> None:
        seen: list[mioconv.SearchProgress] = []
        assert mioconv.on_search(seen.append) is None
        try:
            mioconv.conv2d_forward(*arrays(), padding=1, benchmark=True)
        finally:
            assert mioconv.on_search(None) == seen.append
        total = len(mioconv.find_solutions(PROBLEM))
        assert [(at.done, at.total) for at in seen] == [(i + 1, total) for i in range(total)]
        assert all(at.solution.time_ms > 0 for at in seen)
        assert seen[0].problem == PROBLEM

    def test_what_it_raises_ends_the_search(self) -> None:
        class Enough(Exception):
            pass

        def stop(at: mioconv.SearchProgress) -> None:
            raise Enough

        with watching(stop), pytest.raises(Enough):
            mioconv.conv2d_forward(*arrays(), padding=1, benchmark=True)
        y = mioconv.conv2d_forward(*arrays(), padding=1, benchmark=True)
        np.testing.assert_allclose(y, conv_forward(*arrays(), padding=1), rtol=0, atol=1e-4)
        assert mioconv.cache_info().finds == 1

    def test_what_it_raises_ends_a_fused_call_too(self) -> None:
        class Enough(Exception):
            pass

        def stop(at: mioconv.SearchProgress) -> None:
            raise Enough

        with watching(stop), pytest.raises(Enough):
            mioconv.conv2d_relu_forward(*arrays(), padding=1, benchmark=True)
        mioconv.conv2d_relu_forward(*arrays(), padding=1, benchmark=True)
        assert mioconv.cache_info().finds == 1

    def test_it_may_call_with_other_threads(self) -> None:
        """The bound on threads is the calling thread's: a search must keep its own."""
        x, w = np.ones((4, 16, 20, 20), np.float32), np.ones((16, 16, 3, 3), np.float32)
        mioconv.conv2d_forward(x, w)
        provider = ctypes.CDLL(next(iter(mioconv.providers()["cpu"].paths.values())))
        bounds: list[int] = []

        def other(at: mioconv.SearchProgress) -> None:
            bound = ctypes.c_int()
            provider.mioconvGetNumThreads(ctypes.byref(bound))
            bounds.append(bound.value)
            with mioconv.flags(num_threads=1):
                mioconv.conv2d_forward(*arrays(), padding=1)

        with watching(other), mioconv.flags(num_threads=2):
            mioconv.conv2d_forward(x, w, benchmark=True)
        assert len(bounds) > 1
        assert set(bounds) == {2}

    def test_two_searches_that_call_each_other(self) -> None:
        """Each would wait for the other, if a callback's call searched."""
        other = np.ones((1, 8, 7, 7), np.float32)
        meet = threading.Barrier(2)

        def crossing(at: mioconv.SearchProgress) -> None:
            if at.done == 1:
                meet.wait(60)
            mine = at.problem == PROBLEM
            x = other if mine else arrays()[0]
            mioconv.conv2d_forward(x, arrays()[1], padding=0 if mine else 1, benchmark=True)

        with watching(crossing), ThreadPoolExecutor(2) as pool:
            calls = [
                pool.submit(mioconv.conv2d_forward, *arrays(), padding=1, benchmark=True),
                pool.submit(mioconv.conv2d_forward, other, arrays()[1], benchmark=True),
            ]
            for call in calls:
                call.result(120)
        assert mioconv.cache_info().finds == 2

    def test_a_clock_that_fails_decides_nothing(self) -> None:
        with fault("hipEventCreateWithFlags", nth=0, status=1):
            for _ in range(3):
                mioconv.conv2d_forward(*arrays(), padding=1, benchmark=True)
        assert mioconv.cache_info().finds == 0
        mioconv.conv2d_forward(*arrays(), padding=1, benchmark=True)
        assert mioconv.cache_info().finds == 1

    def test_it_may_call_the_same_problem(self) -> None:
        def nested(at: mioconv.SearchProgress) -> None:
            mioconv.conv2d_forward(*arrays(), padding=1, benchmark=True)

        with watching(nested):
            mioconv.conv2d_forward(*arrays(), padding=1, benchmark=True)

    def test_others_wait_and_find_nothing(self) -> None:
        inside = threading.Event()

        def slow(at: mioconv.SearchProgress) -> None:
            inside.set()
            threading.Event().wait(0.02)

        with watching(slow), ThreadPoolExecutor(4) as pool:
            first = pool.submit(mioconv.conv2d_forward, *arrays(), padding=1, benchmark=True)
            assert inside.wait(60)
            others = [
                pool.submit(mioconv.conv2d_forward, *arrays(), padding=1, benchmark=True)
                for _ in range(3)
            ]
            for one in [first, *others]:
                one.result(60)
        assert mioconv.cache_info().finds == 1


OPERATORS = {
    "forward": FORWARD, "backward_input": BACKWARD_INPUT, "backward_weight": BACKWARD_WEIGHT,
}  # fmt: skip


class TestPlan:
    def test_alignment_is_part_of_it(self) -> None:
        """Solutions may count on it: other memory is refused, before anything is written."""
        x, w = arrays()
        plan = mioconv.plan(mioconv.Problem.from_tensors("forward", x, w))
        expected = plan(x, w)
        for place in range(3):
            given = [x, w, np.zeros_like(expected)]
            memory = np.empty(given[place].size + 8, np.float32)
            start = next(i for i in range(1, 5) if memory[i:].ctypes.data % 16 == 4)
            shifted = memory[start : start + given[place].size].reshape(given[place].shape)
            shifted[...] = given[place]
            given[place] = shifted
            with refuses(ValueError, ("input", "weight", "out")[place], "aligned to 16 bytes"):
                plan(given[0], given[1], out=given[2])
            assert not given[2].any()

    @pytest.mark.parametrize("case", CASES, ids=str)
    @pytest.mark.parametrize("direction", OPERATORS)
    def test_backward_and_forward_as_the_functions(self, case: Case, direction: Any) -> None:
        problem = mioconv.Problem(direction, case.input_shape, case.weight_shape, **case.settings)
        operator = OPERATORS[direction]
        plan = mioconv.plan(problem)
        given = operands(operator, case)
        if direction == "backward_weight":
            given = given[0], given[1]
        expected = operator(case, *given, solution=plan.solution)
        assert_same_bits(plan(*given), expected)
        out = np.empty_like(expected)
        assert plan(*given, out=out) is out
        assert_same_bits(out, expected)
        call = mioconv.last_call()
        assert (call.solution_id, call.mode) == (plan.solution.id, "pinned")

    @pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
    def test_transposed(self, case: Case) -> None:
        problem = mioconv.Problem(
            "forward", case.input_shape, case.weight_shape, transposed=True, **case.settings
        )
        if any(e >= s for e, s in zip(problem.output_padding, problem.stride, strict=True)):
            with pytest.raises(mioconv.UnsupportedError, match="output_padding"):
                mioconv.plan(problem)
            return
        plan = mioconv.plan(problem)
        given = operands(TRANSPOSE_FORWARD, case)
        expected = TRANSPOSE_FORWARD(case, *given, solution=plan.solution)
        assert_same_bits(plan(*given), expected)

    def test_channels_last(self) -> None:
        x, w = (np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in arrays())
        x, w = x.transpose(0, 3, 1, 2), w.transpose(0, 3, 1, 2)
        plan = mioconv.plan(mioconv.Problem.from_tensors("forward", x, w, padding=1))
        y = plan(x, w)
        assert y.strides[1] == 4
        np.testing.assert_allclose(y, conv_forward(x, w, padding=1), rtol=0, atol=1e-4)
        with pytest.raises(ValueError, match="channels-last"):
            plan(np.ascontiguousarray(x), w)

    def test_a_call_creates_and_looks_up_nothing(self) -> None:
        plan = mioconv.plan(PROBLEM, benchmark=True)
        x, w = arrays()
        out = plan(x, w)
        before, calls, info = live_objects(), native_calls(), mioconv.cache_info()
        plan(x, w, out=out)
        # Which device is current, the bound on threads (set and asked), and the convolution.
        assert native_calls() == calls + 4
        assert live_objects() == before
        assert mioconv.cache_info() == info

    def test_its_own_handle_and_workspace(self) -> None:
        before = mioconv.memory_stats().get("cpu:0", {"current": 0})["current"]
        plans = [mioconv.plan(PROBLEM) for _ in range(3)]
        held = mioconv.memory_stats()["cpu:0"]["current"] - before
        assert held >= 3 * plans[0].workspace_bytes > 0
        del plans
        assert mioconv.memory_stats()["cpu:0"]["current"] == before

    def test_restrictions(self) -> None:
        first = mioconv.find_solutions(PROBLEM)[0]
        assert mioconv.plan(PROBLEM, exclude=first).solution.id != first.id
        last = mioconv.find_solutions(PROBLEM)[-1]
        assert mioconv.plan(PROBLEM, solution=last).solution.id == last.id
        with pytest.raises(mioconv.NoSolutionError):
            mioconv.plan(PROBLEM, workspace_limit=0, exclude="*|asis")
        with pytest.raises((ValueError, mioconv.NoSolutionError)):
            mioconv.plan(PROBLEM, solution=12345)

    def test_many_threads(self) -> None:
        plan = mioconv.plan(PROBLEM)
        x, w = arrays()
        inputs = [x * scale for scale in range(1, 9)]
        expected = [plan(one, w) for one in inputs]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(20):
                for got, right in zip(
                    pool.map(lambda one: plan(one, w), inputs), expected, strict=True
                ):
                    assert_same_bits(got, right)

    def test_keeps_its_threads(self) -> None:
        """Whatever bound the calling thread had last: the workspace was sized for the plan's."""
        x, w = np.ones((4, 16, 20, 20), np.float32), np.ones((16, 16, 3, 3), np.float32)
        problem = mioconv.Problem.from_tensors("forward", x, w)
        for made, called in [(1, 2), (2, 1)]:
            with mioconv.flags(num_threads=made):
                plans = [mioconv.plan(problem, solution=s) for s in mioconv.find_solutions(problem)]
                expected = [plan(x, w) for plan in plans]
            for plan, right in zip(plans, expected, strict=True):
                mioconv.conv2d_forward(*arrays(), padding=1)
                with mioconv.flags(num_threads=called):
                    mioconv.conv2d_forward(*arrays(), padding=1)
                assert_same_bits(plan(x, w), right)

    def test_not_in_a_forked_child(self) -> None:
        plan = mioconv.plan(PROBLEM)

        def check() -> None:
            with pytest.raises(mioconv.UnsupportedError, match="fork"):
                plan(*arrays())
            mioconv.plan(PROBLEM)(*arrays())

        in_a_child(check)
        plan(*arrays())

    def test_bad_input(self) -> None:
        plan = mioconv.plan(PROBLEM)
        x, w = arrays()
        out = np.full(PROBLEM.output_shape, 7, np.float32)
        for bad in [
            lambda: plan(x[:1], w, out=out),
            lambda: plan(w, x, out=out),
            lambda: plan(x.astype(np.float16), w.astype(np.float16), out=out),
            lambda: plan(x, w.astype(np.float16), out=out),
            lambda: plan(x.transpose(0, 1, 3, 2), w, out=out),
            lambda: plan(np.repeat(x, 2, 3)[..., ::2], w, out=out),
            lambda: plan(x[0], w, out=out),
            lambda: plan(x, w, out=out[:1]),
            lambda: plan(x, w, out=x),
            lambda: plan(x, w, out=out.transpose(0, 1, 3, 2)),
            lambda: plan(x, w, out=out, stream=3),
            lambda: plan(x, None, out=out),
        ]:
            with no_native_calls(), pytest.raises((ValueError, TypeError, BufferError)):
                bad()
        assert (out == 7).all()
        with (
            fault("miopenConvolutionForwardImmediate", nth=1, status=5),
            pytest.raises(mioconv.StatusError) as caught,
        ):
            plan(x, w, out=out)
        assert caught.value.tried == (plan.solution.name,)
        plan(x, w, out=out)


class TestReference:
    """The command line's own reference, against the tests' one."""

    @given(case=valid_cases(), data=st.data())
    def test_backward_and_forward(self, case: Case, data: st.DataObject) -> None:
        direction = data.draw(st.sampled_from(sorted(OPERATORS)))
        problem = mioconv.Problem(direction, case.input_shape, case.weight_shape, **case.settings)
        given = operands(OPERATORS[direction], case)
        expected, _ = OPERATORS[direction].expected(case, *given)
        np.testing.assert_allclose(reference(problem, *given), expected, rtol=0, atol=1e-9)

    @given(case=valid_cases(transposed=True))
    def test_transposed(self, case: Case) -> None:
        problem = mioconv.Problem(
            "forward", case.input_shape, case.weight_shape, transposed=True, **case.settings
        )
        given = operands(TRANSPOSE_FORWARD, case)
        expected, _ = TRANSPOSE_FORWARD.expected(case, *given)
        np.testing.assert_allclose(reference(problem, *given), expected, rtol=0, atol=1e-9)


class TestCommands:
    def test_tune(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file, saved = tmp_path / "lines", tmp_path / "saved"
        file.write_text(f"{LINE}\n")
        assert main(["tune", str(file), "--output", str(saved), "--exclude", "*gemm*"]) == 0
        text = capsys.readouterr().out
        assert text.count("MIOpenDriver conv") == 3
        assert "gemm" not in text
        assert "3 problems saved" in text
        mioconv.cache_clear()
        assert mioconv.cache_load(saved) == 3

    def test_tune_reports_errors(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "lines"
        file.write_text(f"{LINE} -F 1\n")
        assert main(["tune", str(file), "--exclude", "*"]) == 1
        assert "MIOpenDriver" in capsys.readouterr().out
        file.write_text("conv -Q 1\n")
        assert main(["tune", str(file)]) == 2
        assert "line 1" in capsys.readouterr().err

    @pytest.mark.parametrize("verb", ["conv", "convfp16", "convbfp16"])
    @pytest.mark.parametrize(
        "options",
        [
            "-g 2",
            "-m trans -u 2 -v 2 -Y 1 -g 2",
            "-I NHWC -O NHWC -f NHWC",
            "-_ 3 -! 4 -@ 2",
            "-s 1 -w 1 -i 3",
        ],
    )
    def test_driver_verifies(
        self, verb: str, options: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        line = f"{verb} -n 2 -c 4 -H 7 -W 8 -k 6 -y 3 -x 2 -p 1 -t 1 {options}".split()
        assert main(["driver", *line]) == 0
        text = capsys.readouterr().out
        assert text.count("Verifies OK") == 3
        assert text.count("GPU Kernel Time") == 3
        assert text.count("stats: ") == 6

    @pytest.mark.parametrize("line", ["conv -n 200", "conv -n 64 -c 8 -H 56 -W 56 -k 8"])
    def test_driver_allows_for_long_sums(self, line: str) -> None:
        """180,000 terms and more, whose roundings add up."""
        assert main(["driver", *line.split(), "-F", "4", "-i", "1"]) == 0

    def test_driver_looks_at_every_element(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One of 8,192 that is off by a thousandth is little on the average."""
        from mioconv.cli import driver

        def slightly_wrong(*args: Any) -> np.ndarray:
            result = reference(*args)
            result.flat[5] += 1e-3 * np.abs(result).max()
            return result

        monkeypatch.setattr(driver, "reference", slightly_wrong)
        line = "conv -n 2 -c 4 -H 16 -W 16 -k 16 -p 1 -q 1 -F 1 -i 1"
        assert main(["driver", *line.split()]) == 1
        assert "FAILED" in capsys.readouterr().out

    @pytest.mark.parametrize("direction", ["forward", "backward_input", "backward_weight"])
    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_bound_of_the_driver(self, direction: Any, transposed: bool, dtype: Any) -> None:
        """It is that of the tests, for the longest sum of each direction."""
        problem = mioconv.Problem(
            direction, (2, 6, 9, 8), (6, 4, 3, 2) if transposed else (4, 3, 3, 2), dtype,
            stride=2, padding=1, groups=1 if transposed else 2, transposed=transposed,
        )  # fmt: skip
        rng = np.random.default_rng(3)
        shapes = [problem.input_shape, problem.weight_shape, problem.output_shape]
        x, w, y = (rng.standard_normal(shape) for shape in shapes)
        given = {
            "forward": (x, w), "backward_input": (y, w), "backward_weight": (y, x)
        }[direction]  # fmt: skip
        terms = {"forward": 18, "backward_input": 12, "backward_weight": 50}
        if transposed:
            terms = {"forward": 36, "backward_input": 24, "backward_weight": 2 * 72}
        expected = reference(problem, *given)
        magnitude = reference(problem, *map(np.abs, given))
        for mixes, tf32 in itertools.product([False, True], repeat=2):
            found = error_bound(problem, *given, expected, mixes=mixes, tf32=tf32)
            right = tolerances.error_bound(
                dtype, np.abs(expected), magnitude, terms[direction],
                amplification=32.0 if mixes else None,
                operand_roundoff=tolerances.TF32_ROUNDOFF if tf32 else 0.0,
            )  # fmt: skip
            np.testing.assert_allclose(found, right, rtol=1e-6)

    def test_driver_finds_a_wrong_result(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from mioconv.cli import driver

        def wrong(*args: Any) -> np.ndarray:
            result = reference(*args)
            result.flat[0] += 1
            return result

        monkeypatch.setattr(driver, "reference", wrong)
        assert main(["driver", *LINE.split()[1:], "-F", "1"]) == 1
        assert "FAILED" in capsys.readouterr().out

    def test_driver_runs_the_solution_asked_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        problem = mioconv.Problem.from_driver_line(f"{LINE} -F 1")
        last = mioconv.find_solutions(problem)[-1]
        assert main(["driver", *LINE.split()[1:], "-F", "1", "-S", str(last.id)]) == 0
        assert last.name in capsys.readouterr().out

    @pytest.mark.parametrize(
        "line",
        [
            ["driver", *LINE.split()[1:], "-F", "1", "-S", "5"],
            ["driver", "--device", "cuda:99999999999", "conv", "-F", "1"],
            ["tune", "FILE", "--exclude", "0"],
            ["tune", "FILE", "--workspace-limit", "-5"],
            ["tune", "FILE", "--output", "/nonexistent/file"],
        ],
    )
    def test_errors_without_a_traceback(
        self, line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "lines"
        file.write_text(f"{LINE} -F 1\n")
        assert main([str(file) if word == "FILE" else word for word in line]) in (1, 2)
        assert capsys.readouterr().err.startswith("mioconv")

    @pytest.mark.parametrize(
        ("options", "named"),
        [("-Q 1", "-Q"), ("-b 1", "--bias"), ("-i x", "--iter"), ("-i 0", "1")],
    )
    def test_driver_names_what_it_does_not_know(
        self, options: str, named: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["driver", *LINE.split()[1:], *options.split()]) == 2
        assert named in capsys.readouterr().err
