"""A provider's exported functions through ctypes: handles, descriptors and the three directions.

Nothing of mioconv's Python code is used here: these tests look at a shared library from outside,
as a program in C would.
"""

from __future__ import annotations

import ctypes as c
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

try:
    import ml_dtypes

    BFLOAT16: Any = np.dtype(ml_dtypes.bfloat16)
except ImportError:
    BFLOAT16 = None

INCLUDE = Path(__file__).parents[2] / "include" / "mioconv" / "abi"
SUCCESS, INTERNAL_ERROR, BAD_PARM, ALLOC_FAILED = 0, 2, 3, 4
NOT_IMPLEMENTED, UNKNOWN_ERROR, UNSUPPORTED = 6, 7, 8
FFT, WINOGRAD = 2, 3  # miopenConvAlgorithm_t
FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS = "Forward", "BackwardData", "BackwardWeights"
DIRECTIONS = (FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS)
CONVOLUTION, TRANSPOSE, GROUP, DEPTHWISE = range(4)
DETERMINISTIC, MATH_TYPE = 1, 3
PASSTHRU, RELU, CLIPPED_RELU, LEAKY_RELU, LOGISTIC = 0, 3, 7, 8, 1


def dtype_code(dtype: Any) -> int:
    return {"float16": 0, "float32": 1, "bfloat16": 5}[np.dtype(dtype).name]


def library_path(provider: str = "cpu") -> Path | None:
    """MIOCONV_TEST_CPU_LIBRARY (or _CUDA_, _ROCM_), else the one beside the installed package."""
    if named := os.environ.get(f"MIOCONV_TEST_{provider.upper()}_LIBRARY"):
        return Path(named)
    if provider == "rocm":  # the vendor's, with the HIP runtime that it is linked with
        import mioconv

        found = mioconv.providers()["rocm"]
        return Path(found.paths["MIOpen"]) if found.available else None
    spec = importlib.util.find_spec("mioconv")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / f"libmioconv_{provider}.so").exists():
            return path
    return None


def listed_functions() -> list[str]:
    """Every name in functions.def and client.def."""
    text = "".join((INCLUDE / f"{name}.def").read_text() for name in ("functions", "client"))
    return re.findall(r"^MIOCONV_FUNCTION\(.*, (\w+)\)$", text, re.M)


class StatusError(Exception):
    def __init__(self, function: str, status: int) -> None:
        super().__init__(f"{function}: status {status}")
        self.status = status


class Solution(c.Structure):
    _fields_ = [
        ("time", c.c_float),
        ("workspace_size", c.c_size_t),
        ("solution_id", c.c_uint64),
        ("algorithm", c.c_int),
    ]


class AlgoPerf(c.Structure):
    _fields_ = [("algo", c.c_int), ("time", c.c_float), ("memory", c.c_size_t)]


class Fault(c.Structure):
    _fields_ = [
        ("function", c.c_char_p),
        ("nth", c.c_int64),
        ("above_bytes", c.c_size_t),
        ("solution_id", c.c_uint64),
        ("status", c.c_int),
    ]


COUNTED = (
    "handles", "tensor_descriptors", "convolution_descriptors", "activation_descriptors",
    "fusion_plans", "operator_args", "streams", "events", "allocations",
)  # fmt: skip


class Counts(c.Structure):
    _fields_ = [(f"{name}_{what}", c.c_uint64) for name in COUNTED for what in ("made", "gone")] + [
        ("bytes_allocated", c.c_uint64),
        ("native_calls", c.c_uint64),
    ]

    def alive(self) -> dict[str, int]:
        return {n: getattr(self, f"{n}_made") - getattr(self, f"{n}_gone") for n in COUNTED}


