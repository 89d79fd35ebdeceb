def clear_fusions() -> None:
    """Forget all fused plans and which way is faster."""
