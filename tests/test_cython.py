"""The core as other Cython code uses it: a small module, built against the installed package."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import operands
from helpers.operators import FORWARD
from helpers.problems import CASES, Case
from helpers.reference import per_dimension
from helpers.tensors import LAYOUTS
from helpers.tolerances import assert_close, assert_same_bits

SOURCE = """
# cython: language_level=3
# distutils: language = c++
from libc.stdint cimport int64_t, uint16_t
from mioconv._core cimport conv2d_forward_view, conv_forward, conv_output_shape


def run(int spatial, int dtype, size_t x, x_shape, size_t w, w_shape, size_t y,
        stride, padding, dilation, int64_t groups):
    cdef int64_t[5] xs, ws, ys
    cdef int64_t[3] s, p, d
    cdef int i
    for i in range(spatial + 2):
        xs[i] = x_shape[i]
        ws[i] = w_shape[i]
    for i in range(spatial):
        s[i], p[i], d[i] = stride[i], padding[i], dilation[i]
    with nogil:
        conv_output_shape(spatial, xs, ws, s, p, d, groups, ys)
        conv_forward(spatial, dtype, <void*>x, xs, <void*>w, ws, <void*>y, s, p, d, groups)
    return tuple(ys[i] for i in range(spatial + 2))


def view(const float[:, :, :, :] x, const float[:, :, :, :] w, float[:, :, :, :] y):
    cdef (int64_t, int64_t) one = (1, 1)
    with nogil:
        conv2d_forward_view[float](x, w, y, one, one, one)


def half_view(const uint16_t[:, :, :, :] x, const uint16_t[:, :, :, :] w,
              uint16_t[:, :, :, :] y, bint bfloat16):
    cdef (int64_t, int64_t) one = (1, 1)
    with nogil:
        conv2d_forward_view[uint16_t](x, w, y, one, one, one, 1, bfloat16)
"""

SETUP = """
import mioconv
from Cython.Build import cythonize
from setuptools import Extension, setup

extension = Extension(
    "uses_mioconv", ["uses_mioconv.pyx"], language="c++", include_dirs=[mioconv.get_include()],
    extra_compile_args=["-std=c++17", "-O0"])
setup(name="uses_mioconv", ext_modules=cythonize([extension]))
"""

DTYPE_NUMBERS = {"float32": 1, "float16": 0, "bfloat16": 5}
PLAIN = next(case for case in CASES if case.name == "2d-same")


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    for needed in ("Cython", "setuptools"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("no C++ compiler")
    folder: Path = tmp_path_factory.mktemp("cython")
    (folder / "uses_mioconv.pyx").write_text(SOURCE)
    (folder / "setup.py").write_text(SETUP)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (library,) = folder.glob("uses_mioconv.*.so")
    spec = importlib.util.spec_from_file_location("uses_mioconv", library)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def run(module: Any, case: Case, x: Any, w: Any, y: Any, **changed: Any) -> Any:
    settings = {name: per_dimension(v, case.rank) for name, v in case.settings.items()
                if name != "groups"}  # fmt: skip
    settings |= changed
    pointers = [a.ctypes.data for a in (x, w, y)]
    return module.run(
        case.rank, DTYPE_NUMBERS[x.dtype.name], pointers[0], x.shape, pointers[1], w.shape,
        pointers[2], settings["stride"], settings["padding"], settings["dilation"], case.groups,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pointers(module: Any, case: Case) -> None:
    """conv_forward and conv_output_shape, called without the GIL."""
    for dtype in (np.float32, np.float16):
        x, w = operands(FORWARD, case, dtype)
        y = np.full(case.output_shape, np.nan, dtype)
        assert run(module, case, x, w, y) == case.output_shape
        assert_same_bits(y, FORWARD(case, x, w))


@pytest.mark.parametrize("layout", ["packed", "channels_last", "sliced", "negative_stride"])
def test_views(module: Any, layout: str) -> None:
    """Typed memoryviews of any strides."""
    x, w = (LAYOUTS[layout](a) for a in operands(FORWARD, PLAIN))
    y = LAYOUTS[layout](np.zeros(PLAIN.output_shape, np.float32))
    module.view(x, w, y)
    assert_close(y, *FORWARD.expected(PLAIN, x, w))


def test_half_views(module: Any) -> None:
    """float16 as uint16_t."""
    x, w = operands(FORWARD, PLAIN, np.float16)
    y = np.zeros(PLAIN.output_shape, np.float16)
    module.half_view(x.view(np.uint16), w.view(np.uint16), y.view(np.uint16), False)
    assert_close(y, *FORWARD.expected(PLAIN, x, w))


def test_errors(module: Any) -> None:
    """They raise from where no GIL is held."""
    x, w = operands(FORWARD, PLAIN)
    y = np.full(PLAIN.output_shape, 3, np.float32)
    with pytest.raises(ValueError, match="stride"):
        run(module, PLAIN, x, w, y, stride=(0, 1))
    with pytest.raises(ValueError, match="padding"):
        run(module, PLAIN, x, w, y, padding=(-1, 1))
    with pytest.raises(ValueError, match="channels"):
        run(module, PLAIN, x, w[:, :5].copy(), y)
    assert (y == 3).all()


def test_headers_are_installed() -> None:
    include = Path(mioconv.get_include()) / "mioconv"
    assert (include / "abi" / "functions.def").exists()
    assert (include / "benchmark_cache.hpp").exists()
