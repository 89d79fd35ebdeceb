"""The library's outside: symbols, bad arguments, streams, counters, faults, threads."""

from __future__ import annotations

import ctypes as c
import shutil
import subprocess
import threading
from typing import Any

import numpy as np
import pytest

from . import abi
from .cases import SHAPES, make_case

PLAIN = next(s for s in SHAPES if s.name == "plain")
FLOAT = np.dtype(np.float32)
HIP_OUT_OF_MEMORY = 2


def test_exports_are_exactly_the_list(library: abi.Library) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm (binutils) is not installed")
    out = subprocess.run(
        [nm, "-D", "--defined-only", str(library.path)], check=True, capture_output=True, text=True
    ).stdout
    exported = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    assert exported == set(abi.listed_functions())


# Functions that mean something with nothing but zeros.
ZEROS_ARE_FINE = {
    "miopenGetVersion", "hipGetLastError", "hipPeekAtLastError", "hipDeviceSynchronize",
    "hipSetDevice", "hipFree",
    "hipFreeAsync", "hipMemcpyAsync", "hipMemsetAsync", "hipStreamSynchronize", "hipStreamDestroy",
    "mioconvSetNumThreads", "mioconvInjectFault", "mioconvHoldStream", "mioconvAdmitAll",
    "mioconvSetScratchGap", "hipMemcpy", "hipMemset", "mioconvSetCacheCapacity", "mioconvTrimCache",
}  # fmt: skip


@pytest.mark.parametrize("function", abi.listed_functions())
def test_null_arguments_give_a_status(library: abi.Library, function: str) -> None:
    """Every argument NULL or 0: a status, never a crash."""
    if function.endswith(("ErrorString", "ErrorName")):
        assert getattr(library.so, function)(0)
        return
    library.so.hipGetLastError()  # what another test has left
    status = library.status(function, *[c.c_void_p(None)] * 20)
    destroys = "Destroy" in function and function.startswith("miopen")
    assert (status == 0) == (function in ZEROS_ARE_FINE or destroys), status
    library.call("mioconvSetNumThreads", 0)
    library.call("mioconvSetCacheCapacity", c.c_size_t(4096))


@pytest.mark.parametrize("direction", abi.DIRECTIONS)
def test_each_null_argument_alone(library: abi.Library, handle: Any, direction: str) -> None:
    """Immediate and GetSolution with one pointer missing at a time."""
    case = make_case(PLAIN, FLOAT)
    x, w, y = case.arrays(direction, False)
    with abi.problem(library, handle, direction, x, w, y, **PLAIN.settings()) as problem:
        solution = problem.solutions()[0]
        space = np.empty(solution.workspace_size + 1, np.uint8)
        a, b, out = problem.first, problem.second, problem.third
        good = [handle, a[0], abi.pointer(a[1]), b[0], abi.pointer(b[1]), problem.conv, out[0],
                abi.pointer(out[1])]  # fmt: skip
        rest = (abi.pointer(space), c.c_size_t(space.size), c.c_uint64(solution.solution_id))
        assert library.status(problem.name("Immediate"), *good, *rest) == 0
        for i in range(len(good)):
            bad = [None if j == i else v for j, v in enumerate(good)]
            assert library.status(problem.name("Immediate"), *bad, *rest) == abi.BAD_PARM, i
        n, found = c.c_size_t(0), (abi.Solution * 4)()
        query = [handle, *problem.descs]
        for i in range(len(query)):
            bad = [None if j == i else v for j, v in enumerate(query)]
            status = library.status(
                problem.name("GetSolution"), *bad, c.c_size_t(4), c.byref(n), found
            )
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
        (np.lib.stride_tricks.as_strided(_array(1, 4, 6, 6), strides=(576, 144, 4, 4)),
         _array(4, 4, 3, 3), _array(1, 4, 6, 6), {}),
    ],
    ids=["channels", "outputs", "batch", "size", "dtypes", "ranks", "kernel", "groups",
         "depthwise", "stride", "overlap"],
)  # fmt: skip
def test_contradictions_are_refused(
    library: abi.Library,
    handle: Any,
    direction: str,
    x: Any,
    w: Any,
    y: Any,
    changes: dict[str, Any],
) -> None:
    options = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), **changes}
    with abi.problem(library, handle, direction, x, w, y, **options) as problem:
        for ask in (problem.count, problem.solutions, problem.workspace):
            with pytest.raises(abi.StatusError) as caught:
                ask()
            assert caught.value.status == abi.BAD_PARM


