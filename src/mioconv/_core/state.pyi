from typing import Any, Final

DIRECTIONS: Final[tuple[str, str, str]]

def cache_info() -> dict[str, Any]:
    """Counters of the cache and of selection, as fields of `mioconv.CacheInfo`."""

def cache_clear() -> None:
    """Forget every choice, every failure, fused plans and which way is faster."""

def set_capacity(entries: int) -> None:
    """How many problems are kept; the least recently used leave first. 0: no bound."""

def forget_out_of_memory() -> None:
    """Let solutions that lacked memory be tried again."""

def after_fork() -> None:
    """Start anew in a child."""
