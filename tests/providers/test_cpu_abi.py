"""The library's outside: symbols, bad arguments, HIP's calls, counters, faults, fork, threads."""

from __future__ import annotations

import ctypes as c
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import SHAPES, make_case

PLAIN = next(s for s in SHAPES if s.name == "plain")
FLOAT = np.dtype(np.float32)
HIP_INVALID_VALUE, HIP_OUT_OF_MEMORY = 1, 2


def test_exports_are_exactly_the_list(cpu: abi.Library) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm (binutils) is not installed")
    out = subprocess.run(
        [nm, "-D", "--defined-only", str(cpu.path)], check=True, capture_output=True, text=True
    ).stdout
    exported = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    assert exported == set(abi.listed_functions())


# Functions that mean something with nothing but zeros.
ZEROS_ARE_FINE = {
    "miopenGetVersion", "hipGetLastError", "hipDeviceSynchronize", "hipSetDevice", "hipFree",
    "hipFreeAsync", "hipMemcpyAsync", "hipMemsetAsync", "hipStreamSynchronize", "hipStreamDestroy",
    "mioconvSetNumThreads", "mioconvInjectFault",
}  # fmt: skip


@pytest.mark.parametrize("function", abi.listed_functions())
def test_null_arguments_give_a_status(cpu: abi.Library, function: str) -> None:
    """Every argument NULL or 0: a status, never a crash."""
    if function.endswith(("ErrorString", "ErrorName")):
        assert getattr(cpu.so, function)(0)
        return
    status = cpu.status(function, *[c.c_void_p(None)] * 20)
    destroys = "Destroy" in function and function.startswith("miopen")
    assert (status == 0) == (function in ZEROS_ARE_FINE or destroys), status
    cpu.call("mioconvSetNumThreads", 0)


@pytest.mark.parametrize("direction", abi.DIRECTIONS)
def test_each_null_argument_alone(cpu: abi.Library, handle: Any, direction: str) -> None:
    """Immediate and GetSolution with one pointer missing at a time."""
    case = make_case(PLAIN, FLOAT)
    x, w, y = case.arrays(direction, False)
    with abi.problem(cpu, handle, direction, x, w, y, **PLAIN.settings()) as problem:
        solution = problem.solutions()[0]
        space = np.empty(solution.workspace_size + 1, np.uint8)
        a, b, out = problem.first, problem.second, problem.third
        good = [handle, a[0], abi.pointer(a[1]), b[0], abi.pointer(b[1]), problem.conv, out[0],
                abi.pointer(out[1])]  # fmt: skip
        rest = (abi.pointer(space), c.c_size_t(space.size), c.c_uint64(solution.solution_id))
        assert cpu.status(problem.name("Immediate"), *good, *rest) == 0
        for i in range(len(good)):
            bad = [None if j == i else v for j, v in enumerate(good)]
            assert cpu.status(problem.name("Immediate"), *bad, *rest) == abi.BAD_PARM, i
        n, found = c.c_size_t(0), (abi.Solution * 4)()
        query = [handle, *problem.descs]
        for i in range(len(query)):
            bad = [None if j == i else v for j, v in enumerate(query)]
            status = cpu.status(problem.name("GetSolution"), *bad, c.c_size_t(4), c.byref(n), found)
            assert status == abi.BAD_PARM, i


