"""Fixtures of the provider tests."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from . import abi


@pytest.fixture(scope="session")
def cpu() -> abi.Library:
    path = abi.library_path()
    if path is None:
        pytest.skip("libmioconv_cpu.so is not built (set MIOCONV_TEST_CPU_LIBRARY)")
    return abi.Library(path)


@pytest.fixture
def handle(cpu: abi.Library) -> Iterator[ctypes.c_void_p]:
    with cpu.handle() as handle:
        yield handle