@pytest.mark.parametrize(
    "values",
    [((0, 1), (0, 0), (1, 1)), ((1, 1), (-1, 0), (1, 1)), ((1, 1), (0, 0), (1, 0))],
    ids=["stride", "padding", "dilation"],
)
def test_bad_convolution_settings(library: abi.Library, values: Any) -> None:
    with pytest.raises(abi.StatusError) as caught, library.convolution(*values):
        pass
    assert caught.value.status == abi.BAD_PARM


def test_unknown_dtypes_have_no_solutions(library: abi.Library, handle: Any) -> None:
    with abi.problem(
        library, handle, abi.FORWARD, _array(1, 1, 4, 4), _array(1, 1, 1, 1), _array(1, 1, 4, 4),
        stride=(1, 1), padding=(0, 0), dilation=(1, 1),
    ) as problem:  # fmt: skip
        for desc in (problem.first[0], problem.second[0], problem.third[0]):
            rank, sizes = 4, abi.ints((1, 1, 4, 4) if desc is not problem.first[0] else (1,) * 4)
            library.call("miopenSetTensorDescriptor", desc, 3, rank, sizes, None)
        with pytest.raises(abi.StatusError) as caught:
            problem.count()
        assert caught.value.status == abi.NOT_IMPLEMENTED
        assert problem.solutions() == []


def test_output_dimensions(library: abi.Library) -> None:
    for shape in SHAPES:
        x, w = np.zeros(shape.x, np.float32), np.zeros(shape.w, np.float32)
        with (
            library.tensor(x) as xd,
            library.tensor(w) as wd,
            library.convolution(**shape.settings()) as conv,
        ):
            n, dims = c.c_int(0), (c.c_int * 5)()
            library.call("miopenGetConvolutionNdForwardOutputDim", conv, xd, wd, c.byref(n), dims)
            assert tuple(dims[: n.value]) == shape.y