def _array(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize("direction", abi.DIRECTIONS)
@pytest.mark.parametrize(
    ("x", "w", "y", "changes"),
    [
        (_array(1, 5, 6, 6), _array(4, 4, 3, 3), _array(1, 4, 6, 6), {}),
        (_array(1, 4, 6, 6), _array(4, 4, 3, 3), _array(1, 5, 6, 6), {}),
        (_array(2, 4, 6, 6), _array(4, 4, 3, 3), _array(1, 4, 6, 6), {}),
        (_array(1, 4, 6, 6), _array(4, 4, 3, 3), _array(1, 4, 6, 5), {}),
        (_array(1, 4, 6, 6), _array(4, 4, 3, 3), _array(1, 4, 6, 6, dtype=np.float16), {}),
        (_array(1, 4, 6, 6), _array(4, 4, 3, 3, 3), _array(1, 4, 6, 6), {}),
        (_array(1, 4, 1, 1), _array(4, 4, 4, 4), _array(1, 4, 1, 1), {}),
        (_array(1, 4, 6, 6), _array(5, 2, 3, 3), _array(1, 5, 6, 6), {"groups": 2}),
        (_array(1, 4, 6, 6), _array(4, 4, 3, 3), _array(1, 4, 6, 6), {"mode": abi.DEPTHWISE}),
        (_array(1, 4, 6, 6)[:, :, :, ::1].repeat(1, 1), _array(4, 4, 3, 3), _array(1, 4, 6, 6),
         {"stride": (2, 2)}),
        (np.broadcast_to(_array(1, 4, 1, 6), (1, 4, 6, 6)), _array(4, 4, 3, 3),
         _array(1, 4, 6, 6), {}),
    ],
    ids=["channels", "outputs", "batch", "size", "dtypes", "ranks", "kernel", "groups",
         "depthwise", "stride", "overlap"],
)  # fmt: skip
def test_contradictions_are_refused(
    cpu: abi.Library, handle: Any, direction: str, x: Any, w: Any, y: Any, changes: dict[str, Any]
) -> None:
    options = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), **changes}
    with abi.problem(cpu, handle, direction, x, w, y, **options) as problem:
        for ask in (problem.count, problem.solutions, problem.workspace):
            with pytest.raises(abi.StatusError) as caught:
                ask()
            assert caught.value.status == abi.BAD_PARM


@pytest.mark.parametrize(
    "values",
    [((0, 1), (0, 0), (1, 1)), ((1, 1), (-1, 0), (1, 1)), ((1, 1), (0, 0), (1, 0))],
    ids=["stride", "padding", "dilation"],
)
def test_bad_convolution_settings(cpu: abi.Library, values: Any) -> None:
    with pytest.raises(abi.StatusError) as caught, cpu.convolution(*values):
        pass
    assert caught.value.status == abi.BAD_PARM


def test_unknown_dtypes_have_no_solutions(cpu: abi.Library, handle: Any) -> None:
    with abi.problem(
        cpu, handle, abi.FORWARD, _array(1, 1, 4, 4), _array(1, 1, 1, 1), _array(1, 1, 4, 4),
        stride=(1, 1), padding=(0, 0), dilation=(1, 1),
    ) as problem:  # fmt: skip
        for desc in (problem.first[0], problem.second[0], problem.third[0]):
            rank, sizes = 4, abi.ints((1, 1, 4, 4) if desc is not problem.first[0] else (1,) * 4)
            cpu.call("miopenSetTensorDescriptor", desc, 3, rank, sizes, None)
        with pytest.raises(abi.StatusError) as caught:
            problem.count()
        assert caught.value.status == abi.NOT_IMPLEMENTED
        assert problem.solutions() == []


def test_output_dimensions(cpu: abi.Library) -> None:
    for shape in SHAPES:
        x, w = np.zeros(shape.x, np.float32), np.zeros(shape.w, np.float32)
        with (
            cpu.tensor(x) as xd,
            cpu.tensor(w) as wd,
            cpu.convolution(**shape.settings()) as conv,
        ):
            n, dims = c.c_int(0), (c.c_int * 5)()
            cpu.call("miopenGetConvolutionNdForwardOutputDim", conv, xd, wd, c.byref(n), dims)
            assert tuple(dims[: n.value]) == shape.y


