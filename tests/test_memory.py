"""Scratch memory: limits and statistics, trimming after a search, the user's own allocator."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.native import fault, live_objects, no_native_calls
from helpers.reference import conv_forward

X = np.random.default_rng(1).standard_normal((2, 16, 12, 12)).astype(np.float32)
W = np.random.default_rng(2).standard_normal((16, 16, 3, 3)).astype(np.float32)
EXPECTED = conv_forward(X, W, padding=1)
RUN = "miopenConvolutionForwardImmediate"
ZONE = 4096  # bytes on each side of what a search lets solutions write to, and 64 to align it


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    mioconv.cache_clear()
    mioconv.empty_cache()
    yield
    mioconv.set_allocator(None)
    mioconv.cache_clear()
    mioconv.empty_cache()


def run(**how: Any) -> None:
    y = mioconv.conv2d_forward(X, W, padding=1, **how)
    np.testing.assert_allclose(y, EXPECTED, rtol=0, atol=1e-3)


def stats() -> dict[str, int]:
    return mioconv.memory_stats()["cpu:0"]


def needy() -> mioconv.Solution:
    """A solution that needs scratch memory."""
    problem = mioconv.Problem.from_tensors("forward", X, W, padding=1)
    return max(mioconv.find_solutions(problem), key=lambda s: s.workspace_bytes)


class Arena:
    """An allocator that says what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, int]] = []
        self.alive = 0

    def __call__(self, nbytes: int, device: str, stream: int) -> Any:
        self.asked.append((nbytes, device, stream))
        return Block(self, nbytes)


