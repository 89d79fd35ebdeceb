"""Many threads and captures: what the vendor's library cannot do, it is not asked to."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import rocm
from helpers.rocm import Tensor, read
from helpers.standin import Standin
from helpers.tensors import random_array

X, W = random_array((2, 4, 7, 6)), random_array((6, 4, 3, 2), seed=1)


@pytest.mark.parametrize("benchmark", [False, True])
def test_threads(standin: Standin, benchmark: bool) -> None:
    """One thread in the heuristics and Find, one with each handle; the fixture sees violations."""
    standin.set(slow_us=2000, solutions=2)
    expected = [mioconv.conv2d_forward(X, W, padding=p) for p in range(4)]

    def call(n: int) -> bool:
        got = mioconv.conv2d_forward(
            Tensor(X), Tensor(W), padding=n % 4, benchmark=benchmark, stream=0x100 * (n % 3)
        )
        return np.allclose(read(got), expected[n % 4], atol=1e-5)

    with mioconv.flags(benchmark_budget_ms=1), ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(32)))
    standin.set(slow_us=0)
    mioconv.conv2d_forward(Tensor(X), Tensor(W))


def test_allocators_in_a_capture(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy's may ask the device, which spoils a capture: it is refused before anything happens."""
    asked: list[int] = []

    def alloc(nbytes: int) -> Any:
        asked.append(nbytes)
        return SimpleNamespace(ptr=memory.ctypes.data + (-memory.ctypes.data) % 64)

    memory = np.zeros(1 << 20, np.uint8)
    cupy: Any = rocm.install_cupy()
    cupy.cuda.alloc = alloc
    cupy.cuda.Device = lambda index: nullcontext()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    x, w = Tensor(X), Tensor(W)
    out = Tensor(np.zeros((2, 6, 5, 5), np.float32))
    problem = mioconv.Problem("forward", X.shape, W.shape, "float32", device="rocm:0")
    some = next(s for s in mioconv.find_solutions(problem) if s.workspace_bytes)
    try:
        for allocator, serves in [("cupy", False), (lambda n, *_: alloc(n), True)]:
            mioconv.set_allocator(allocator)
            mioconv.conv2d_forward(x, w, out=out, solution=some)
            assert asked
            asked.clear()
            standin.set(capture=1)
            standin.clear()
            if serves:
                mioconv.conv2d_forward(x, w, out=out, solution=some)
                assert asked
            else:
                with pytest.raises(mioconv.CaptureError, match="allocator"):
                    mioconv.conv2d_forward(x, w, out=out, solution=some)
                assert not asked
                assert not standin.names("Immediate", "hipMalloc", "Free", "Synchronize")
            standin.set(capture=0)
    finally:
        mioconv.set_allocator(None)


@pytest.mark.parametrize("benchmark", [False, True])
def test_capture(standin: Standin, benchmark: bool) -> None:
    """A problem that is not known is refused before anything is asked; a known one runs."""
    x, w = Tensor(X), Tensor(W)
    out = Tensor(np.zeros((2, 6, 5, 5), np.float32))
    standin.set(capture=1)
    with pytest.raises(mioconv.CaptureError, match=r"mioconv\.prepare"):
        mioconv.conv2d_forward(x, w, out=out, benchmark=benchmark)
    assert not standin.names("GetSolution", "^miopenFind", "Compile", "Immediate", "hipMalloc")
    standin.set(capture=0)
    problem = mioconv.Problem("forward", X.shape, W.shape, "float32", device="rocm:0")
    none = next((s for s in mioconv.find_solutions(problem) if not s.workspace_bytes), None)
    planned = mioconv.plan(problem, solution=none)
    standin.set(capture=1)
    standin.clear()
    planned(x, w, out=out)
    assert standin.names("^miopen") == ["miopenConvolutionForwardImmediate"]
    assert not standin.names("hipMalloc", "Synchronize")
    standin.set(capture=0)
    np.testing.assert_allclose(out.array, mioconv.conv2d_forward(X, W), atol=1e-5)
