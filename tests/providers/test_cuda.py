"""What only the CUDA library does: device memory, pools, asynchronous streams."""

from __future__ import annotations

import ctypes as c
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import SHAPES, Shape, make_case

PLAIN = next(s for s in SHAPES if s.name == "plain")
HIP_INVALID_VALUE, HIP_OUT_OF_MEMORY, HIP_NOT_READY = 1, 2, 600


@pytest.fixture(scope="module")
def cuda(library: abi.Library) -> abi.Library:
    if library.provider != "cuda":
        pytest.skip("of the CUDA library")
    return library


def test_memory(cuda: abi.Library) -> None:
    before = cuda.counts().bytes_allocated
    for allocate, free in (("hipMalloc", "hipFree"), ("hipMallocAsync", "hipFreeAsync")):
        on = [None] if allocate.endswith("Async") else []
        memory = cuda.create(allocate, c.c_size_t(1000), *on)
        assert memory.value % 256 == 0
        assert cuda.counts().bytes_allocated == before + 1000
        host = np.arange(1000).astype(np.uint8)
        back = np.zeros_like(host)
        there, here = (c.c_void_p(a.ctypes.data) for a in (host, back))
        cuda.call("hipMemcpyAsync", memory, there, c.c_size_t(1000), 1, None)
        cuda.call("hipMemsetAsync", memory, 7, c.c_size_t(10), None)
        cuda.call("hipMemcpyAsync", here, memory, c.c_size_t(1000), 2, None)
        cuda.call("hipDeviceSynchronize")
        assert (back[:10] == 7).all()
        np.testing.assert_array_equal(back[10:], host[10:])
        attributes = (c.c_int * 8)()
        cuda.call("hipPointerGetAttributes", attributes, memory)
        assert (attributes[0], attributes[1]) == (2, 0), "HIP 6 calls device memory 2"
        cuda.call("hipPointerGetAttributes", attributes, there)
        assert attributes[0] == 0, "and what it does not know 0"
        cuda.call(free, memory, *on)
        assert cuda.counts().bytes_allocated == before
        none = cuda.create(allocate, c.c_size_t(0), *on)
        assert none.value is None
        huge = c.c_void_p()
        assert cuda.status(allocate, c.byref(huge), c.c_size_t(2**46), *on) == HIP_OUT_OF_MEMORY
        assert cuda.so.hipGetLastError() == HIP_OUT_OF_MEMORY
        assert cuda.so.hipGetLastError() == 0
    free_bytes, total = c.c_size_t(), c.c_size_t()
    cuda.call("hipMemGetInfo", c.byref(free_bytes), c.byref(total))
    assert 0 < free_bytes.value <= total.value


def test_the_pool_keeps_memory_until_it_is_trimmed(cuda: abi.Library) -> None:
    pool = c.c_void_p()
    cuda.call("hipDeviceGetDefaultMemPool", c.byref(pool), 0)

    def free() -> int:
        left, total = c.c_size_t(), c.c_size_t()
        cuda.call("hipDeviceSynchronize")
        cuda.call("hipMemGetInfo", c.byref(left), c.byref(total))
        return left.value

    cuda.call("hipMemPoolTrimTo", pool, c.c_size_t(0))
    before = free()
    size = 2**30
    cuda.call("hipFreeAsync", cuda.create("hipMallocAsync", c.c_size_t(size), None), None)
    assert before - free() >= size
    cuda.call("hipMemPoolTrimTo", pool, c.c_size_t(0))
    assert free() == before


def test_device(cuda: abi.Library) -> None:
    count, version, pools = c.c_int(), c.c_int(), c.c_int(7)
    cuda.call("hipGetDeviceCount", c.byref(count))
    cuda.call("hipRuntimeGetVersion", c.byref(version))
    cuda.call("hipDeviceGetAttribute", c.byref(pools), 88, 0)
    assert count.value >= 1
    assert version.value // 10_000_000 == 6
    assert pools.value == 1
    assert cuda.status("hipSetDevice", count.value) == 101
    old, new = c.create_string_buffer(792), c.create_string_buffer(1472)
    cuda.call("hipGetDeviceProperties", old, 0)
    cuda.call("hipGetDevicePropertiesR0600", new, 0)
    text = [b.raw[at : at + 256].split(b"\0")[0].decode() for b, at in ((old, 396), (new, 1160))]
    assert text[0] == text[1]
    assert re.fullmatch(r"sm_\d+", text[0])
    assert old.raw[:256] == new.raw[:256]
    assert b"NVIDIA" in old.value
    units = [int.from_bytes(b.raw[at : at + 4], "little") for b, at in ((old, 336), (new, 388))]
    assert units[0] == units[1] > 0


