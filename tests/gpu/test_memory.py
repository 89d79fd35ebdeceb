"""Memory on the device: whose allocator, no growth, and what happens when there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.operators import FORWARD
from helpers.problems import Case
from helpers.tensors import random_array
from helpers.tolerances import assert_close

from .arrays import Kind, Torch

SMALL = Case("small", 1, 8, (8, 8), 8, (3, 3), 1, 1)


def free_bytes() -> int:
    torch = pytest.importorskip("torch", reason="asks PyTorch how much memory is free")
    torch.cuda.synchronize()
    return int(torch.cuda.mem_get_info()[0])


def test_results_come_from_the_callers_allocator(kind: Kind) -> None:
    x, w = (kind.put(random_array(s)) for s in (SMALL.input_shape, SMALL.weight_shape))
    if isinstance(kind, Torch):
        used = kind.torch.cuda.memory_allocated
    else:
        used = kind.cupy.get_default_memory_pool().used_bytes
    before = used()
    result = mioconv.conv2d_forward(x, w, padding=1)
    assert used() - before >= result.nbytes
    del result
    assert used() == before


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_no_growth_over_many_calls(kind: Kind, dtype: Any) -> None:
    """A hundred thousand calls leave as much memory as a thousand did."""
    x, w = (kind.put(random_array(s, dtype)) for s in (SMALL.input_shape, SMALL.weight_shape))
    out = kind.put(np.zeros(SMALL.output_shape, dtype))

    def calls(count: int) -> None:
        for i in range(count):
            mioconv.conv2d_forward(x, w, padding=1, out=out)
            if i % 1000 == 0:
                kind.synchronize()

    calls(1000)
    counts, left = mioconv.memory_stats(), free_bytes()
    calls(100_000)
    assert free_bytes() >= left
    after = mioconv.memory_stats()
    assert after == counts


def test_out_of_memory(kind: Kind) -> None:
    """A full device: an error that says so, or a solution that needs less; then all is well."""
    case = Case("large", 16, 64, (56, 56), 64, (3, 3), 1, 1)
    x, w = random_array(case.input_shape, np.float16), random_array(case.weight_shape, np.float16)
    device_x, device_w = kind.put(x), kind.put(w)
    out = kind.put(np.zeros(case.output_shape, np.float16))
    expected = FORWARD.expected(case, x, w)
    assert_close(mioconv.conv2d_forward(device_x, device_w, padding=1, out=out), *expected)
    mioconv.empty_cache()
    mioconv.cache_clear()
    kind.free()
    kept = []
    size = free_bytes()
    while size > 2**16:  # everything, in ever smaller pieces
        try:
            kept.append(kind.reserve(size))
        except Exception as error:
            assert "memory" in str(error).lower()  # noqa: PT017
            size //= 2
    try:
        with pytest.raises((MemoryError, RuntimeError)):  # the caller's own allocator
            mioconv.conv2d_forward(device_x, device_w, padding=1)
        try:
            mioconv.conv2d_forward(device_x, device_w, padding=1, out=out)
        except mioconv.OutOfMemoryError as error:
            assert "memory" in str(error)  # noqa: PT017
        else:
            assert_close(out, *expected)
    finally:
        kept.clear()
        kind.free()
    mioconv.empty_cache()
    assert_close(mioconv.conv2d_forward(device_x, device_w, padding=1), *expected)


def needy(x: Any, w: Any) -> mioconv.Solution:
    problem = mioconv.Problem.from_tensors("forward", x, w, padding=1)
    return max(mioconv.find_solutions(problem), key=lambda s: s.workspace_bytes)


def reserved() -> int:
    return mioconv.memory_stats()["cuda:0"]["reserved"]


def test_scratch_memory_is_kept_by_stream(kind: Kind) -> None:
    """Calls on one stream use one block, another stream has its own, and `empty_cache` ends both.

    The results of 200 calls in flight on two streams are right: neither writes into the other's.
    """
    case = Case("kept", 4, 32, (28, 28), 32, (3, 3), 1, 1)
    x, w = random_array(case.input_shape, np.float16), random_array(case.weight_shape, np.float16)
    device_x, device_w = kind.put(x), kind.put(w)
    solution = needy(device_x, device_w)
    assert solution.workspace_bytes > 0
    kind.synchronize()
    mioconv.empty_cache()
    held = reserved()
    streams = [kind.stream(), kind.stream()]
    results = []
    for i in range(200):
        with kind.on(streams[i % 2]):
            results.append(mioconv.conv2d_forward(device_x, device_w, padding=1, solution=solution))
    blocks = reserved() - held
    assert 2 * solution.workspace_bytes <= blocks <= 2 * (solution.workspace_bytes + 4096)
    kind.synchronize()
    for result in results:
        assert_close(result, *FORWARD.expected(case, x, w))
    mioconv.empty_cache()
    assert reserved() == held


def test_streams_that_come_and_go_leave_no_blocks(kind: Kind) -> None:
    x, w = (kind.put(random_array(s, np.float16)) for s in (SMALL.input_shape, SMALL.weight_shape))
    solution = needy(x, w)
    assert solution.workspace_bytes > 0
    out = kind.put(np.zeros(SMALL.output_shape, np.float16))
    mioconv.empty_cache()
    held = reserved()
    for _ in range(400):
        stream = kind.stream()
        with kind.on(stream):
            mioconv.conv2d_forward(x, w, padding=1, out=out, solution=solution)
        del stream
    assert reserved() - held <= 129 * (solution.workspace_bytes + 4096)
    kind.synchronize()
    mioconv.empty_cache()
    assert reserved() == held
