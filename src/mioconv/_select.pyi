import logging
from typing import Any, Final

log: Final[logging.Logger]
ALGORITHMS: Final[dict[int, str]]  # MIOpen's numbers of them
DIRECTIONS: Final[tuple[str, str, str]]

def last_call() -> dict[str, Any] | None:
    """What this thread's last call did, as fields of `mioconv.CallInfo`."""

def cache_info() -> dict[str, Any]:
    """Counters of the cache and of selection, as fields of `mioconv.CacheInfo`."""

def cache_clear() -> None:
    """Forget every choice and every failure; the counters start again from zero."""

def memory_stats() -> dict[str, dict[str, int]]:
    """Scratch memory by device ("cpu:0"), in bytes: current, peak, reserved."""

def empty_cache() -> None:
    """Give unused scratch memory back, and retry what ran out of memory."""
