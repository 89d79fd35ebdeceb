from collections.abc import Callable
from typing import Any

def memory_stats() -> dict[str, dict[str, int]]:
    """Scratch memory by device ("cpu:0"), in bytes: current, peak, reserved."""

def empty_cache() -> None:
    """Give unused scratch memory back, and retry what ran out of memory."""

def set_source(allocator: Callable[[int, str, int], Any] | None, captures: bool = True) -> None:
    """Where scratch memory comes from; None: from the devices."""

def after_fork() -> None:
    """The devices of a child are new."""
