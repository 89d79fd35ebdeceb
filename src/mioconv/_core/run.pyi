from typing import Any

def last_call() -> dict[str, Any] | None:
    """What this thread's last call did, as fields of `mioconv.CallInfo`."""