def test_descriptors_give_back_what_was_set(cpu: abi.Library) -> None:
    array = abi.channels_last(np.zeros((2, 3, 4, 5), np.float16))
    with cpu.tensor(array) as desc:
        dtype, dims, strides, size = c.c_int(), (c.c_int * 4)(), (c.c_int * 4)(), c.c_int()
        cpu.call("miopenGetTensorDescriptor", desc, c.byref(dtype), dims, strides)
        cpu.call("miopenGetTensorDescriptorSize", desc, c.byref(size))
        assert (dtype.value, tuple(dims), size.value) == (0, (2, 3, 4, 5), 4)
        assert tuple(strides) == tuple(s // 2 for s in array.strides)
    with cpu.convolution((1, 2), (3, 4), (5, 6), groups=7) as conv:
        n, mode, groups = c.c_int(), c.c_int(), c.c_int()
        pads, steps, gaps = ((c.c_int * 2)() for _ in range(3))
        cpu.call(
            "miopenGetConvolutionNdDescriptor", conv, 2, c.byref(n), pads, steps, gaps,
            c.byref(mode),
        )  # fmt: skip
        cpu.call("miopenGetConvolutionGroupCount", conv, c.byref(groups))
        assert (n.value, mode.value, groups.value) == (2, 0, 7)
        assert (tuple(steps), tuple(pads), tuple(gaps)) == ((1, 2), (3, 4), (5, 6))
        value = c.c_int()
        cpu.call("miopenSetConvolutionAttribute", conv, 1, 1)
        cpu.call("miopenGetConvolutionAttribute", conv, 1, c.byref(value))
        assert value.value == 1
        assert cpu.status("miopenSetConvolutionAttribute", conv, 99, 1) == abi.BAD_PARM
        cpu.call("miopenSetConvolutionFindMode", conv, 1)
        cpu.call("miopenGetConvolutionFindMode", conv, c.byref(value))
        assert value.value == 1


# ---- HIP


def test_memory(cpu: abi.Library) -> None:
    before = cpu.counts().bytes_allocated
    memory = cpu.create("hipMalloc", c.c_size_t(1000))
    assert memory.value % 64 == 0
    assert cpu.counts().bytes_allocated == before + 1000
    host = np.arange(1000, dtype=np.uint8)
    back = np.zeros_like(host)
    cpu.call("hipMemcpyAsync", memory, abi.pointer(host), c.c_size_t(1000), 1, None)
    cpu.call("hipMemcpyAsync", abi.pointer(back), memory, c.c_size_t(1000), 2, None)
    np.testing.assert_array_equal(back, host)
    cpu.call("hipMemsetAsync", memory, 7, c.c_size_t(10), None)
    cpu.call("hipMemcpyAsync", abi.pointer(back), memory, c.c_size_t(11), 2, None)
    assert back[:11].tolist() == [7] * 10 + [10]
    attributes = (c.c_int * 8)()
    cpu.call("hipPointerGetAttributes", attributes, memory)
    assert attributes[0] == 1, "HIP 6 calls host memory 1"
    cpu.call("hipFree", memory)
    assert cpu.status("hipFree", memory) == HIP_INVALID_VALUE, "freed twice"
    assert cpu.so.hipGetLastError() == HIP_INVALID_VALUE
    assert cpu.so.hipGetLastError() == 0
    none = cpu.create("hipMalloc", c.c_size_t(0))
    assert none.value is None
    huge = c.c_void_p()
    assert cpu.status("hipMalloc", c.byref(huge), c.c_size_t(2**63)) == HIP_OUT_OF_MEMORY
    free, total = c.c_size_t(), c.c_size_t()
    cpu.call("hipMemGetInfo", c.byref(free), c.byref(total))
    assert 0 < free.value <= total.value


def test_device(cpu: abi.Library) -> None:
    count, version, pools = c.c_int(), c.c_int(), c.c_int(7)
    cpu.call("hipGetDeviceCount", c.byref(count))
    cpu.call("hipRuntimeGetVersion", c.byref(version))
    cpu.call("hipDeviceGetAttribute", c.byref(pools), 88, 0)
    assert count.value == 1
    assert version.value // 10_000_000 == 6
    assert pools.value == 0
    assert cpu.status("hipSetDevice", 1) == 101
    old, new = c.create_string_buffer(792), c.create_string_buffer(1472)
    cpu.call("hipGetDeviceProperties", old, 0)
    cpu.call("hipGetDevicePropertiesR0600", new, 0)
    text = [b.raw[at : at + 256].split(b"\0")[0].decode() for b, at in ((old, 396), (new, 1160))]
    assert text[0] == text[1]
    assert re.fullmatch(r"[a-z0-9_]+", text[0])
    assert old.raw[:256] == new.raw[:256]
    assert old.value


def test_streams_and_events(cpu: abi.Library, handle: Any) -> None:
    stream = cpu.create("hipStreamCreateWithFlags", 1)
    cpu.call("miopenSetStream", handle, stream)
    got = c.c_void_p()
    cpu.call("miopenGetStream", handle, c.byref(got))
    assert got.value == stream.value
    start, stop = (cpu.create("hipEventCreateWithFlags", 0) for _ in range(2))
    ms = c.c_float(-1)
    assert cpu.status("hipEventElapsedTime", c.byref(ms), start, stop) == 400, "never recorded"
    cpu.call("hipEventRecord", start, stream)
    cpu.call("hipEventRecord", stop, stream)
    cpu.call("hipStreamWaitEvent", stream, stop, 0)
    cpu.call("hipEventSynchronize", stop)
    cpu.call("hipEventElapsedTime", c.byref(ms), start, stop)
    assert 0 <= ms.value < 1000
    capture = c.c_int(9)
    cpu.call("hipStreamIsCapturing", stream, c.byref(capture))
    assert capture.value == 0
    for event in (start, stop):
        cpu.call("hipEventDestroy", event)
    cpu.call("miopenSetStream", handle, None)
    cpu.call("hipStreamDestroy", stream)


# ---- counters, faults, threads, fork


def _run_forward(cpu: abi.Library, dtype: Any = FLOAT, shape: Any = PLAIN) -> np.ndarray:
    case = make_case(shape, dtype)
    with (
        cpu.handle() as handle,
        abi.problem(
            cpu, handle, abi.FORWARD, *case.arrays(abi.FORWARD, False), **shape.settings()
        ) as problem,
    ):
        first = problem.solutions()[0]
        problem.immediate(first)
        case.check(abi.FORWARD, problem.out, cpu.solution_name(first.solution_id))
        return problem.out


def test_counters_balance(cpu: abi.Library) -> None:
    before = cpu.counts()
    _run_forward(cpu)
    after = cpu.counts()
    assert after.alive() == before.alive()
    assert after.handles_made == before.handles_made + 1
    assert after.tensor_descriptors_made >= before.tensor_descriptors_made + 3
    assert after.native_calls > before.native_calls


def test_faults(cpu: abi.Library) -> None:
    calls = []
    with cpu.fault("miopenCreate", abi.ALLOC_FAILED, nth=2):
        for _ in range(3):
            made = c.c_void_p()
            calls.append(cpu.status("miopenCreate", c.byref(made)))
            if made.value:
                cpu.call("miopenDestroy", made)
    assert calls == [0, abi.ALLOC_FAILED, 0]

    with cpu.fault("hipMalloc", HIP_OUT_OF_MEMORY, nth=0, above_bytes=100):
        for size, status in ((100, 0), (101, 2), (50, 0), (200, 2)):
            made = c.c_void_p()
            assert cpu.status("hipMalloc", c.byref(made), c.c_size_t(size)) == status
            cpu.call("hipFree", made)
    assert cpu.so.hipGetLastError() == HIP_OUT_OF_MEMORY

    with cpu.fault(None, 5):
        assert cpu.status("hipDeviceSynchronize") == 5
        assert cpu.status("hipDeviceSynchronize") == 0
    cpu.so.hipGetLastError()


def test_fault_on_one_solution(cpu: abi.Library, handle: Any) -> None:
    case = make_case(PLAIN, FLOAT)
    with abi.problem(
        cpu, handle, abi.FORWARD, *case.arrays(abi.FORWARD, False), **PLAIN.settings()
    ) as problem:
        first, second = problem.solutions()[:2]
        with cpu.fault(
            "miopenConvolutionForwardImmediate", 5, nth=0, solution_id=first.solution_id
        ):
            with pytest.raises(abi.StatusError) as caught:
                problem.immediate(first)
            assert caught.value.status == 5
            problem.immediate(second)
        problem.immediate(first)


def test_allocation_failure_inside(cpu: abi.Library) -> None:
    """A failing call leaves nothing behind and the library usable."""
    before = cpu.counts().alive()
    for function in ("miopenSetTensorDescriptor", "miopenConvolutionForwardGetSolution"):
        with cpu.fault(function, abi.ALLOC_FAILED), pytest.raises(abi.StatusError):
            _run_forward(cpu)
    assert cpu.counts().alive() == before
    _run_forward(cpu)


def test_thread_bound(cpu: abi.Library) -> None:
    threads = c.c_int()
    shape = PLAIN.__class__("threads", (4, 32, 28, 28), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1))
    try:
        for wanted in (1, 2, 3):
            cpu.call("mioconvSetNumThreads", wanted)
            cpu.call("mioconvGetNumThreads", c.byref(threads))
            assert threads.value == wanted
            _run_forward(cpu, shape=shape)
        assert cpu.status("mioconvSetNumThreads", -1) == abi.BAD_PARM
    finally:
        cpu.call("mioconvSetNumThreads", 0)
    cpu.call("mioconvGetNumThreads", c.byref(threads))
    assert 1 <= threads.value <= len(os.sched_getaffinity(0))


