from typing import Any

def records() -> list[dict[str, Any]]:
    """All entries in memory as the cache files keep them, most recently used first."""
