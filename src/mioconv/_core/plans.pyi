def recall_all() -> int:
    """Apply what the cache files know to the plans in memory; how many plans that served."""
