def clear_fusions() -> None:
    """Forget all fused plans and which way is faster."""

def set_fusion_capacity(entries: int) -> None:
    """How many fused problems are kept; the least recently used leave first."""
