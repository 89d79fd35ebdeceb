"""What the array library does itself where the native library refuses.

MIOpen has no bias, bias gradient or ReLU for some dtypes and layouts (bfloat16, channels-last), and
newer releases dropped some of them. The convolution itself never comes here.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np

from mioconv.errors import UnsupportedError

__all__ = ["bias_gradient", "finish"]

# The kinds of tensor as the core numbers them.
NUMPY: Final = 0
TORCH: Final = 1
CUPY: Final = 2


def _library(kind: int, what: str) -> Any:
    if kind == NUMPY:
        return np
    if kind in (TORCH, CUPY):
        return sys.modules["torch" if kind == TORCH else "cupy"]
    raise UnsupportedError(
        f"{what}: the native library refuses it here, and a DLPack or buffer object brings no "
        "operations of its own; pass NumPy, PyTorch or CuPy tensors"
    )


def finish(out: Any, kind: int, z: Any, alpha: float, bias: Any, spatial: int, relu: bool) -> None:
    """``out = relu(out + alpha * z + bias)`` in place, each part only where it is asked for."""
    library = _library(kind, "bias, sum or ReLU")
    if z is not None:
        out += alpha * z if kind == TORCH else (alpha * z).astype(out.dtype, copy=False)
    if bias is not None:
        out += bias.reshape((-1,) + (1,) * spatial)
    if relu:
        # NaN stays NaN, as it does in PyTorch.
        if kind == TORCH:
            library.relu_(out)
        else:
            library.maximum(out, out.dtype.type(0), out=out)


def bias_gradient(out: Any, kind: int, gradient: Any, spatial: int) -> None:
    """The sum over batch and space, in float32, into `out`."""
    library = _library(kind, "the gradient of a bias")
    batch = (0,) if gradient.ndim == spatial + 2 else ()
    axes = batch + tuple(range(gradient.ndim - spatial, gradient.ndim))
    if kind == TORCH:
        out.copy_(gradient.sum(dim=axes, dtype=library.float32))
    else:
        out[...] = gradient.sum(axis=axes, dtype=np.float32).astype(out.dtype)
