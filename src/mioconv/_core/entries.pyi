def recall_all() -> int:
    """Apply what the cache files know to the entries in memory; how many entries that served."""
