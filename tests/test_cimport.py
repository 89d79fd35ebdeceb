"""The installed package serves other Cython code: a small module is compiled and called."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import reference
from helpers.tolerances import assert_close, assert_same_bits, tolerance

SOURCE = Path(__file__).parent / "cimport" / "caller.pyx"


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    pytest.importorskip("Cython", reason="Cython compiles the module")
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("cimport")
    cpp = folder / "caller.cpp"
    library = folder / f"caller{sysconfig.get_config_var('EXT_SUFFIX')}"
    # The .pxd files are found where the package is, as in a user's build.
    package = Path(mioconv.__file__).parent
    for command in (
        [sys.executable, "-m", "cython", "--cplus", "-3", "-I", str(package.parent), str(SOURCE),
         "-o", str(cpp)],
        [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{mioconv.get_include()}",
         f"-I{sysconfig.get_path('include')}", f"-I{np.get_include()}", str(cpp), "-o",
         str(library)],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location("caller", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    w = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    return x, w, reference.conv_forward(x, w, padding=1)


def test_typed_memoryviews(caller: ModuleType) -> None:
    x, w, expected = problem()
    y = np.empty(expected.shape, np.float32)
    caller.from_views(x, w, y, 1)
    assert_close(y, expected, tolerance("float32", 27, np.abs(expected).max() + 27))


def test_strided_memoryviews(caller: ModuleType) -> None:
    x, w, expected = problem()
    wide = np.repeat(x, 2, axis=3)[:, :, :, ::2]
    y = np.zeros((*expected.shape, 2), np.float32)
    caller.from_views(wide, w[::-1][::-1], y[..., 0], 1)
    assert_close(y[..., 0], expected, tolerance("float32", 27, np.abs(expected).max() + 27))
    assert not y[..., 1].any()


def test_pointers(caller: ModuleType) -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, 3, 20)).astype(np.float32)
    w = rng.standard_normal((5, 3, 4)).astype(np.float32)
    expected = reference.conv_forward(x, w)
    y = np.empty(expected.shape, np.float32)
    caller.from_pointers(x, w, y)
    assert_close(y, expected, tolerance("float32", 12, np.abs(expected).max() + 12))


def test_errors_come_out(caller: ModuleType) -> None:
    x, w, expected = problem()
    with pytest.raises(ValueError, match="channels"):
        caller.from_views(x[:, :2], w, np.empty(expected.shape, np.float32), 1)
    with pytest.raises(ValueError, match="y"):
        caller.from_views(x, w, np.empty((1, 1, 1, 1), np.float32), 1)
    assert caller.output_shape((2, 3, 9, 8), (4, 3, 3, 3), 2) == (2, 4, 4, 3)
    with pytest.raises(ValueError, match="Kernel size"):
        caller.output_shape((2, 3, 2, 8), (4, 3, 3, 3), 2)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"spatial": 0}, "spatial"),
        ({"spatial": -1}, "spatial"),
        ({"spatial": 4}, "spatial"),
        ({"spatial": 64}, "spatial"),
        ({"spatial": 2**31 - 1}, "spatial"),
        ({"dtype": 3}, "dtype"),
        ({"dtype": -1}, "dtype"),
        ({"x_size": 2}, "channels"),
        ({"x_size": -1}, "negative"),
        ({"x_size": 0}, "size zero"),
        ({"w_size": 2**62}, "w: .*too large"),
        ({"x_size": 2**62}, "x: .*too large"),
        ({"w_size": 2**40, "groups": 2**31 - 1}, "too large"),
        ({"w_size": -(2**62)}, "negative"),
        ({"stride": 0}, "stride"),
        ({"stride": 2**40}, "stride"),
        ({"groups": 0}, "groups"),
        ({"groups": -(2**62)}, "groups"),
        *[({"null": {name}}, f"{name}.*NULL") for name in (
            "x", "x_shape", "w", "w_shape", "y", "stride", "padding", "dilation", "y_shape")],
    ],
    ids=str,
)  # fmt: skip
def test_every_number_is_checked(caller: ModuleType, numbers: dict[str, Any], words: str) -> None:
    """Before it is used: a caller in C is told, and goes on."""
    with pytest.raises((TypeError, ValueError), match=words):
        caller.from_numbers(**numbers)
    assert caller.from_numbers() == 6


class TestBuffers:
    """The fields of a buffer, each as a producer may leave it."""

    x = np.arange(24, dtype=np.float32).reshape(1, 2, 12)
    w = np.ones((1, 2, 3), np.float32)

    def run(self, caller: ModuleType, **fields: Any) -> Any:
        given = {"shape": self.x.shape, "strides": self.x.strides, **fields}
        made = caller.Buffer(self.x, **{k: v for k, v in given.items() if v is not None})
        return np.asarray(mioconv.conv1d_forward(made, memoryview(self.w)))

    def test_without_strides(self, caller: ModuleType) -> None:
        expected = mioconv.conv1d_forward(self.x, self.w)
        assert_same_bits(self.run(caller), expected)
        assert_same_bits(self.run(caller, strides=None), expected)

    def test_suboffsets_that_say_nothing(self, caller: ModuleType) -> None:
        expected = mioconv.conv1d_forward(self.x, self.w)
        assert_same_bits(self.run(caller, suboffsets=(-1, -1, -1)), expected)

    @pytest.mark.parametrize(
        ("fields", "exception", "words"),
        [
            # Without sizes it is a row, which no convolution has.
            ({"shape": None}, ValueError, "1-D"),
            ({"shape": None, "strides": None}, ValueError, "1-D"),
            ({"shape": (1, 2, -12)}, BufferError, "size"),
            ({"shape": (1, 2, 2**62)}, ValueError, "large"),
            ({"strides": (96, 48, 3)}, BufferError, "aligned"),
            ({"offset": 1}, BufferError, "aligned"),
            ({"suboffsets": (-1, 0, -1)}, BufferError, "pointers"),
            ({"itemsize": 0}, BufferError, "0 bytes"),
            ({"itemsize": 2}, BufferError, "2 bytes"),
            ({"no_format": True}, TypeError, "format 'B'"),
            ({"format": b""}, TypeError, "format ''"),
            ({"format": b"ff"}, TypeError, "format 'ff'"),
            ({"null": True}, BufferError, "no memory"),
            ({"ndim": -1}, BufferError, "-1 dimensions"),
            ({"ndim": 0}, ValueError, "0-D"),
        ],
        ids=str,
    )
    def test_refused(
        self, caller: ModuleType, fields: dict[str, Any], exception: type[Exception], words: str
    ) -> None:
        with pytest.raises(exception, match=f"input: .*{words}"):
            self.run(caller, **fields)

    def test_too_many_dimensions(self, caller: ModuleType) -> None:
        with pytest.raises(ValueError, match=r"input: .*8-D"):
            self.run(caller, ndim=8, shape=(1,) * 8, strides=(4,) * 8)

    def test_ctypes(self) -> None:
        """Its buffers have no strides."""
        x = (ctypes.c_float * 12 * 2 * 1).from_buffer_copy(self.x)
        got = mioconv.conv1d_forward(x, memoryview(self.w))
        assert_same_bits(np.asarray(got), mioconv.conv1d_forward(self.x, self.w))


def test_runs_without_the_gil(caller: ModuleType) -> None:
    """While one thread computes, another one gets on."""
    x = np.ones((8, 32, 64, 64), np.float32)
    w = np.ones((32, 32, 3, 3), np.float32)
    y = np.empty(x.shape, np.float32)
    caller.from_views(x, w, y, 1)
    worker = threading.Thread(target=caller.from_views, args=(x, w, y, 1, 20))
    steps = 0
    worker.start()
    while worker.is_alive():
        steps += 1
    worker.join()
    assert steps > 100
