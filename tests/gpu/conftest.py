"""Tests that need an NVIDIA GPU: the same arrays as elsewhere, on a device.

They run with PyTorch's and with CuPy's tensors, whichever are there. `tests/gpu/run.sh` builds
what they need.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mioconv

from .arrays import KINDS, Kind


def _reason() -> str | None:
    info = mioconv.providers()["cuda"]
    if not info.available:
        return "the cuda provider is not available"
    return None if info.devices else "no NVIDIA GPU"


REASON = _reason()
# What cannot run is not collected, so that a skipped test is always news.
collect_ignore_glob = [] if REASON is None else ["test_*.py"]


def pytest_report_collectionfinish() -> str:
    return "tests/gpu: " + (f"not collected, {REASON}" if REASON else "collected")


@pytest.fixture(scope="session", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    """One array library, its device and its streams."""
    made = KINDS[request.param]
    pytest.importorskip(made.module, reason=f"{made.module} is not installed")
    return made()


@pytest.fixture(autouse=True)
def _clean_slate() -> Iterator[None]:
    """Nothing that one test chose or allocated is left for the next."""
    yield
    mioconv.empty_cache()
