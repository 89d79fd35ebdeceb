from collections.abc import Callable
from typing import Any

from mioconv.problem import Problem

_Watcher = Callable[[Problem, dict[str, Any], int, int], None] | None

def watch(callback: _Watcher) -> _Watcher:
    """Set what is told of the progress of searches, and answer what it was before."""
