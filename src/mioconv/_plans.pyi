import logging
from typing import Any, Final

log: Final[logging.Logger]
DIRECTIONS: Final[tuple[str, str, str]]
SOURCES: Final[tuple[str, str, str]]  # by the number of mioconv::Source

def cache_info() -> dict[str, Any]:
    """Counters of the cache and of selection, as fields of `mioconv.CacheInfo`."""

def cache_clear() -> None:
    """Forget every choice and every failure; the counters start again from zero."""

def set_capacity(entries: int) -> None:
    """How many problems are kept; the least recently used leave first. 0: no bound."""

def forget_out_of_memory() -> None:
    """Let solutions that lacked memory be tried again."""

def records() -> list[dict[str, Any]]:
    """All plans in memory as the cache files keep them, most recently used first."""

def recall_all() -> int:
    """Apply what the cache files know to the plans in memory; how many plans that served."""

def after_fork() -> None:
    """Start anew in a child."""
