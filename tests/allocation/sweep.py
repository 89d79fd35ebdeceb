"""Every request for memory of the C++ core fails once, in every kind of call; run by the test.

A call whose request fails raises MemoryError, or does without; either way nothing stays leased, and
the next call computes what it should.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

import mioconv
from mioconv._core import state

hooks = ctypes.CDLL(None)
hooks.fail_after.argtypes = [ctypes.c_long]
hooks.requests_left.restype = ctypes.c_long

rng = np.random.default_rng(1)
X = rng.standard_normal((2, 4, 9, 8)).astype(np.float32)
W = rng.standard_normal((4, 4, 3, 3)).astype(np.float32)
Y = rng.standard_normal((2, 4, 7, 6)).astype(np.float32)
WIDE = np.repeat(X, 2, axis=3)[..., ::2]
BIAS = rng.standard_normal(4).astype(np.float32)
PROBLEM = mioconv.Problem("forward", X.shape, W.shape)
FOLDER = tempfile.mkdtemp()


def excluded() -> Any:
    # A pattern that no other test had: each distinct set of exclusions is made once and kept.
    excluded.turn += 1  # type: ignore[attr-defined]
    return mioconv.conv2d_forward(X, W, exclude=[excluded.turn, f"no such name {excluded.turn}"])  # type: ignore[attr-defined]


excluded.turn = 0  # type: ignore[attr-defined]


def planned(**how: Any) -> Any:
    plan = mioconv.plan(PROBLEM, **how)
    return plan(X, W)


def without_most() -> Any:
    """A few solutions are tried before one serves."""
    from mioconv._native import api as _api

    _api.inject_fault("cpu", "miopenConvolutionForwardImmediate", nth=1, status=7)
    try:
        return mioconv.conv2d_forward(X, W)
    finally:
        _api.inject_fault("cpu", None)


def saved() -> Any:
    result = mioconv.conv2d_forward(X, W)
    mioconv.cache_save(os.path.join(FOLDER, "kept"))
    mioconv.cache_load(os.path.join(FOLDER, "kept"))
    return result


def housekeeping() -> Any:
    result = mioconv.conv2d_forward(X, W)
    mioconv.empty_cache()
    mioconv.set_cache_capacity(1)
    mioconv.set_cache_capacity(10_000)
    mioconv.memory_stats()
    return result


def allocated() -> Any:
    mioconv.set_allocator(lambda *_: None)
    try:
        return mioconv.conv2d_forward(X, W)
    finally:
        mioconv.set_allocator(None)


OPERATIONS: dict[str, Callable[[], Any]] = {
    "forward": lambda: mioconv.conv2d_forward(X, W, bias=BIAS),
    "strided": lambda: mioconv.conv2d_forward(WIDE, W),
    "benchmark": lambda: mioconv.conv2d_forward(X, W, benchmark=True),
    "relu": lambda: mioconv.conv2d_relu_forward(X, W, bias=BIAS),
    "relu, benchmark": lambda: mioconv.conv2d_relu_forward(X, W, bias=BIAS, benchmark=True),
    "add relu": lambda: mioconv.conv2d_add_relu_forward(X, W, Y, 0.5),
    "gradients": lambda: mioconv.conv2d_backward(X, Y, W),
    "transposed": lambda: mioconv.conv_transpose2d_forward(X, W),
    "excluded": excluded,
    "fallback": without_most,
    "strict": lambda: strict(),
    "find_solutions": lambda: len(mioconv.find_solutions(PROBLEM)),
    "plan": planned,
    "plan, constant weights": lambda: planned(constant_weights=True),
    "prepare": lambda: mioconv.prepare(PROBLEM)[0].problem,
    "pin": lambda: (
        mioconv.prepare(PROBLEM, solution=mioconv.find_solutions(PROBLEM)[-1])[0].problem
    ),
    "cache files": saved,
    "housekeeping": housekeeping,
    "allocator": allocated,
}


def strict() -> Any:
    with mioconv.flags(strict_accuracy=True):
        return mioconv.conv2d_relu_forward(X, W)


def start_anew() -> None:
    """Devices, plans and fused plans are made again, as in a forked child."""
    state.after_fork()
    state.cache_clear()


def same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return bool(np.allclose(a, b, rtol=1e-4, atol=1e-4))  # which solution runs may differ
    return bool(a == b)


def main() -> None:
    total = 0
    for name, operation in OPERATIONS.items():
        start_anew()
        expected = operation()
        failed = 0
        for request in range(1, 1000):
            start_anew()
            hooks.fail_after(request)
            try:
                result = operation()
                outcome = "served"
            except MemoryError:
                outcome = "raised"
            reached = hooks.requests_left() == 0
            hooks.fail_after(0)
            if outcome == "served":
                assert same(result, expected), (name, request)
            leased = {d: s["current"] for d, s in mioconv.memory_stats().items()}
            assert not any(leased.values()), (name, request, leased)
            assert same(operation(), expected), (name, request)
            if not reached:
                break
            failed += outcome == "raised"
            total += 1
        else:
            raise AssertionError(f"{name}: no end of requests")
        print(f"{name}: {request - 1} requests, {failed} raised", flush=True)
        assert failed, f"{name}: no request failed"
    print("requests", total)


if __name__ == "__main__":
    sys.exit(main())
