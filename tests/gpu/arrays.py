"""Device arrays with the memory layout of a host array, in each array library."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.tensors import BFLOAT16

Array = NDArray[Any]


def _memory(array: Array) -> tuple[Array, int]:
    """The bytes that an array is a view of, and where in them it begins.

    Bytes are put before them so that the array's address is the same modulo 256 on the device,
    where allocations begin at such an address.
    """
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    start, end = np.lib.array_utils.byte_bounds(root)
    ahead = start % 256
    raw = np.zeros(ahead + end - start, np.uint8)
    import ctypes

    ctypes.memmove(raw.ctypes.data + ahead, start, end - start)
    return raw, ahead + array.ctypes.data - start


class Torch:
    """torch.cuda tensors."""

    module = "torch"
    name = "torch"

    def __init__(self) -> None:
        import torch

        self.torch = torch
        # Allocations of the tests' size come from blocks that are kept.
        torch.zeros(1, device="cuda")

    def has(self, dtype: Any, array: Array | None = None) -> bool:
        return array is None or all(s >= 0 for s in array.strides)

    def dtype(self, dtype: Any) -> Any:
        return getattr(self.torch, np.dtype(dtype).name)

    def put(self, array: Array, device: int = 0) -> Any:
        raw, offset = _memory(array)
        memory = self.torch.from_numpy(raw).to(f"cuda:{device}")
        size = array.itemsize
        if (offset | memory.data_ptr()) % size:
            raise ValueError("not aligned to its elements")
        whole = memory[offset % size :]
        whole = whole[: whole.numel() // size * size].view(self.dtype(array.dtype))
        return whole.as_strided(
            array.shape, [s // size for s in array.strides], whole.storage_offset() + offset // size
        )

    def empty(self, shape: Any, dtype: Any = np.float32) -> Any:
        return self.torch.full(tuple(shape), float("nan"), dtype=self.dtype(dtype), device="cuda")

    def is_mine(self, array: Any) -> bool:
        return isinstance(array, self.torch.Tensor) and array.is_cuda

    def stream(self) -> Any:
        return self.torch.cuda.Stream()

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        return self.torch.cuda.stream(stream)

    def handle(self, stream: Any) -> int:
        return int(stream.cuda_stream)

    def wait(self, milliseconds: float) -> None:
        """Keep the current stream busy for about so long."""
        self.torch.cuda._sleep(int(milliseconds * 1.9e6))

    def event(self) -> Any:
        """An event recorded on the current stream; `done` asks it."""
        event = self.torch.cuda.Event()
        event.record()
        return event

    def done(self, event: Any) -> bool:
        return bool(event.query())

    def synchronize(self) -> None:
        self.torch.cuda.synchronize()

    def free(self) -> None:
        """Give unused memory back to the device."""
        self.torch.cuda.synchronize()
        self.torch.cuda.empty_cache()

    def reserve(self, size: int) -> Any:
        return self.torch.empty(size, dtype=self.torch.uint8, device="cuda")


_SPIN = r"""
extern "C" __global__ void spin(long long cycles) {
    const long long start = clock64();
    while (clock64() - start < cycles) { }
}
"""


class Cupy:
    """cupy.ndarray."""

    module = "cupy"
    name = "cupy"

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self.spin = cupy.RawKernel(_SPIN, "spin")

    def has(self, dtype: Any, array: Array | None = None) -> bool:
        return np.dtype(dtype) != BFLOAT16

    def put(self, array: Array, device: int = 0) -> Any:
        raw, offset = _memory(array)
        with self.cupy.cuda.Device(device):
            memory = self.cupy.asarray(raw)
            return self.cupy.ndarray(
                array.shape, array.dtype, memory.data + offset, strides=array.strides
            )

    def empty(self, shape: Any, dtype: Any = np.float32) -> Any:
        return self.cupy.full(tuple(shape), np.nan, dtype)

    def is_mine(self, array: Any) -> bool:
        return isinstance(array, self.cupy.ndarray)

    def stream(self) -> Any:
        return self.cupy.cuda.Stream(non_blocking=True)

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        return stream  # type: ignore[no-any-return]

    def handle(self, stream: Any) -> int:
        return int(stream.ptr)

    def wait(self, milliseconds: float) -> None:
        self.spin((1,), (1,), (np.int64(milliseconds * 1.9e6),))

    def event(self) -> Any:
        event = self.cupy.cuda.Event()
        event.record()
        return event

    def done(self, event: Any) -> bool:
        return bool(event.done)

    def synchronize(self) -> None:
        self.cupy.cuda.Device().synchronize()

    def free(self) -> None:
        self.synchronize()
        self.cupy.get_default_memory_pool().free_all_blocks()

    def reserve(self, size: int) -> Any:
        return self.cupy.empty(size, np.uint8)


Kind = Torch | Cupy
KINDS: dict[str, type[Torch] | type[Cupy]] = {"torch": Torch, "cupy": Cupy}
