"""Tests that run with AMD's own libMIOpen on a stand-in for the HIP runtime; see `__main__`."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from helpers.operators import Expected, Operator
from helpers.problems import Case

MAJOR = os.environ.get("GENUINE", "")
collect_ignore_glob = [] if MAJOR else ["test_*.py"]


@pytest.fixture
def standin() -> None:
    """What the tests of tests/rocm ask for. There is no journal here; nothing is cached."""
    import mioconv

    info = mioconv.providers()["rocm"]
    assert info.available, info.error
    mioconv.cache_clear()
    gc.collect()


@pytest.fixture
def expect() -> Callable[..., Expected]:
    """What an operator must give: `expect(op, case, a, b)`.

    MIOpen's GEMM solvers keep more than the result in the tensors' dtype: for the gradient of the
    input the columns, which are added up afterwards, and for that of the weights the sum so far,
    sample by sample.
    """

    def expected(op: Operator, case: Case, *operands: Any) -> Expected:
        towards_x = "forward" if case.transposed else "backward_input"
        between = {towards_x: 1, "backward_weight": case.n}.get(op.name, 0)
        return op.expected(case, *operands, stored_between=between)

    return expected


@pytest.fixture
def cupy(standin: None) -> Iterator[Any]:
    """A CuPy of the stand-in's memory."""
    import sys

    from helpers import rocm

    yield rocm.install_cupy()
    del sys.modules["cupy"]
