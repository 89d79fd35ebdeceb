"""Tensors of the stand-in's GPU, whose memory is host memory, and reading results back."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from . import dlpack
from .tensors import BareTensor

ROCM = 10


class Tensor(BareTensor):
    """A DLPack producer that says ROCm."""

    def __init__(self, array: Any, index: int = 0, **more: Any) -> None:
        super().__init__(array, device=(ROCM, index), **more)


def read(tensor: Any) -> Any:
    """A NumPy array of any result."""
    if isinstance(tensor, np.ndarray):
        return tensor
    if isinstance(tensor, BareTensor):
        return tensor.array
    if hasattr(tensor, "host"):
        return tensor.host
    return dlpack.read(tensor)


class Interface:
    """An object of a GPU that has `__cuda_array_interface__` and no DLPack, as Numba's have."""

    def __init__(self, array: Any, stream: int | None = None, **more: Any) -> None:
        self.array = array
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, not array.flags.writeable),
            "strides": array.strides,
            "stream": stream,
            **more,
        }


def read_interface(tensor: Any) -> Any:
    """What a consumer of `__cuda_array_interface__` sees, as a NumPy array."""
    return np.array(SimpleNamespace(__array_interface__=tensor.__cuda_array_interface__))


class CupyArray:
    """As much of cupy.ndarray as mioconv touches, on host memory that counts as a GPU's."""

    def __init__(self, host: Any, index: int = 0) -> None:
        self.host = host
        self.device = _Device(index)
        self._producer = Tensor(host, index)

    @property
    def dtype(self) -> Any:
        return self.host.dtype

    @property
    def ndim(self) -> int:
        return int(self.host.ndim)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.host.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        return tuple(self.host.strides)

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.host.ctypes.data, device_id=self.device.id)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._producer.device

    def __dlpack__(self, **arguments: Any) -> Any:
        log.append(("__dlpack__", arguments.get("stream")))
        return self._producer.__dlpack__(**arguments)

    def __getitem__(self, index: Any) -> CupyArray:
        return CupyArray(self.host[index], self.device.id)

    def __setitem__(self, index: Any, values: Any) -> None:
        _note("set")
        self.host[index] = _host(values)

    def __add__(self, other: Any) -> CupyArray:
        _note("add")
        return CupyArray(self.host + _host(other), self.device.id)

    def __iadd__(self, other: Any) -> CupyArray:
        _note("add")
        self.host += _host(other)
        return self

    def __rmul__(self, factor: float) -> CupyArray:
        return CupyArray(factor * self.host, self.device.id)

    def reshape(self, shape: Any) -> CupyArray:
        return CupyArray(self.host.reshape(shape), self.device.id)

    def astype(self, dtype: Any, copy: bool = True) -> CupyArray:
        return CupyArray(self.host.astype(dtype, copy=copy), self.device.id)

    def copy(self, order: str = "K") -> CupyArray:
        return CupyArray(self.host.copy(order=order), self.device.id)

    def sum(self, axis: Any, dtype: Any) -> CupyArray:
        _note("sum")
        return CupyArray(self.host.sum(axis=axis, dtype=dtype), self.device.id)


# What the array library did: (operation, its current stream).
log: list[tuple[str, Any]] = []
_streams = {0: [0], 1: [0]}  # by device, the innermost last
_devices = [0]


def _note(what: str) -> None:
    log.append((what, _streams[_devices[-1]][-1]))


def _host(values: Any) -> Any:
    return values.host if isinstance(values, CupyArray) else values


class _Device:
    def __init__(self, index: int) -> None:
        self.id = index

    def __enter__(self) -> None:
        _devices.append(self.id)

    def __exit__(self, *_: Any) -> None:
        _devices.pop()


class _Stream:
    def __init__(self, ptr: int, device_id: int = 0) -> None:
        self.ptr = ptr
        self.device_id = device_id

    def __enter__(self) -> None:
        _streams[self.device_id].append(self.ptr)

    def __exit__(self, *_: Any) -> None:
        _streams[self.device_id].pop()


def _empty(shape: Any, dtype: Any) -> CupyArray:
    _note("empty")
    return CupyArray(np.full(shape, np.nan, dtype), _devices[-1])


def _from_dlpack(tensor: Any) -> CupyArray:
    index = tensor.__dlpack_device__()[1]
    managed = tensor.__dlpack__(stream=_streams[index][-1])
    return CupyArray(dlpack.view(managed), index)


def install_cupy() -> ModuleType:
    """Make `cupy` importable, with a current stream for each device."""
    cupy: Any = ModuleType("cupy")
    cupy.ndarray = CupyArray
    cupy.empty = _empty
    cupy.from_dlpack = _from_dlpack
    cupy.moveaxis = lambda a, f, t: CupyArray(np.moveaxis(a.host, f, t), a.device.id)
    cupy.maximum = lambda a, b: CupyArray(np.maximum(a.host, _host(b)), a.device.id)
    cupy.cuda = SimpleNamespace(
        get_current_stream=lambda device_id: _Stream(_streams[device_id][-1], device_id),
        ExternalStream=_Stream,
        runtime=SimpleNamespace(is_hip=True),
        Stream=SimpleNamespace(null=_Stream(0)),
    )
    sys.modules["cupy"] = cupy
    return cupy