class Pointer:
    """An array as an argument. On a GPU the call gets a copy of its memory, gaps included."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        self.start, self.end = np.lib.array_utils.byte_bounds(root)


def pointer(array: np.ndarray | None) -> Any:
    return c.c_void_p(None) if array is None else Pointer(array)


def scalar(value: float) -> Any:
    return c.byref(c.c_float(value))


def ints(values: Sequence[int]) -> Any:
    return (c.c_int * len(values))(*values)


def channels_last(array: np.ndarray) -> np.ndarray:
    """The same values, laid out N, spatial, C."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def empty_like_layout(shape: Sequence[int], dtype: Any, last: bool) -> np.ndarray:
    """NaN everywhere, so that what is not written shows."""
    array = np.full(shape, np.nan, dtype=np.float32).astype(dtype)
    return channels_last(array) if last else array


@dataclass
class Library:
    """The loaded library; functions are called by name and checked."""

    path: Path
    provider: str = "cpu"
    so: c.CDLL = field(init=False)
    # Copies that outlive a call, by where the array's memory begins: how far away they are.
    kept: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.so = c.CDLL(str(self.path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
        for name in ("miopenGetErrorString", "hipGetErrorString", "hipGetErrorName"):
            getattr(self.so, name).restype = c.c_char_p

    def status(self, function: str, *arguments: Any) -> int:
        if not any(isinstance(a, Pointer) for a in arguments):
            return getattr(self.so, function)(*arguments)
        with self._in_reach(arguments) as addresses:
            return getattr(self.so, function)(*addresses)

    @contextmanager
    def _in_reach(self, arguments: Sequence[Any]) -> Iterator[list[Any]]:
        """The arguments with addresses that the device can use, for the length of one call."""
        arrays = [a for a in arguments if isinstance(a, Pointer)]
        moved = {a.start: self.kept.get(a.start, 0) for a in arrays}
        if self.provider != "cpu":
            # Arrays of one memory share one copy.
            for a in arrays:
                if moved[a.start] == 0:
                    moved[a.start] = self._put(a)
        try:
            yield [
                c.c_void_p(a.array.ctypes.data + moved[a.start]) if isinstance(a, Pointer) else a
                for a in arguments
            ]
        finally:
            for a in {a.start: a for a in arrays}.values():
                if (shift := moved[a.start]) and a.start not in self.kept:
                    self._copy(a.start, a.start + shift, a.end - a.start)
                    self._drop(a, shift)

    def _put(self, a: Pointer) -> int:
        """Copy an array's memory to the device; it lies there as on the host modulo 256."""
        block = c.c_void_p()
        size = a.end - a.start
        assert self.so.hipMalloc(c.byref(block), c.c_size_t(size + 256)) == 0
        shift = block.value + a.start % 256 - a.start
        self._copy(a.start + shift, a.start, size)
        return shift

    def _drop(self, a: Pointer, shift: int) -> None:
        assert self.so.hipFree(c.c_void_p(a.start + shift - a.start % 256)) == 0

    @contextmanager
    def resident(self, *arrays: np.ndarray | None) -> Iterator[None]:
        """Keep inputs where a call put them, for calls that remember their addresses."""
        if self.provider == "cpu":
            yield
            return
        pointers = [Pointer(a) for a in arrays if a is not None]
        for a in pointers:
            self.kept[a.start] = self._put(a)
        try:
            yield
        finally:
            for a in pointers:
                self._drop(a, self.kept.pop(a.start))

    def _copy(self, to: int, start: int, size: int) -> None:
        """Between host and device, in whichever direction the addresses say; waits."""
        count = c.c_size_t(size)
        error = self.so.hipMemcpyAsync(c.c_void_p(to), c.c_void_p(start), count, 4, None)
        assert error == 0
        assert self.so.hipDeviceSynchronize() == 0

    def call(self, function: str, *arguments: Any) -> None:
        if status := self.status(function, *arguments):
            raise StatusError(function, status)

    def create(self, function: str, *arguments: Any) -> c.c_void_p:
        made = c.c_void_p()
        self.call(function, c.byref(made), *arguments)
        return made

    def counts(self) -> Counts:
        counts = Counts()
        self.call("mioconvGetObjectCounts", c.byref(counts))
        return counts

    @contextmanager
    def fault(
        self, function: str | None, status: int, nth: int = 1, above_bytes: int = 0,
        solution_id: int = 0,
    ) -> Iterator[None]:  # fmt: skip
        name = None if function is None else function.encode()
        fault = Fault(name, nth, above_bytes, solution_id, status)
        self.call("mioconvInjectFault", c.byref(fault))
        try:
            yield
        finally:
            self.call("mioconvInjectFault", None)

    @contextmanager
    def handle(self) -> Iterator[c.c_void_p]:
        handle = self.create("miopenCreate")
        try:
            yield handle
        finally:
            self.call("miopenDestroy", handle)

    @contextmanager
    def tensor(self, array: np.ndarray) -> Iterator[c.c_void_p]:
        strides = [s // array.itemsize for s in array.strides]
        desc = self.create("miopenCreateTensorDescriptor")
        try:
            self.call(
                "miopenSetTensorDescriptor", desc, dtype_code(array.dtype), array.ndim,
                ints(array.shape), ints(strides),
            )  # fmt: skip
            yield desc
        finally:
            self.call("miopenDestroyTensorDescriptor", desc)

    @contextmanager
    def activation(self, mode: int, alpha: float = 0) -> Iterator[c.c_void_p]:
        desc = self.create("miopenCreateActivationDescriptor")
        try:
            self.call(
                "miopenSetActivationDescriptor", desc, mode, c.c_double(alpha), c.c_double(0),
                c.c_double(0),
            )  # fmt: skip
            yield desc
        finally:
            self.call("miopenDestroyActivationDescriptor", desc)

    @contextmanager
    def convolution(
        self, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
        groups: int = 1, mode: int = CONVOLUTION, output_padding: Sequence[int] | None = None,
        tf32: bool = False,
    ) -> Iterator[c.c_void_p]:  # fmt: skip
        desc = self.create("miopenCreateConvolutionDescriptor")
        try:
            self.call(
                "miopenInitConvolutionNdDescriptor", desc, len(stride), ints(padding),
                ints(stride), ints(dilation), mode,
            )  # fmt: skip
            self.call("miopenSetConvolutionGroupCount", desc, groups)
            if self.provider != "rocm":  # whose newer releases alone have it
                self.call("miopenSetConvolutionAttribute", desc, MATH_TYPE, 0 if tf32 else 1)
            if output_padding is not None:
                self.call(
                    "miopenSetTransposeConvNdOutputPadding", desc, len(stride),
                    ints(output_padding),
                )  # fmt: skip
            yield desc
        finally:
            self.call("miopenDestroyConvolutionDescriptor", desc)

    def solution_name(self, solution_id: int) -> str:
        if self.provider == "rocm":
            return f"solution {solution_id}"
        text = c.create_string_buffer(256)
        self.call("mioconvGetSolutionName", c.c_uint64(solution_id), text, c.c_size_t(256))
        return text.value.decode()


class Problem:
    """One direction on one set of arrays, by their roles in the forward convolution."""

    def __init__(
        self, library: Library, handle: c.c_void_p, direction: str, x: np.ndarray, w: np.ndarray,
        y: np.ndarray, xd: Any, wd: Any, conv: Any, yd: Any,
    ) -> None:  # fmt: skip
        self.library, self.handle, self.direction = library, handle, direction
        roles = {"x": (xd, x), "w": (wd, w), "y": (yd, y)}
        order = {FORWARD: "wxy", BACKWARD_DATA: "ywx", BACKWARD_WEIGHTS: "yxw"}[direction]
        find_order = "xwy" if direction == FORWARD else order
        self.first, self.second, self.third = (roles[r] for r in order)
        self.find_roles = [roles[r] for r in find_order]
        self.conv = conv
        self.out = {FORWARD: y, BACKWARD_DATA: x, BACKWARD_WEIGHTS: w}[direction]

    @property
    def descs(self) -> tuple[Any, ...]:
        return (self.first[0], self.second[0], self.conv, self.third[0])

    def name(self, suffix: str) -> str:
        return f"miopenConvolution{self.direction}{suffix}"

    def count(self) -> int:
        n = c.c_size_t(0)
        self.library.call(self.name("GetSolutionCount"), self.handle, *self.descs, c.byref(n))
        return n.value

    def solutions(self, most: int = 64) -> list[Solution]:
        n = c.c_size_t(0)
        found = (Solution * most)()
        self.library.call(
            self.name("GetSolution"), self.handle, *self.descs, c.c_size_t(most), c.byref(n), found
        )
        return [Solution.from_buffer_copy(found[i]) for i in range(n.value)]

    def solution_workspace(self, solution_id: int) -> int:
        n = c.c_size_t(0)
        self.library.call(
            self.name("GetSolutionWorkspaceSize"), self.handle, *self.descs,
            c.c_uint64(solution_id), c.byref(n),
        )  # fmt: skip
        return n.value

    def workspace(self) -> int:
        n = c.c_size_t(0)
        self.library.call(self.name("GetWorkSpaceSize"), self.handle, *self.descs, c.byref(n))
        return n.value

    def compile(self, solution_id: int) -> None:
        self.library.call(
            self.name("CompileSolution"), self.handle, *self.descs, c.c_uint64(solution_id)
        )

    def immediate(self, solution: Solution, workspace_bytes: int | None = None) -> None:
        size = solution.workspace_size if workspace_bytes is None else workspace_bytes
        # NaN in every float type.
        self.immediate_in(solution, np.full(size, 0xFF, np.uint8) if size else None)

    def immediate_in(self, solution: Solution, space: np.ndarray | None) -> None:
        """Run it in the scratch memory `space`."""
        args = [v for desc, array in (self.first, self.second) for v in (desc, pointer(array))]
        self.library.call(
            self.name("Immediate"), self.handle, *args, self.conv, self.third[0],
            pointer(self.third[1]), pointer(space),
            c.c_size_t(0 if space is None else space.nbytes), c.c_uint64(solution.solution_id),
        )  # fmt: skip

    def find(self, workspace_bytes: int | None = None) -> list[AlgoPerf]:
        size = self.workspace() if workspace_bytes is None else workspace_bytes
        space = np.empty(size, np.uint8) if size else None
        n = c.c_int(0)
        found = (AlgoPerf * 8)()
        a, b, out = self.find_roles
        self.library.call(
            f"miopenFindConvolution{self.direction}Algorithm", self.handle, a[0], pointer(a[1]),
            b[0], pointer(b[1]), self.conv, out[0], pointer(out[1]), 8, c.byref(n), found,
            pointer(space), c.c_size_t(size), c.c_bool(False),
        )  # fmt: skip
        return [AlgoPerf.from_buffer_copy(found[i]) for i in range(n.value)]

    def execute(self, algo: int, alpha: float = 1, beta: float = 0) -> None:
        size = self.workspace()
        space = np.empty(size, np.uint8) if size else None
        a, b, out = self.find_roles
        self.library.call(
            f"miopenConvolution{self.direction}", self.handle, c.byref(c.c_float(alpha)), a[0],
            pointer(a[1]), b[0], pointer(b[1]), self.conv, algo, c.byref(c.c_float(beta)), out[0],
            pointer(out[1]), pointer(space), c.c_size_t(size),
        )  # fmt: skip


@contextmanager
def problem(
    library: Library, handle: c.c_void_p, direction: str, x: np.ndarray, w: np.ndarray,
    y: np.ndarray, **conv: Any,
) -> Iterator[Problem]:  # fmt: skip
    with (
        library.tensor(x) as xd,
        library.tensor(w) as wd,
        library.tensor(y) as yd,
        library.convolution(**conv) as cd,
    ):
        yield Problem(library, handle, direction, x, w, y, xd, wd, cd, yd)