def test_describe(cuda: abi.Library) -> None:
    text = c.create_string_buffer(200)
    cuda.call("mioconvGetVersions", text, c.c_size_t(200))
    assert re.fullmatch(r"cuDNN \d+\.\d+\.\d+, CUDA \d+\.\d+", text.value.decode())
    cuda.call("mioconvDescribe", text, c.c_size_t(200))
    assert re.fullmatch(r"cuDNN 9\.\d+\.\d+, CUDA 1[23]\.\d+", text.value.decode())
    assert cuda.status("mioconvDescribe", text, c.c_size_t(5)) == abi.BAD_PARM


@contextmanager
def _on_device(cuda: abi.Library, *arrays: np.ndarray) -> Iterator[list[c.c_void_p]]:
    blocks = []
    for array in arrays:
        block = cuda.create("hipMalloc", c.c_size_t(array.nbytes))
        source = c.c_void_p(array.ctypes.data)
        cuda.call("hipMemcpyAsync", block, source, c.c_size_t(array.nbytes), 1, None)
        blocks.append(block)
    cuda.call("hipDeviceSynchronize")
    try:
        yield blocks
    finally:
        for block in blocks:
            cuda.call("hipFree", block)


def test_work_is_queued_on_the_handles_stream(cuda: abi.Library, handle: Any) -> None:
    """Immediate calls come back before the work is done, and follow what the stream holds."""
    shape = Shape("big", (32, 128, 56, 56), (128, 128, 3, 3), (1, 1), (1, 1), (1, 1))
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s, dtype=np.float32) for s in (shape.x, shape.w))
    y = np.zeros(shape.y, np.float32)
    stream = cuda.create("hipStreamCreateWithFlags", 1)
    event = cuda.create("hipEventCreateWithFlags", 0)
    cuda.call("miopenSetStream", handle, stream)
    with (
        _on_device(cuda, x, w, y) as (px, pw, py),
        abi.problem(cuda, handle, abi.FORWARD, x, w, y, **shape.settings()) as problem,
    ):
        solution = problem.solutions()[0]
        problem.compile(solution.solution_id)
        cuda.call("hipStreamSynchronize", stream)
        size = solution.workspace_size
        space = cuda.create("hipMallocAsync", c.c_size_t(size), stream)
        for _ in range(20):
            cuda.call(
                problem.name("Immediate"), handle, problem.first[0], pw, problem.second[0], px,
                problem.conv, problem.third[0], py, space, c.c_size_t(size),
                c.c_uint64(solution.solution_id),
            )  # fmt: skip
        cuda.call("hipEventRecord", event, stream)
        assert cuda.status("hipEventQuery", event) == HIP_NOT_READY
        cuda.so.hipGetLastError()
        cuda.call("hipFreeAsync", space, stream)
        cuda.call("hipStreamSynchronize", stream)
        assert cuda.status("hipEventQuery", event) == 0
    cuda.call("miopenSetStream", handle, None)
    cuda.call("hipEventDestroy", event)
    cuda.call("hipStreamDestroy", stream)


