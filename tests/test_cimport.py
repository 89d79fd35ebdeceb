"""The installed package serves other Cython code: a small module is compiled and called."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import mioconv
from helpers import reference
from helpers.tolerances import assert_close, tolerance

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