class Block:
    def __init__(self, arena: Arena, nbytes: int) -> None:
        self.memory = np.empty(nbytes + 64, np.uint8)
        self.ptr = -(-self.memory.ctypes.data // 64) * 64
        self.arena = arena
        arena.alive += 1

    def __del__(self) -> None:
        self.arena.alive -= 1


class TestStatistics:
    def test_leased_and_kept(self) -> None:
        solution = needy()
        before = stats()
        run(solution=solution)
        after = stats()
        assert after["current"] == before["current"]
        assert after["reserved"] >= solution.workspace_bytes
        assert after["peak"] >= solution.workspace_bytes
        mioconv.empty_cache()
        assert stats()["reserved"] == before["current"]

    def test_trimmed_after_a_search(self) -> None:
        needy()
        held = stats()["current"]
        with mioconv.flags(verify="off"):  # which takes guards and a result of its own
            run(benchmark=True)
        used = mioconv.last_call().workspace_bytes
        assert stats()["reserved"] <= held + used + 4096
        mioconv.cache_clear()
        with mioconv.flags(empty_cache_after_find=False):
            run(benchmark=True)
        assert stats()["reserved"] >= X.nbytes, "the scratch result of the search is kept"

    @pytest.mark.parametrize("function", [RUN, "hipMalloc", "miopenCreateWithStream"])
    @pytest.mark.parametrize("nth", range(1, 6))
    def test_nothing_stays_leased_after_a_failure(self, function: str, nth: int) -> None:
        run()
        mioconv.cache_clear()
        mioconv.empty_cache()
        before, leased = live_objects(), stats()["current"]
        status = 2 if function == "hipMalloc" else 5
        with fault(function, nth=nth, status=status), contextlib.suppress(mioconv.MioconvError):
            run(benchmark=True)
        mioconv.cache_clear()
        mioconv.empty_cache()
        after = live_objects()
        assert stats()["current"] == leased
        assert after["allocations"] == before["allocations"]
        assert after["events"] == before["events"]
        run(benchmark=True)

    def test_a_device_that_cannot_be_read_leaves_no_trace(self) -> None:
        """In a process of its own: this one knows the device already."""
        program = (
            "import mioconv\n"
            "from mioconv._native import api as _api\n"
            "_api.versions('cpu')\n"
            "_api.inject_fault('cpu', 'hipGetDevicePropertiesR0600', nth=1, status=1)\n"
            "problem = mioconv.Problem('forward', (1, 1, 3, 3), (1, 1, 1, 1))\n"
            "try:\n"
            "    mioconv.find_solutions(problem)\n"
            "except mioconv.StatusError:\n"
            "    print(mioconv.memory_stats())\n"
            "mioconv.set_allocator(None); mioconv.empty_cache()\n"
            "print(len(mioconv.find_solutions(problem)) > 0)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "{}\nTrue\n", "")


class TestAllocator:
    def test_memory_that_comes_back(self) -> None:
        """A moment without any is no verdict on a problem."""

        def refuse(*_: Any) -> None:
            raise MemoryError

        problem = mioconv.Problem.from_tensors("forward", X, W, padding=1)
        needless = [s for s in mioconv.find_solutions(problem) if not s.workspace_bytes]
        mioconv.set_allocator(refuse)
        with mioconv.flags(exclude=needless):
            # More often than there are solutions to be put aside.
            for _ in range(12):
                with pytest.raises(mioconv.OutOfMemoryError):
                    run()
            mioconv.set_allocator(None)
            run()

    def test_serves_and_gets_back(self) -> None:
        arena = Arena()
        solution = needy()
        mioconv.set_allocator(arena)
        allocated = live_objects()["allocations"]
        with mioconv.flags(verify="off"):
            run(solution=solution)
        assert arena.asked == [(solution.workspace_bytes, "cpu:0", 0)]
        assert arena.alive == 0
        assert live_objects()["allocations"] == allocated
        mioconv.set_allocator(None)
        run(solution=solution)
        assert len(arena.asked) == 1

    def test_searches_use_it_too(self) -> None:
        arena = Arena()
        mioconv.set_allocator(arena)
        with mioconv.flags(verify="off"):
            run(benchmark=True)
        assert X.nbytes + 2 * ZONE + 64 in {nbytes for nbytes, *_ in arena.asked}
        assert arena.alive == 0

    def test_a_plan_holds_its_block(self) -> None:
        arena = Arena()
        mioconv.set_allocator(arena)
        problem = mioconv.Problem.from_tensors("forward", X, W, padding=1)
        plan = mioconv.plan(problem, solution=needy())
        mioconv.set_allocator(None)
        assert arena.alive == 1
        np.testing.assert_allclose(plan(X, W), EXPECTED, rtol=0, atol=1e-3)
        del plan
        gc.collect()
        assert arena.alive == 0

    def test_none_leaves_it_to_mioconv(self) -> None:
        mioconv.set_allocator(lambda *_: None)
        run(solution=needy())
        assert stats()["reserved"] > 0

    def test_what_it_raises_is_lack_of_memory(self) -> None:
        class Full(RuntimeError):
            pass

        problem = mioconv.Problem.from_tensors("forward", X, W, padding=1)
        least = min(s.workspace_bytes for s in mioconv.find_solutions(problem))
        solution = needy()
        assert solution.workspace_bytes > least

        def refuse(nbytes: int, *_: Any) -> None:
            if nbytes > least:
                raise Full("no more")

        mioconv.set_allocator(refuse)
        with pytest.raises(mioconv.OutOfMemoryError) as caught:
            run(solution=solution)
        assert isinstance(caught.value.__cause__, Full)
        run()  # one that needs less serves
        assert mioconv.last_call().workspace_bytes == least
        mioconv.set_allocator(None)
        mioconv.empty_cache()
        run(solution=solution)

    def test_an_interrupt_that_comes_in_it_is_not_lost(self) -> None:
        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        def call() -> None:
            with contextlib.suppress(mioconv.OutOfMemoryError):
                run(solution=solution)
            for _ in range(100):
                pass  # it comes between two of the interpreter's steps

        solution = needy()
        mioconv.set_allocator(interrupted)
        with pytest.raises(KeyboardInterrupt):
            call()

    @pytest.mark.parametrize("benchmark", [False, True])
    def test_the_end_that_comes_in_it_is_not_lost(self, benchmark: bool) -> None:
        """SystemExit ends more than this call, also where a solution without that memory serves."""

        def end(*_: Any) -> None:
            raise SystemExit(3)

        mioconv.set_allocator(end)
        with pytest.raises(SystemExit) as caught:
            run(benchmark=benchmark)
        assert caught.value.code == 3
        with pytest.raises(SystemExit):
            run(solution=needy())
        with pytest.raises(SystemExit):
            mioconv.plan(mioconv.Problem.from_tensors("forward", X, W, padding=1), solution=needy())
        mioconv.set_allocator(None)
        run()

    @pytest.mark.parametrize("wrong", ["memory", "unaligned"])
    def test_wrong_answers(self, wrong: str) -> None:
        class Unaligned:
            def __init__(self, memory: np.ndarray) -> None:
                self.memory = memory
                self.ptr = (-(-memory.ctypes.data // 64) * 64) + 4

        def answer(nbytes: int, *_: Any) -> Any:
            return wrong if wrong == "memory" else Unaligned(np.empty(nbytes + 128, np.uint8))

        mioconv.set_allocator(answer)
        with pytest.raises(mioconv.OutOfMemoryError) as caught:
            run(solution=needy())
        assert "allocator: expected" in str(caught.value.__cause__)

    @pytest.mark.parametrize("bad", ["jemalloc", 3, "cupy"])
    def test_bad_input(self, bad: Any) -> None:
        with no_native_calls(), pytest.raises((ValueError, TypeError), match="allocator"):
            mioconv.set_allocator(bad)

    def test_torch(self) -> None:
        pytest.importorskip("torch", reason="PyTorch is not installed")
        mioconv.set_allocator("torch")
        allocated = live_objects()["allocations"]
        run(solution=needy())
        assert live_objects()["allocations"] == allocated


NEW_LENGTHS = """
import gc, os
import numpy as np
import mioconv
from pathlib import Path

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

mioconv.set_flags(num_threads=1)
mioconv.set_cache_capacity(4)
w = np.ones((40, 20, 3), np.float32)

def run(length):
    mioconv.conv1d_backward_input((1, 20, length), np.ones((1, 40, length - 2), np.float32), w)

for length in range(4000, 4004):
    run(length)
before = resident()
for length in range(4100, 4112):
    run(length)
grown = resident() - before
mioconv.cache_clear()
mioconv.empty_cache()
gc.collect()
print(grown, resident() - before)
"""


class TestForgetting:
    """What a provider remembers of problems ends with what mioconv does."""

    def test_ever_new_lengths(self) -> None:
        """Speech and text: a bounded cache is bounded memory, whatever oneDNN makes of them."""
        done = subprocess.run(
            [sys.executable, "-c", NEW_LENGTHS], capture_output=True, text=True, timeout=300
        )
        assert (done.returncode, done.stderr) == (0, "")
        grown, kept = map(float, done.stdout.split())
        # Megabytes; each of the twelve took some five when it was kept with all of its solutions.
        assert grown < 30
        assert kept < 15

    def test_a_plan_goes_on(self) -> None:
        """It makes again what was forgotten under it."""
        problem = mioconv.Problem.from_tensors("forward", X, W, padding=1)
        for solution in mioconv.find_solutions(problem):
            plan = mioconv.plan(problem, solution=solution)
            expected = plan(X, W)
            mioconv.cache_clear()
            np.testing.assert_array_equal(plan(X, W), expected)

    @pytest.mark.parametrize("capacity", [1, 2, 0])
    def test_few_problems_at_a_time(self, capacity: int) -> None:
        mioconv.set_cache_capacity(capacity)
        try:
            for _ in range(3):
                for size in (6, 7, 8):
                    x = X[..., :size]
                    y = mioconv.conv2d_forward(x, W, padding=1)
                    np.testing.assert_allclose(y, conv_forward(x, W, padding=1), atol=1e-3)
                    mioconv.conv2d_relu_forward(x, W, padding=1)
        finally:
            mioconv.set_cache_capacity(10_000)

    def test_scratch_of_fused_calls(self) -> None:
        """It is the handle's, and given back as other scratch memory is."""
        mioconv.conv2d_relu_forward(X, W, padding=1)
        mioconv.empty_cache()
        y = mioconv.conv2d_relu_forward(X, W, padding=1)
        np.testing.assert_allclose(y, np.maximum(EXPECTED, 0), rtol=0, atol=1e-3)
