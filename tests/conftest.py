"""Fixtures and profiles of the whole suite. Pytest's own settings are in pyproject.toml."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A flag from outside would change what is tested; the libraries' own variables may stay.
for _name in [name for name in os.environ if name.startswith("MIOCONV_")]:
    if not _name.endswith("_LIBRARY"):
        del os.environ[_name]
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
    """Give process-wide flags back as they were, whatever a test sets."""
    mioconv = sys.modules.get("mioconv")  # tests of the headers alone do not import it
    before = None if mioconv is None else mioconv.get_flags()
    yield
    if mioconv is not None and before is not None:
        mioconv.set_flags(**before)
