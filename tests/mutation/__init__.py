"""Faults that are put into the product on purpose, to see whether a test does."""
