"""What the array library does itself where the native library refuses.

MIOpen has no bias, bias gradient or ReLU for some dtypes and layouts (bfloat16, channels-last),
and newer releases dropped some of them. The convolution itself never comes here. Half types are
computed in float32 and rounded once.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import numpy as np

from mioconv.errors import UnsupportedError

__all__ = ["add", "bias_gradient", "copy", "copy_into", "finish", "on_stream"]

# The kinds of tensor as the core numbers them.
NUMPY: Final = 0
TORCH: Final = 1
CUPY: Final = 2


def _library(kind: int, what: str, why: str) -> Any:
    if kind == NUMPY:
        return np
    if kind in (TORCH, CUPY):
        return sys.modules["torch" if kind == TORCH else "cupy"]
    raise UnsupportedError(
        f"{what}: the native library refuses it here ({why}), and a DLPack or buffer object brings "
        "no operations of its own; pass NumPy, PyTorch or CuPy tensors"
    )


def _wide(tensor: Any, kind: int) -> Any:
    return tensor.float() if kind == TORCH else tensor.astype(np.float32, copy=False)


def finish(
    out: Any, kind: int, z: Any, alpha: float, bias: Any, spatial: int, relu: bool, why: str
) -> None:
    """``out = relu(out + alpha * z + bias)`` in place, each part only where it is asked for."""
    library = _library(kind, "bias, sum or ReLU", why)
    result = _wide(out, kind)
    if z is not None:
        result = result + np.float32(alpha).item() * _wide(z, kind)
    if bias is not None:
        result = result + _wide(bias, kind).reshape((-1,) + (1,) * spatial)
    if relu:
        # NaN stays NaN, as it does in PyTorch.
        result = library.relu(result) if kind == TORCH else library.maximum(result, np.float32(0))
    if kind == TORCH:
        out.copy_(result)
    else:
        out[...] = result.astype(out.dtype, copy=False)


def bias_gradient(out: Any, kind: int, gradient: Any, spatial: int, why: str) -> None:
    """The sum over batch and space, in float32, into `out`."""
    library = _library(kind, "the gradient of a bias", why)
    batch = (0,) if gradient.ndim == spatial + 2 else ()
    axes = batch + tuple(range(gradient.ndim - spatial, gradient.ndim))
    if kind == TORCH:
        out.copy_(gradient.sum(dim=axes, dtype=library.float32))
    else:
        out[...] = gradient.sum(axis=axes, dtype=np.float32).astype(out.dtype)


def copy(tensor: Any, kind: int) -> Any:
    """The same values in memory of their own, in the same layout."""
    return tensor.clone() if kind == TORCH else tensor.copy(order="K")


def copy_into(target: Any, source: Any, kind: int) -> None:
    """Copy between DLPack objects of one shape and device, whatever their strides and dtypes."""
    library = sys.modules["torch" if kind == TORCH else "cupy"]
    to, values = library.from_dlpack(target), library.from_dlpack(source)
    if kind == TORCH:
        to.copy_(values)
    else:
        to[...] = values


def add(target: Any, source: Any, kind: int) -> None:
    """``target += source`` between DLPack objects of one shape and device, in target's dtype."""
    library = sys.modules["torch" if kind == TORCH else "cupy"]
    to = library.from_dlpack(target)
    to += library.from_dlpack(source)


def on_stream(kind: int, stream: int, device: int) -> Any:
    """Context in which the array library queues its own work on this stream of this device."""
    if kind == TORCH:
        cuda = sys.modules["torch"].cuda
        given = (
            cuda.ExternalStream(stream, device=device) if stream else cuda.default_stream(device)
        )
        return cuda.stream(given)
    cuda = sys.modules["cupy"].cuda
    if stream == 0:
        return cuda.Stream.null
    if hasattr(cuda.Stream, "from_external"):  # CuPy 14 warns of the other
        return cuda.Stream.from_external(_Protocol(stream))
    return cuda.ExternalStream(stream, device)


class _Protocol:
    """A stream's address as CUDA's stream protocol."""

    def __init__(self, stream: int) -> None:
        self._stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._stream
