"""Fixtures of the provider tests: each library of ours that this machine can run."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from . import abi


def _reason(provider: str) -> str | None:
    """Why this machine cannot run a provider's library; None: it can."""
    path = abi.library_path(provider)
    if path is None:
        return f"libmioconv_{provider}.so is not built (MIOCONV_TEST_{provider.upper()}_LIBRARY)"
    library = abi.Library(path, provider)
    count = ctypes.c_int(0)
    if library.so.hipGetDeviceCount(ctypes.byref(count)) != 0 or count.value == 0:
        library.so.hipGetLastError()
        return f"this machine has no device for the {provider} provider"
    return None


REASONS = {provider: _reason(provider) for provider in ("cpu", "cuda")}
# What cannot run is not collected, so that a skipped test is always news.
collect_ignore_glob = [] if REASONS["cuda"] is None else ["test_cuda*.py"]


def pytest_report_collectionfinish() -> list[str]:
    return [
        f"tests/providers: {provider} not collected, {reason}"
        for provider, reason in REASONS.items()
        if reason is not None
    ]


def _open(provider: str) -> abi.Library:
    if (reason := REASONS[provider]) is not None:
        pytest.skip(reason)
    return abi.Library(abi.library_path(provider), provider)


@pytest.fixture(scope="session")
def cpu() -> abi.Library:
    return _open("cpu")


@pytest.fixture(
    scope="session",
    params=[name for name, reason in REASONS.items() if reason is None] or ["cpu"],
)
def library(request: pytest.FixtureRequest) -> abi.Library:
    return _open(request.param)


@pytest.fixture
def handle(library: abi.Library) -> Iterator[ctypes.c_void_p]:
    with library.handle() as handle:
        yield handle