@pytest.mark.parametrize("offset", [2, 4, 8, 16])
@pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
def test_every_solution_takes_any_alignment(
    cuda: abi.Library, handle: Any, last: bool, offset: int
) -> None:
    """What engines would fail on is copied, in memory that the workspace need not have."""
    case = make_case(PLAIN, np.dtype(np.float16))
    x, w, y = case.arrays(abi.FORWARD, last)
    with abi.problem(cuda, handle, abi.FORWARD, x, w, y, **PLAIN.settings()) as problem:
        for solution in problem.solutions():
            block = cuda.create("hipMalloc", c.c_size_t(x.nbytes + 256))
            moved = c.c_void_p(block.value + offset)
            source = c.c_void_p((x.base if x.base is not None else x).ctypes.data)
            cuda.call("hipMemcpyAsync", moved, source, c.c_size_t(x.nbytes), 1, None)
            cuda.call("hipDeviceSynchronize")
            space = np.empty(solution.workspace_size, np.uint8)
            problem.out[...] = np.nan
            status = cuda.status(
                problem.name("Immediate"), handle, problem.first[0], abi.pointer(w),
                problem.second[0], moved, problem.conv, problem.third[0], abi.pointer(y),
                abi.pointer(space) if space.size else None, c.c_size_t(space.size),
                c.c_uint64(solution.solution_id),
            )  # fmt: skip
            cuda.call("hipFree", block)
            name = cuda.solution_name(solution.solution_id)
            if "matmul" in name or "depthwise" in name:  # they say where they cannot
                assert status in (abi.SUCCESS, abi.BAD_PARM), name
            else:
                assert status == abi.SUCCESS, name
            if status == abi.SUCCESS:
                case.check(abi.FORWARD, problem.out)


def test_deterministic_lists_fewer(cuda: abi.Library, handle: Any) -> None:
    """What varies from run to run is not listed where that is asked for."""
    shape = Shape("wide", (4, 64, 28, 28), (64, 64, 3, 3), (1, 1), (1, 1), (1, 1))
    arrays = [np.zeros(s, np.float32) for s in (shape.x, shape.w, shape.y)]
    with abi.problem(cuda, handle, abi.BACKWARD_WEIGHTS, *arrays, **shape.settings()) as problem:
        problem.workspace()
        every = {s.solution_id for s in problem.solutions(4000)}
        cuda.call("miopenSetConvolutionAttribute", problem.conv, abi.DETERMINISTIC, 1)
        problem.workspace()
        fixed = {s.solution_id for s in problem.solutions(4000)}
    assert fixed
    assert fixed < every


HALF_TYPES = [np.dtype(np.float16), *([abi.BFLOAT16] if abi.BFLOAT16 is not None else [])]


@pytest.mark.parametrize("direction", [abi.FORWARD, abi.BACKWARD_DATA])
@pytest.mark.parametrize("dtype", HALF_TYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [s for s in SHAPES if s.name.startswith("pointwise")], ids=lambda s: s.name
)
def test_every_tile_of_our_own_kernel(
    cuda: abi.Library, handle: Any, shape: Shape, dtype: Any, direction: str
) -> None:
    """Rows of pixels of any length, strides, tiles that end beyond the tensors."""
    case = make_case(shape, dtype)
    arrays = case.arrays(direction, False)
    with abi.problem(cuda, handle, direction, *arrays, **shape.settings()) as problem:
        problem.workspace()  # lists everything
        ran = 0
        for solution in problem.solutions(4000):
            name = cuda.solution_name(solution.solution_id)
            if ":matmul" not in name:
                continue
            ran += 1
            assert solution.workspace_size == 0
            for _ in range(2):
                problem.out[...] = np.nan
                problem.immediate(solution)
                case.check(direction, problem.out, name)
        assert ran > 1, "the tiles are listed"


@pytest.mark.parametrize("direction", abi.DIRECTIONS)
@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float16)], ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
def test_calls_that_come_again(
    cuda: abi.Library, handle: Any, last: bool, dtype: Any, direction: str
) -> None:
    """What is kept of a call for the next one on the same memory does not show."""
    for shape in (PLAIN, *(s for s in SHAPES if s.name in ("grouped", "volume", "winograd"))):
        case = make_case(shape, dtype)
        arrays = case.arrays(direction, last)
        with abi.problem(cuda, handle, direction, *arrays, **shape.settings()) as problem:
            for solution in problem.solutions():
                name = cuda.solution_name(solution.solution_id)
                for _ in range(4):
                    problem.out[...] = np.nan
                    problem.immediate(solution)
                    case.check(direction, problem.out, name, "winograd" in name or "fft" in name)