def test_handles_on_several_threads(cpu: abi.Library) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for shape in SHAPES[:6]:
                _run_forward(cpu, shape=shape)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_one_handle_on_several_threads(cpu: abi.Library, handle: Any) -> None:
    """Against MIOpen's rule, but nothing may be corrupted."""
    case = make_case(PLAIN, FLOAT)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                with abi.problem(
                    cpu, handle, abi.FORWARD, *case.arrays(abi.FORWARD, False), **PLAIN.settings()
                ) as problem:
                    for solution in problem.solutions():
                        problem.immediate(solution)
                        name = cpu.solution_name(solution.solution_id)
                        case.check(abi.FORWARD, problem.out, name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


_IN_A_FRESH_PROCESS = """
import os, sys
sys.path[:0] = {paths!r}
from providers import abi
from providers.cases import SHAPES, make_case, Shape
from providers.test_cpu_abi import _run_forward
library = abi.Library(abi.library_path())
"""


def _fresh_process(code: str, **variables: str) -> str:
    """Runs code with `library` loaded; its output."""
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _IN_A_FRESH_PROCESS.format(paths=[tests]) + code],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_runs_on_one_thread() -> None:
    """The parent's OpenMP pool exists before the fork; the child must not wait for it."""
    _fresh_process(
        """
import ctypes, signal
shape = Shape("big", (4, 32, 28, 28), (32, 32, 3, 3), (1, 1), (1, 1), (1, 1))
library.call("mioconvSetNumThreads", 2)
_run_forward(library, shape=shape)
child = os.fork()
if child == 0:
    signal.alarm(20)
    threads = ctypes.c_int()
    library.call("mioconvGetNumThreads", ctypes.byref(threads))
    assert threads.value == 1
    _run_forward(library, shape=shape)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
_run_forward(library, shape=shape)
"""
    )


