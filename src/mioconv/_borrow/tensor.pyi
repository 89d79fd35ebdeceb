from typing import Any

def describe_tensor(tensor: Any) -> tuple[tuple[int, ...], str, str, str]:
    """Shape, dtype name, layout ("packed" or "channels_last") and device name of any tensor."""

def shape_of(tensor: Any) -> tuple[int, ...]:
    """The sizes of any tensor of at most five dimensions."""
