def limit_elements(limit: int) -> int:
    """For tests: another limit than that of 32-bit descriptors; answers the one before."""
