"""The matrix products that stand in for rocBLAS's, against NumPy's."""

from __future__ import annotations

import ctypes as c
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from .conftest import MAJOR

PLAIN, TRANSPOSED = 111, 112  # rocblas_operation
TYPES = {"float16": 150, "float32": 151, "bfloat16": 168}  # rocblas_datatype
M, N, K, BATCHES = 5, 4, 7, 3


@pytest.fixture(scope="module")
def rocblas() -> Any:
    return c.CDLL({"6": "librocblas.so.4", "7": "librocblas.so.5"}[MAJOR])


def matrices(rows: int, columns: int, dtype: Any, lead: int, step: int) -> tuple[Any, Any]:
    """Memory with gaps, and the column-major matrices in it as a view, by batch."""
    memory = np.random.default_rng(rows * columns).integers(-4, 5, BATCHES * step).astype(dtype)
    size = memory.itemsize
    strides = (step * size, size, lead * size)
    return memory, np.lib.stride_tricks.as_strided(memory, (BATCHES, rows, columns), strides)


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("left", [PLAIN, TRANSPOSED])
@pytest.mark.parametrize("right", [PLAIN, TRANSPOSED])
@pytest.mark.parametrize("dtype", TYPES)
def test_gemm(rocblas: Any, dtype: str, left: int, right: int, beta: float) -> None:
    """Strided and batched, with gaps between columns and matrices that stay as they are. Small
    integers: the products are exact, and rounded once by the type of the result."""
    element = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    lead, step = 9, 80
    a_memory, a = matrices(*((M, K) if left == PLAIN else (K, M)), element, lead, step)
    b_memory, b = matrices(*((K, N) if right == PLAIN else (N, K)), element, lead, step)
    d_memory, d = matrices(M, N, element, lead, step)
    before = d_memory.copy()
    if beta == 0:  # then what lies there is not read
        d[...] = np.nan
    wide = [m.astype(np.float64) for m in (a, b, d)]
    first = wide[0] if left == PLAIN else wide[0].transpose(0, 2, 1)
    second = wide[1] if right == PLAIN else wide[1].transpose(0, 2, 1)
    expected = 2 * first @ second + (beta * wide[2] if beta else 0)
    alpha, keep = c.c_float(2), c.c_float(beta)
    kind, stride, pointer = TYPES[dtype], c.c_int64(step), c.c_void_p
    status = rocblas.rocblas_gemm_strided_batched_ex(
        None, left, right, M, N, K, c.byref(alpha),
        pointer(a_memory.ctypes.data), kind, lead, stride,
        pointer(b_memory.ctypes.data), kind, lead, stride, c.byref(keep),
        pointer(d_memory.ctypes.data), kind, lead, stride,
        pointer(d_memory.ctypes.data), kind, lead, stride,
        BATCHES, TYPES["float32"], 0, 0, 0,
    )  # fmt: skip
    assert status == 0
    assert (d.astype(np.float64) == expected.astype(element).astype(np.float64)).all()
    d[...] = 0
    gaps = before.copy()
    np.lib.stride_tricks.as_strided(gaps, d.shape, d.strides)[...] = 0
    assert (d_memory == gaps).all()


def test_one_product(rocblas: Any) -> None:
    a, b = (np.arange(6, dtype=np.float32) + i for i in (1, 2))  # 2x3 and 3x2, by columns
    d = np.zeros(4, np.float32)
    one, zero, pointer, kind = c.c_float(1), c.c_float(0), c.c_void_p, TYPES["float32"]
    status = rocblas.rocblas_gemm_ex(
        None, PLAIN, PLAIN, 2, 2, 3, c.byref(one), pointer(a.ctypes.data), kind, 2,
        pointer(b.ctypes.data), kind, 3, c.byref(zero), pointer(d.ctypes.data), kind, 2,
        pointer(d.ctypes.data), kind, 2, kind, 0, 0, 0,
    )  # fmt: skip
    assert status == 0
    expected = a.reshape(3, 2).T @ b.reshape(2, 3).T
    assert (expected == d.reshape(2, 2).T).all()


def test_other_types_are_refused(rocblas: Any) -> None:
    a, one = np.zeros(4, np.float64), c.c_double(1)
    pointer, double = c.c_void_p(a.ctypes.data), 152
    status = rocblas.rocblas_gemm_ex(
        None, PLAIN, PLAIN, 1, 1, 1, c.byref(one), pointer, double, 1, pointer, double, 1,
        c.byref(one), pointer, double, 1, pointer, double, 1, double, 0, 0, 0,
    )  # fmt: skip
    assert status != 0
