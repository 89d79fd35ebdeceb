"""Fixtures and profiles of the whole suite. Pytest's own settings are in pyproject.toml."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Importing mioconv must work before any flag is set; a variable from outside would change results.
for _name in ("MIOCONV_BENCHMARK", "MIOCONV_DETERMINISTIC", "MIOCONV_WORKSPACE_LIMIT"):
    os.environ.pop(_name, None)
# Nothing that a test measures may be kept for the next run.
os.environ["MIOCONV_CACHE"] = "0"

_SLOW_OK = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("default", deadline=None, max_examples=40, suppress_health_check=_SLOW_OK)
settings.register_profile(
    "ci", deadline=None, max_examples=60, derandomize=True, suppress_health_check=_SLOW_OK
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def _default_flags() -> Iterator[None]:
    """Give process-wide flags back as they were; a test that sets them need not."""
    import sys

    mioconv = sys.modules.get("mioconv")
    before = None if mioconv is None else mioconv.get_flags()
    yield
    if before is not None:
        mioconv.set_flags(**before)
