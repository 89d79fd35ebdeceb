"""The benchmark suite: ``mioconv bench``, or ``python -m bench`` in a checkout."""
