"""Fixtures of the provider tests: each library of ours that this machine can run."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from . import abi


def _open(provider: str) -> abi.Library:
    path = abi.library_path(provider)
    if path is None:
        pytest.skip(
            f"libmioconv_{provider}.so is not built (set MIOCONV_TEST_{provider.upper()}_LIBRARY)"
        )
    library = abi.Library(path, provider)
    count = ctypes.c_int(0)
    if library.so.hipGetDeviceCount(ctypes.byref(count)) != 0 or count.value == 0:
        library.so.hipGetLastError()
        pytest.skip(f"this machine has no device for the {provider} provider")
    return library


@pytest.fixture(scope="session")
def cpu() -> abi.Library:
    return _open("cpu")


@pytest.fixture(scope="session", params=["cpu", "cuda"])
def library(request: pytest.FixtureRequest) -> abi.Library:
    return _open(request.param)


@pytest.fixture
def handle(library: abi.Library) -> Iterator[ctypes.c_void_p]:
    with library.handle() as handle:
        yield handle
