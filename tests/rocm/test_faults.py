"""Every native call of every operator fails once: an error or a way around it, and no harm done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.rocm import CupyArray, Tensor, read
from helpers.standin import Standin
from helpers.tensors import random_array

X, W, B = (2, 4, 7, 6), (6, 4, 3, 2), (6,)
Y = (2, 6, 5, 5)


def arrays(*shapes: tuple[int, ...]) -> list[Any]:
    return [random_array(shape, seed=seed) for seed, shape in enumerate(shapes)]


def strided(a: Any) -> Any:
    big = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    big[..., ::2] = a
    return big[..., ::2]


def call(name: str, *shapes: Any, lead: Any = (), **settings: Any) -> Callable[..., Any]:
    """A call of one operator on tensors that `wrap` makes; `strides` makes them strided first."""

    def run(wrap: Callable[[Any], Any], strides: bool = False, **more: Any) -> Any:
        given = [strided(a) if strides and a.ndim > 1 else a for a in arrays(*shapes)]
        function = getattr(mioconv, name)
        return function(*lead, *(wrap(a) for a in given), **settings, **more)

    return run


OPERATIONS = {
    "forward": call("conv2d_forward", X, W, B, padding=0),
    "forward-1d": call("conv1d_forward", (2, 4, 9), (6, 4, 3)),
    "forward-same": call("conv2d_forward", X, (6, 4, 2, 2), padding="same"),
    "backward_input": call("conv2d_backward_input", Y, W, lead=(X,)),
    "backward_weight": call("conv2d_backward_weight", Y, X, lead=(W,)),
    "backward_bias": call("conv2d_backward_bias", Y),
    "backward": call("conv2d_backward", X, Y, W),
    "transpose-forward": call("conv_transpose2d_forward", Y, W, stride=1),
    "transpose-backward_input": call("conv_transpose2d_backward_input", X, W),
    "transpose-backward_weight": call("conv_transpose2d_backward_weight", X, Y, lead=(W,)),
    "transpose-backward": call("conv_transpose2d_backward", Y, X, W),
    "depthwise": call("depthwise_conv2d_forward", X, (8, 1, 3, 2)),
    "relu": call("conv2d_relu_forward", X, W, B),
    "add_relu": lambda wrap, strides=False, **more: mioconv.conv2d_add_relu_forward(
        *(wrap(strided(a) if strides else a) for a in arrays(X, W, Y)), 0.5, **more),
}  # fmt: skip


def same(got: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return all(same(g, e) for g, e in zip(got, expected, strict=True))
    return np.allclose(read(got), expected, rtol=1e-4, atol=1e-4)


def sweep(
    standin: Standin,
    operation: Callable[..., Any],
    wrap: Callable[[Any], Any],
    device: int,
    statuses: tuple[int, int],
    **more: Any,
) -> tuple[int, int]:
    """Fail the first, the second, … native call; how many there were, how many were survived.

    How often a search runs a solution depends on the machine: of the calls behind the two hundredth
    one in forty or so fails.
    """
    strides = more.pop("strides", False)
    expected = operation(lambda a: a, **{k: v for k, v in more.items() if k != "stream"})
    operation(wrap, strides, **more)
    survived = 0
    nth = 0
    while nth < 20_000:
        nth += max(1, nth // 40 if nth > 200 else 1)
        mioconv.cache_clear()
        mioconv.empty_cache()
        handles = standin.live.count("miopenCreateWithStream")
        blocks = standin.allocations
        standin.clear()
        standin.fail("", nth, *statuses)
        try:
            got = operation(wrap, strides, **more)
        except mioconv.MioconvError:
            got = None
        failed = next((c["call"] for c in standin.journal if c["status"] in statuses), "?")
        if not standin.end_fault():
            assert got is not None
            return nth - 1, survived
        if got is not None:
            survived += 1
            assert same(got, expected), f"wrong after {failed} (call {nth}) failed"
        got = None
        where = f"{failed} (call {nth})"
        assert not standin.violations, f"{where}: {standin.violations}"
        if standin.current_device != 0:  # what restores it may be what failed
            assert failed == "hipSetDevice", where
            standin.make_current(0)
        # Usable afterwards, without a word to anybody.
        assert same(operation(wrap, strides, **more), expected), f"unusable after {where}"
        mioconv.cache_clear()
        mioconv.empty_cache()
        left = [n for n in standin.live if n != "miopenCreateWithStream"]
        assert not left, f"{where} leaks {left}"
        assert standin.live.count("miopenCreateWithStream") <= handles + 1, where
        if failed not in ("hipFree", "hipFreeAsync", "hipSetDevice", "hipGetDevice"):
            assert standin.allocations <= blocks, f"{where} leaks memory"
    raise AssertionError("it never ends")


STATUSES = {"errors": (999, 7), "out of memory": (2, 4)}


@pytest.mark.parametrize("statuses", STATUSES.values(), ids=list(STATUSES))
@pytest.mark.parametrize("name", OPERATIONS)
def test_bare_tensors(standin: Standin, name: str, statuses: tuple[int, int]) -> None:
    calls, _ = sweep(standin, OPERATIONS[name], Tensor, 0, statuses)
    assert calls > 10


@pytest.mark.parametrize("name", ["forward", "backward", "relu", "add_relu"])
def test_strided_on_another_device_and_stream(standin: Standin, name: str) -> None:
    calls, _ = sweep(
        standin, OPERATIONS[name], lambda a: Tensor(a, 1), 1, (999, 7), strides=True,
        stream=0x900 if name != "backward" else None)  # fmt: skip
    assert calls > 30
    mioconv.conv2d_forward(*map(Tensor, arrays(X, W)))


@pytest.mark.parametrize("name", ["forward", "backward_input", "backward_weight", "relu"])
def test_benchmark(standin: Standin, name: str) -> None:
    standin.set(solutions=2)
    with mioconv.flags(benchmark_budget_ms=0):
        calls, survived = sweep(standin, OPERATIONS[name], Tensor, 0, (999, 7), benchmark=True)
    assert calls > 30
    assert survived > 5, "a search that fails is no error"


def test_a_library_with_second_ways(standin: Standin, cupy: Any) -> None:
    """Steps that fail are the array library's; the convolution itself is not."""
    _, survived = sweep(standin, OPERATIONS["relu"], CupyArray, 0, (999, 7), strides=True)
    assert survived > 0
