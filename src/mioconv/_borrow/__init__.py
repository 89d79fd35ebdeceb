"""Tensors in and out: borrowed from any array library without a copy, made of the caller's kind."""
