from contextvars import Token
from typing import Any

def get() -> dict[str, Any]:
    """All flags as they are in force here and now."""

def set_process(values: dict[str, Any]) -> None:
    """Set process-wide values; nothing is set when one of them is wrong."""

def push(values: dict[str, Any]) -> Token[Any]:
    """Override flags in this context; the token undoes it with `pop`."""

def pop(token: Token[Any]) -> None:
    """Undo the `push` that answered this token."""