@pytest.mark.parametrize("isa", ["AVX2", "SSE41"])
def test_older_instruction_sets(isa: str) -> None:
    """bfloat16 and float16 convert inside where the CPU lacks them."""
    out = _fresh_process(
        """
for dtype in ["float32", "float16"] + (["bfloat16"] if abi.BFLOAT16 is not None else []):
    dtype = abi.BFLOAT16 if dtype == "bfloat16" else dtype
    for shape in SHAPES:
        case = make_case(shape, dtype)
        for direction in abi.DIRECTIONS:
            with library.handle() as handle, abi.problem(library, handle, direction,
                    *case.arrays(direction, False), **shape.settings()) as problem:
                for solution in problem.solutions():
                    problem.immediate(solution)
                    name = library.solution_name(solution.solution_id)
                    case.check(direction, problem.out, name)
                    print(name)
""",
        ONEDNN_MAX_CPU_ISA=isa,
    )
    assert "avx512" not in out
    assert "+f32" in out


def test_omp_num_threads_is_respected() -> None:
    code = """
import ctypes
threads = ctypes.c_int()
library.call("mioconvGetNumThreads", ctypes.byref(threads))
print(threads.value)
"""
    assert _fresh_process(code, OMP_NUM_THREADS="1").strip() == "1"


def test_describe(cpu: abi.Library) -> None:
    text = c.create_string_buffer(200)
    cpu.call("mioconvDescribe", text, c.c_size_t(200))
    assert re.match(r"oneDNN \d+\.\d+\.\d+, \w+, \d+ threads$", text.value.decode())
    assert cpu.status("mioconvDescribe", text, c.c_size_t(5)) == abi.BAD_PARM
    name = c.create_string_buffer(100)
    status = cpu.status("mioconvGetSolutionName", c.c_uint64(12345), name, c.c_size_t(100))
    assert status == abi.BAD_PARM
