"""Ten thousand calls of every operator: no growth of memory, no object left behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import operands, random_bias
from helpers.native import live_objects, object_counts
from helpers.operators import (
    BACKWARD,
    DEPTHWISE_BACKWARD,
    DEPTHWISE_FORWARD,
    FORWARD,
    TRANSPOSE_BACKWARD,
    TRANSPOSE_FORWARD,
    Operator,
)
from helpers.problems import Case
from helpers.processes import program
from helpers.tensors import KINDS, import_torch, random_array

CALLS = 10_000
# One leaked descriptor, capsule or array header a call (some 50 bytes) would be 500 kB; the
# allocator's own noise stays below.
ALLOWED = 400_000

SMALL = Case("small", 1, 2, (5, 5), 2, (3, 3), 1, 1, 1, 2)
TRANSPOSED = Case("small-t", 1, 2, (4, 4), 2, (3, 3), 2, 1, 1, 2, 1, True)
OPERATORS = [FORWARD, DEPTHWISE_FORWARD, TRANSPOSE_FORWARD]
GRADIENTS = [*BACKWARD, *DEPTHWISE_BACKWARD, *TRANSPOSE_BACKWARD]


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def check_no_growth(call: Callable[[], Any], calls: int = CALLS) -> None:
    """The first tenth warms pools up; what follows must not grow.

    Where an earlier test gave the heap's free pages back to the system, they come again one by one
    and then no more; what leaks grows every time.
    """
    for _ in range(max(calls // 10, 100)):
        call()
    gc.collect()
    objects = live_objects()
    allocated = object_counts()["bytes_allocated"]
    growths: list[int] = []
    while not growths or (growths[-1] >= ALLOWED and len(growths) < 3):
        memory = resident()
        for _ in range(calls):
            call()
        gc.collect()
        growths.append(resident() - memory)
    assert live_objects() == objects
    assert object_counts()["bytes_allocated"] == allocated
    assert growths[-1] < ALLOWED, f"{growths} bytes in {calls} calls each"


def caller(op: Operator, wrap: Callable[[Any], Any] = lambda a: a) -> Callable[[], Any]:
    case = TRANSPOSED if op.family == "conv_transpose" else SMALL
    a, b = (wrap(t) for t in operands(op, case))
    return lambda: op(case, a, b)


pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm"
)


@pytest.mark.parametrize("op", OPERATORS, ids=str)
def test_calls(op: Operator) -> None:
    check_no_growth(caller(op))


@pytest.mark.parametrize("op", GRADIENTS, ids=str)
def test_backward_calls(op: Operator) -> None:
    check_no_growth(caller(op))


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "numpy"])
def test_calls_by_kind(kind: str) -> None:
    if kind == "torch":
        import_torch()
    # A bare producer makes its capsules in Python: fewer calls, the same bytes a call.
    check_no_growth(caller(FORWARD, KINDS[kind]) if kind == "torch" else fresh(kind))


def fresh(kind: str) -> Callable[[], Any]:
    """New producers every time: they keep a list of their capsules."""
    a, b = operands(FORWARD, SMALL)
    return lambda: FORWARD(SMALL, KINDS[kind](a), KINDS[kind](b))


def test_bias_and_out() -> None:
    x, w = operands(FORWARD, SMALL)
    bias, out = random_bias(SMALL), np.zeros(SMALL.output_shape, np.float32)
    check_no_growth(lambda: FORWARD(SMALL, x, w, bias=bias, out=out))


def test_half() -> None:
    x, w = operands(FORWARD, SMALL, np.float16)
    check_no_growth(lambda: FORWARD(SMALL, x, w, bias=random_bias(SMALL, np.float16)))


def test_strided() -> None:
    """Inputs that are packed on the way, and "same" with an even kernel."""
    x = random_array((1, 2, 10, 10))[..., ::2, ::2]
    w = random_array((2, 1, 2, 2), seed=1)
    check_no_growth(lambda: mioconv.conv2d_forward(x, w, padding="same", groups=2))


def test_relu() -> None:
    x, w = operands(FORWARD, SMALL)
    bias = random_bias(SMALL)
    check_no_growth(lambda: mioconv.conv2d_relu_forward(x, w, bias, padding=1, groups=2))


def test_add_relu() -> None:
    x, w = operands(FORWARD, SMALL)
    z, bias = random_array(SMALL.output_shape), random_bias(SMALL)
    arguments = {"padding": 1, "groups": 2}
    check_no_growth(lambda: mioconv.conv2d_add_relu_forward(x, w, z, 0.5, bias, **arguments))


@pytest.mark.parametrize("family", ["conv", "depthwise_conv", "conv_transpose"])
def test_backward_all(family: str) -> None:
    case = TRANSPOSED if family == "conv_transpose" else SMALL
    shapes = (case.input_shape, case.output_shape, case.weight_shape)
    x, dy, w = (random_array(shape, seed=i) for i, shape in enumerate(shapes))
    settings = Operator(family, "forward").settings(case)
    function = getattr(mioconv, f"{family}2d_backward")
    check_no_growth(lambda: function(x, dy, w, **settings))


def test_backward_bias() -> None:
    dy = random_array((2, 3, 4, 4))
    check_no_growth(lambda: mioconv.conv2d_backward_bias(dy))


def test_refused_calls() -> None:
    """Errors hold nothing either."""
    x, w = operands(FORWARD, SMALL)
    wrong = random_bias(SMALL)[:1]

    def call() -> None:
        with pytest.raises(ValueError, match="bias"):
            FORWARD(SMALL, x, w, bias=wrong)

    check_no_growth(call, 3000)


def test_cleared_caches() -> None:
    """Everything that a plan holds goes with it."""
    x, w = operands(FORWARD, SMALL)

    def call() -> None:
        mioconv.cache_clear()
        FORWARD(SMALL, x, w)
        mioconv.empty_cache()

    check_no_growth(call, 300)


def test_created_equals_destroyed_after_clearing() -> None:
    """With no plan left, no descriptor, fusion plan or operator argument is."""
    mioconv.cache_clear()
    mioconv.empty_cache()
    before = live_objects()  # what tests that use the library directly keep alive
    for op in (*OPERATORS, *GRADIENTS):
        caller(op)()
    x, w = operands(FORWARD, SMALL)
    mioconv.conv2d_relu_forward(x, w, padding=1, groups=2)
    mioconv.cache_clear()
    mioconv.empty_cache()
    live = live_objects()
    for kind in (
        "tensor_descriptors", "convolution_descriptors", "activation_descriptors", "fusion_plans",
        "operator_args", "allocations",
    ):  # fmt: skip
        assert live[kind] == before[kind], f"{live[kind] - before[kind]} {kind} left"
    assert live["allocations"] == 0
    assert object_counts()["bytes_allocated"] == 0


FUSED = """
import gc
import numpy as np, mioconv
from test_leaks import resident

x, w = np.ones((1, 16, 9, 9), dtype := "float16"), np.ones((16, 16, 3, 3), dtype)
mioconv.set_cache_capacity(8)

def grow(start, count):
    for alpha in range(start, start + count):
        mioconv.conv2d_add_relu_forward(x, w, x, alpha=alpha / 4096, padding=1)
    mioconv.cache_clear()
    mioconv.empty_cache()
    gc.collect()
    return resident()

grow(1, 600)
before = grow(601, 200)
print(grow(801, 600) - before)
"""


def test_ever_new_fused_problems() -> None:
    """What oneDNN never gives back is bounded: 25 KB each would be 15 MB."""
    grown = program(FUSED, PYTHONPATH=str(Path(__file__).parent), MIOCONV_CACHE="0")
    assert int(grown) < 2_000_000
