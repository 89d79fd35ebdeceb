"""Calls from Python: the operators, plans, and problems without tensors."""
