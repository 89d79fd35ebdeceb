"""What the cpu provider counts: native calls, objects made and destroyed, faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def object_counts() -> dict[str, Any]:
    """The cpu provider's counters."""
    from mioconv._native import api as _api

    counts: dict[str, Any] = _api.object_counts("cpu")
    return counts


def native_calls() -> int:
    """MIOpen and HIP functions called so far, all threads together."""
    calls: int = object_counts()["native_calls"]
    return calls


def live_objects() -> dict[str, int]:
    """Objects of each kind that exist now."""
    counts = object_counts()
    live = {
        kind: count["created"] - count["destroyed"]
        for kind, count in counts.items()
        if isinstance(count, dict)
    }
    assert len(live) >= 9, "a kind of object is not counted"
    return live


@contextmanager
def no_native_calls() -> Iterator[None]:
    """Nothing behind the seam is called inside."""
    before = native_calls()
    yield
    after = native_calls()
    assert after == before, f"{after - before} native calls"


@contextmanager
def fault(function: str, **how: Any) -> Iterator[None]:
    """Make an exported function of the cpu provider fail inside (see mioconvFault_t)."""
    from mioconv._native import api as _api

    _api.inject_fault("cpu", function, **how)
    try:
        yield
    finally:
        _api.inject_fault("cpu", None)
