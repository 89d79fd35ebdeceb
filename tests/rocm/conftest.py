"""Tests that run with the recording stand-in in the place of ROCm's libraries.

Libraries are loaded once for a process, so each configuration has a process of its own:
tests/test_rocm.py starts it, and tells it by FAKE_ROCM_CONFIG. To run one by hand, see there.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mioconv
from helpers import rocm
from helpers.operators import Expected, Operator
from helpers.standin import Standin

CONFIG = os.environ.get("FAKE_ROCM_CONFIG", "")
collect_ignore_glob = [] if CONFIG else ["test_*.py"]

# What a test may set, as it is without it.
DEFAULTS = {
    "solutions": -1, "count_above": 0, "unsupported": 0, "workspace_says_zero": 0, "no_bias": 0,
    "refuse_bfloat16": 0, "fusion": 0, "no_transform": 0, "no_compiler": 0, "skip_run": 0,
    "memory": 0, "capture": 0, "devices": 2, "no_device": 0, "slow_us": 0, "invent": 0,
    "quick_id": 0, "first_run_us": 0, "run_us": 0,
}  # fmt: skip


@pytest.fixture(scope="session")
def _loaded() -> Standin:
    info = mioconv.providers()["rocm"]
    assert info.available, info.error
    return Standin()


@pytest.fixture
def standin(_loaded: Standin) -> Iterator[Standin]:
    """The stand-in with nothing cached, an empty journal and every option as it was."""
    mioconv.cache_clear()
    gc.collect()
    rocm.log.clear()
    _loaded.set(**DEFAULTS)
    _loaded.end_fault()
    _loaded.make_current(0)
    _loaded.clear()
    yield _loaded
    _loaded.disown()
    assert _loaded.current_device == 0, "the current device was not restored"
    assert not _loaded.violations


@pytest.fixture
def expect() -> Callable[..., Expected]:
    """What an operator must give: `expect(op, case, a, b)`."""
    return Operator.expected


@pytest.fixture
def cupy(standin: Standin) -> Iterator[Any]:
    """A CuPy of the stand-in's memory."""
    import sys

    yield rocm.install_cupy()
    del sys.modules["cupy"]