def test_descriptors_give_back_what_was_set(library: abi.Library) -> None:
    array = abi.channels_last(np.zeros((2, 3, 4, 5), np.float16))
    with library.tensor(array) as desc:
        dtype, dims, strides, size = c.c_int(), (c.c_int * 4)(), (c.c_int * 4)(), c.c_int()
        library.call("miopenGetTensorDescriptor", desc, c.byref(dtype), dims, strides)
        library.call("miopenGetTensorDescriptorSize", desc, c.byref(size))
        assert (dtype.value, tuple(dims), size.value) == (0, (2, 3, 4, 5), 4)
        assert tuple(strides) == tuple(s // 2 for s in array.strides)
    with library.convolution((1, 2), (3, 4), (5, 6), groups=7) as conv:
        n, mode, groups = c.c_int(), c.c_int(), c.c_int()
        pads, steps, gaps = ((c.c_int * 2)() for _ in range(3))
        library.call(
            "miopenGetConvolutionNdDescriptor", conv, 2, c.byref(n), pads, steps, gaps,
            c.byref(mode),
        )  # fmt: skip
        library.call("miopenGetConvolutionGroupCount", conv, c.byref(groups))
        assert (n.value, mode.value, groups.value) == (2, 0, 7)
        assert (tuple(steps), tuple(pads), tuple(gaps)) == ((1, 2), (3, 4), (5, 6))
        value = c.c_int()
        library.call("miopenSetConvolutionAttribute", conv, 1, 1)
        library.call("miopenGetConvolutionAttribute", conv, 1, c.byref(value))
        assert value.value == 1
        assert library.status("miopenSetConvolutionAttribute", conv, 99, 1) == abi.BAD_PARM
        library.call("miopenSetConvolutionFindMode", conv, 1)
        library.call("miopenGetConvolutionFindMode", conv, c.byref(value))
        assert value.value == 1


# ---- streams and events


def test_streams_and_events(library: abi.Library, handle: Any) -> None:
    stream = library.create("hipStreamCreateWithFlags", 1)
    library.call("miopenSetStream", handle, stream)
    got = c.c_void_p()
    library.call("miopenGetStream", handle, c.byref(got))
    assert got.value == stream.value
    start, stop = (library.create("hipEventCreateWithFlags", 0) for _ in range(2))
    ms = c.c_float(-1)
    assert library.status("hipEventElapsedTime", c.byref(ms), start, stop) == 400, "never recorded"
    library.call("hipEventRecord", start, stream)
    library.call("hipEventRecord", stop, stream)
    library.call("hipStreamWaitEvent", stream, stop, 0)
    library.call("hipEventSynchronize", stop)
    library.call("hipEventElapsedTime", c.byref(ms), start, stop)
    assert 0 <= ms.value < 1000
    capture = c.c_int(9)
    library.call("hipStreamIsCapturing", stream, c.byref(capture))
    assert capture.value == 0
    for event in (start, stop):
        library.call("hipEventDestroy", event)
    library.call("miopenSetStream", handle, None)
    library.call("hipStreamDestroy", stream)


# ---- counters, faults, threads


def _run_forward(library: abi.Library, dtype: Any = FLOAT, shape: Any = PLAIN) -> np.ndarray:
    case = make_case(shape, dtype)
    with (
        library.handle() as handle,
        abi.problem(
            library, handle, abi.FORWARD, *case.arrays(abi.FORWARD, False), **shape.settings()
        ) as problem,
    ):
        first = problem.solutions()[0]
        problem.immediate(first)
        case.check(abi.FORWARD, problem.out, library.solution_name(first.solution_id))
        return problem.out


def test_counters_balance(library: abi.Library) -> None:
    before = library.counts()
    _run_forward(library)
    after = library.counts()
    assert after.alive() == before.alive()
    assert after.handles_made == before.handles_made + 1
    assert after.tensor_descriptors_made >= before.tensor_descriptors_made + 3
    assert after.native_calls > before.native_calls


def test_faults(library: abi.Library) -> None:
    calls = []
    with library.fault("miopenCreate", abi.ALLOC_FAILED, nth=2):
        for _ in range(3):
            made = c.c_void_p()
            calls.append(library.status("miopenCreate", c.byref(made)))
            if made.value:
                library.call("miopenDestroy", made)
    assert calls == [0, abi.ALLOC_FAILED, 0]

    with library.fault("hipMalloc", HIP_OUT_OF_MEMORY, nth=0, above_bytes=100):
        for size, status in ((100, 0), (101, 2), (50, 0), (200, 2)):
            made = c.c_void_p()
            assert library.status("hipMalloc", c.byref(made), c.c_size_t(size)) == status
            library.call("hipFree", made)
    assert library.so.hipGetLastError() == HIP_OUT_OF_MEMORY

    with library.fault(None, 5):
        assert library.status("hipDeviceSynchronize") == 5
        assert library.status("hipDeviceSynchronize") == 0
    library.so.hipGetLastError()


def test_last_error_is_looked_at_and_asked_for(library: abi.Library) -> None:
    so = library.so
    so.hipGetLastError()
    assert so.hipPeekAtLastError() == 0
    assert so.hipMalloc(None, c.c_size_t(1)) == 1
    assert [so.hipPeekAtLastError(), so.hipPeekAtLastError(), so.hipGetLastError()] == [1, 1, 1]
    assert [so.hipPeekAtLastError(), so.hipGetLastError()] == [0, 0]


def test_fault_on_one_solution(library: abi.Library, handle: Any) -> None:
    case = make_case(PLAIN, FLOAT)
    with abi.problem(
        library, handle, abi.FORWARD, *case.arrays(abi.FORWARD, False), **PLAIN.settings()
    ) as problem:
        first, second = problem.solutions()[:2]
        with library.fault(
            "miopenConvolutionForwardImmediate", 5, nth=0, solution_id=first.solution_id
        ):
            with pytest.raises(abi.StatusError) as caught:
                problem.immediate(first)
            assert caught.value.status == 5
            problem.immediate(second)
        problem.immediate(first)


def test_allocation_failure_inside(library: abi.Library) -> None:
    """A failing call leaves nothing behind and the library usable."""
    before = library.counts().alive()
    for function in ("miopenSetTensorDescriptor", "miopenConvolutionForwardGetSolution"):
        with library.fault(function, abi.ALLOC_FAILED), pytest.raises(abi.StatusError):
            _run_forward(library)
    assert library.counts().alive() == before
    _run_forward(library)


def test_handles_on_several_threads(library: abi.Library) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for shape in SHAPES[:6]:
                _run_forward(library, shape=shape)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_one_handle_on_several_threads(library: abi.Library, handle: Any) -> None:
    """Against MIOpen's rule, but nothing may be corrupted."""
    case = make_case(PLAIN, FLOAT)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                with abi.problem(
                    library,
                    handle,
                    abi.FORWARD,
                    *case.arrays(abi.FORWARD, False),
                    **PLAIN.settings(),
                ) as problem:
                    for solution in problem.solutions():
                        problem.immediate(solution)
                        name = library.solution_name(solution.solution_id)
                        case.check(abi.FORWARD, problem.out, name)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
