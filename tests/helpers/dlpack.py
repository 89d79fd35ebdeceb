"""DLPack capsules made and read with ctypes, apart from any array library's own implementation."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .tensors import BFLOAT16, BareTensor

READ_ONLY = 1
IS_COPIED = 2

_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}


class DLDevice(ctypes.Structure):
    _fields_ = [("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


class DLDataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", DLDevice),
        ("ndim", ctypes.c_int32),
        ("dtype", DLDataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class DLManagedTensor(ctypes.Structure):
    _fields_ = [("dl_tensor", DLTensor), ("manager_ctx", ctypes.c_void_p), ("deleter", Deleter)]


class DLManagedTensorVersioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", Deleter),
        ("flags", ctypes.c_uint64),
        ("dl_tensor", DLTensor),
    ]


_api = ctypes.pythonapi
_capsule_new = _api.PyCapsule_New
_capsule_new.restype = ctypes.py_object
_capsule_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_capsule_name = _api.PyCapsule_GetName
_capsule_name.restype = ctypes.c_char_p
_capsule_name.argtypes = [ctypes.py_object]
_capsule_pointer = _api.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]

# PyCapsule_New keeps the pointer to its name, so the names live as long as the process.
_NAMES = {False: ctypes.c_char_p(b"dltensor"), True: ctypes.c_char_p(b"dltensor_versioned")}

# Managed tensors that are out, by address, with all that they point to.
_alive: dict[int, tuple[Any, ...]] = {}


def capsule_name(capsule: Any) -> str:
    return str(_capsule_name(capsule), "ascii")


def live_exports() -> int:
    """Managed tensors whose deleter has not run."""
    return len(_alive)


def _data_type(array: Any, lanes: int) -> DLDataType:
    if BFLOAT16 is not None and array.dtype == BFLOAT16:
        return DLDataType(4, 16, lanes)
    return DLDataType(_CODES[array.dtype.kind], array.dtype.itemsize * 8, lanes)


def make_capsule(producer: BareTensor, versioned: bool) -> Any:
    """What `producer.__dlpack__()` returns; the deleter counts itself in `producer.deleted`."""
    array = producer.array
    rank = array.ndim
    shape = (ctypes.c_int64 * max(rank, 1))(*array.shape)
    strides = (ctypes.c_int64 * max(rank, 1))(*(s // array.itemsize for s in array.strides))
    managed = DLManagedTensorVersioned() if versioned else DLManagedTensor()
    tensor = managed.dl_tensor
    tensor.data = array.ctypes.data - producer.byte_offset
    tensor.byte_offset = producer.byte_offset
    tensor.device = DLDevice(*producer.device)
    tensor.ndim = rank
    tensor.dtype = _data_type(array, producer.lanes)
    tensor.shape = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
    if not producer.null_strides:
        tensor.strides = ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64))
    lies = []
    for name, value in producer.fields.items():
        if isinstance(value, tuple):
            lies.append((ctypes.c_int64 * len(value))(*value))
            value = ctypes.cast(lies[-1], ctypes.POINTER(ctypes.c_int64))
        setattr(tensor, name, value)
    if versioned:
        managed.major, managed.minor = producer.version
        managed.flags = producer.flags
    address = ctypes.addressof(managed)

    def delete(pointer: int) -> None:
        producer.deleted += 1
        del _alive[pointer]

    deleter = Deleter(delete)
    managed.deleter = deleter
    _alive[address] = (managed, deleter, shape, strides, lies, array)
    capsule = _capsule_new(address, _NAMES[versioned], None)
    producer.capsules.append(capsule)
    return capsule


def read(producer: Any) -> np.ndarray[Any, Any]:
    """Copy any producer's tensor into a NumPy array, bfloat16 included."""
    capsule = producer.__dlpack__()
    assert capsule_name(capsule) == "dltensor", "asked without max_version"
    return view(capsule).copy(order="K")


def view(capsule: Any) -> np.ndarray[Any, Any]:
    """The memory of a legacy capsule, wherever it says that it is; kept by the capsule's owner."""
    address = _capsule_pointer(capsule, b"dltensor")
    managed = DLManagedTensor.from_address(address)
    tensor = managed.dl_tensor
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    itemsize = tensor.dtype.bits // 8
    if (tensor.dtype.code, tensor.dtype.bits) == (4, 16):
        assert BFLOAT16 is not None
        dtype = BFLOAT16
    else:
        kind = next(k for k, code in _CODES.items() if code == tensor.dtype.code)
        dtype = np.dtype(f"{kind}{itemsize}")
    if 0 in shape:
        return np.empty(shape, dtype)
    if tensor.strides:
        strides = tuple(tensor.strides[i] * itemsize for i in range(tensor.ndim))
    else:
        strides = np.empty(shape, dtype).strides
    reaches = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    low = sum(r for r in reaches if r < 0)
    extent = sum(r for r in reaches if r > 0) - low + itemsize
    raw = (ctypes.c_uint8 * extent).from_address(tensor.data + tensor.byte_offset + low)
    array: Any = np.ndarray(shape, dtype, memoryview(raw), offset=-low, strides=strides)
    return array
