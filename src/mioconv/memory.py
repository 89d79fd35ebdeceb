"""Scratch memory: how much is held, giving it back, another allocator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from mioconv._borrow import second_ways
from mioconv._core import memory as _memory

__all__ = ["empty_cache", "memory_stats", "set_allocator"]

Allocate: TypeAlias = Callable[[int, str, int], Any]


def memory_stats() -> dict[str, dict[str, int]]:
    """Scratch memory by device, in bytes: "current" leased, its "peak", "reserved" for later."""
    return _memory.memory_stats()


def empty_cache() -> None:
    """Give scratch memory that no call uses back to its device.

    Solutions that were put aside for lack of memory are tried again.
    """
    _memory.empty_cache()


def set_allocator(allocator: Literal["torch", "cupy"] | Allocate | None) -> None:
    """Take scratch memory from another allocator, such as that of the array library in use.

    Two caching allocators on one GPU keep memory from each other; with this there is one.

    Parameters
    ----------
    allocator : {"torch", "cupy"}, callable or None
        "torch" and "cupy" are the allocators of these libraries, which must have been imported. A
        callable is given the bytes, the device ("cpu:0", "rocm:1") and the stream's address, and
        answers an object that owns that much memory, aligned to 64 bytes, ready in the order of
        that stream: anything with ``data_ptr()``, ``ptr`` or an array interface. mioconv drops the
        object when it is done. None as its answer leaves that request to mioconv. What it raises
        counts as lack of memory, and is the cause of the `OutOfMemoryError` if one comes of it.
        None for the allocator itself: the devices' own memory again.

    Raises
    ------
    ValueError, TypeError
        Not one of these, or the library has not been imported.

    Notes
    -----
    While a graph is captured, CuPy's allocator is not asked: it may ask the device, which would
    spoil the capture. What needs scratch memory is a `CaptureError` then. PyTorch's allocator
    serves captures of PyTorch's own; of a callable mioconv does not know, and asks it.
    """
    captures = allocator != "cupy"
    if isinstance(allocator, str):
        if allocator not in _NAMED:
            raise ValueError(
                f"allocator: expected {' or '.join(map(repr, _NAMED))}, a callable or None, but "
                f"got {allocator!r}"
            )
        if allocator not in sys.modules:
            raise ValueError(f"allocator: {allocator} has not been imported")
        allocator = _NAMED[allocator]
    elif allocator is not None and not callable(allocator):
        raise TypeError(f"allocator: expected a callable or None, but got {allocator!r}")
    _memory.set_source(allocator, captures)


def _from_torch(nbytes: int, device: str, stream: int) -> Any:
    torch = sys.modules["torch"]
    provider, _, index = device.partition(":")
    if provider == "cpu":
        return torch.empty(nbytes, dtype=torch.uint8)
    # The stream for which memory is allocated is the one that its reuse is ordered on. PyTorch
    # calls AMD's devices "cuda" as well.
    with second_ways.on_stream(second_ways.TORCH, stream, int(index)):
        return torch.empty(nbytes, dtype=torch.uint8, device=torch.device("cuda", int(index)))


def _from_cupy(nbytes: int, device: str, stream: int) -> Any:
    cupy = sys.modules["cupy"]
    provider, _, index = device.partition(":")
    if provider == "cpu":
        return None
    with cupy.cuda.Device(int(index)), second_ways.on_stream(second_ways.CUPY, stream, int(index)):
        return cupy.cuda.alloc(nbytes)


_NAMED: Final[dict[str, Allocate]] = {"torch": _from_torch, "cupy": _from_cupy}
