"""Arrays of every dtype, layout and producer that the tests hand to mioconv."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

try:
    import ml_dtypes
except ImportError:  # bfloat16 tests skip, with a reason, in `dtype_params`
    ml_dtypes = None

Array = NDArray[Any]

BFLOAT16 = None if ml_dtypes is None else np.dtype(ml_dtypes.bfloat16)

DTYPES = [
    pytest.param(np.dtype(np.float32), id="float32"),
    pytest.param(np.dtype(np.float16), id="float16"),
    pytest.param(
        BFLOAT16,
        id="bfloat16",
        marks=pytest.mark.skipif(BFLOAT16 is None, reason="NumPy's bfloat16 needs ml_dtypes"),
    ),
]


def randoms(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_array(shape: Sequence[int], dtype: Any = np.float32, seed: int = 0) -> Array:
    """Packed, in [-1, 1): no magnitude that float16 cannot sum."""
    return randoms(seed).uniform(-1, 1, tuple(shape)).astype(dtype)


# Layouts: the same values, differently in memory.


def packed(a: Array) -> Array:
    return np.ascontiguousarray(a)


def channels_last(a: Array) -> Array:
    """Channels innermost in memory, shape unchanged."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def sliced(a: Array) -> Array:
    """Every second element of a larger array, away from its edges."""
    big = np.full(tuple(2 * s + 3 for s in a.shape), 7, a.dtype)
    view = big[tuple(slice(2, 2 + 2 * s, 2) for s in a.shape)]
    view[...] = a
    return view


def negative_stride(a: Array) -> Array:
    """Walks memory backwards in every dimension."""
    backwards = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[backwards])[backwards]


def fortran(a: Array) -> Array:
    return np.asfortranarray(a)


def byte_offset(a: Array) -> Array:
    """Packed, on an address that is aligned for the dtype and for nothing more."""
    room = np.empty(a.nbytes + 64 + a.itemsize, np.uint8)
    start = -room.ctypes.data % 64 + a.itemsize
    view = room[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a: Array) -> Array:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def transposed_spatial(a: Array) -> Array:
    """Packed but for its last two dimensions, which are swapped in memory."""
    return np.swapaxes(np.ascontiguousarray(np.swapaxes(a, -1, -2)), -1, -2)


def broadcast(a: Array) -> Array:
    """Stride 0 in the batch: the first image, again and again (changes the values)."""
    return np.broadcast_to(a[:1], a.shape)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "packed": packed,
    "channels_last": channels_last,
    "sliced": sliced,
    "negative_stride": negative_stride,
    "fortran": fortran,
    "byte_offset": byte_offset,
    "read_only": read_only,
    "transposed_spatial": transposed_spatial,
    "broadcast": broadcast,
}


def is_channels_last(a: Any) -> bool:
    """Channels are the innermost dimension in memory and the rest packed around them."""
    strides, shape = _element_strides(a), tuple(a.shape)
    order = [1, *range(len(shape) - 1, 1, -1), 0]
    return _packed_in(shape, strides, order)


def is_packed(a: Any) -> bool:
    """C order, no gaps."""
    shape = tuple(a.shape)
    return _packed_in(shape, _element_strides(a), list(range(len(shape) - 1, -1, -1)))


def _packed_in(shape: Sequence[int], strides: Sequence[int], innermost_first: list[int]) -> bool:
    expected = 1
    for dim in innermost_first:
        if shape[dim] != 1 and strides[dim] != expected:
            return False
        expected *= shape[dim]
    return True


def _element_strides(a: Any) -> tuple[int, ...]:
    if isinstance(a, np.ndarray):
        return tuple(s // a.itemsize for s in a.strides)
    return tuple(a.stride())


# Producers.


def import_torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def to_torch(a: Array) -> Any:
    """A tensor on the same memory, same strides; negative strides are not torch's."""
    torch = import_torch()
    if BFLOAT16 is not None and a.dtype == BFLOAT16:
        return torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(a)


def to_numpy(a: Any) -> Array:
    """A NumPy array of the same values and dtype, from any kind that the tests use."""
    if isinstance(a, np.ndarray):
        return a
    if isinstance(a, BareTensor):
        return a.array
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(a, torch.Tensor):
        a = a.detach().cpu()
        if a.dtype == torch.bfloat16:
            assert BFLOAT16 is not None
            return a.contiguous().view(torch.int16).numpy().view(BFLOAT16)
        return a.numpy()
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(a, cupy.ndarray):
        return cupy.asnumpy(a)
    if hasattr(a, "__dlpack__"):
        return _from_dlpack(a)
    return np.asarray(a)


def _from_dlpack(a: Any) -> Array:
    """NumPy refuses bfloat16 through DLPack: read the capsule here."""
    from . import dlpack

    return dlpack.read(a)


class BareTensor:
    """A DLPack producer with `__dlpack__` and `__dlpack_device__` and nothing else of an array.

    Parameters
    ----------
    array
        What it shows. bfloat16, offsets and odd strides are possible: the capsule is made here.
    versioned
        Whether it speaks DLPack 1.0. A legacy producer does not know `max_version`.
    flags
        Flags of the versioned capsule.
    version
        Version that the capsule claims.
    byte_offset
        Put this many of the bytes before the data into `DLTensor.byte_offset`.
    null_strides
        Leave `DLTensor.strides` NULL (packed arrays only).
    device
        What `__dlpack_device__` and the capsule say.
    fields
        Fields of `DLTensor` that say something else: "data", "ndim", "shape" (None: NULL),
        "strides", "byte_offset".

    `exports` and `deleted` count capsules handed out and deleters called; `arguments` has the
    keyword arguments of every export.
    """

    def __init__(
        self,
        array: Array,
        *,
        versioned: bool = True,
        flags: int = 0,
        version: tuple[int, int] = (1, 0),
        byte_offset: int = 0,
        null_strides: bool = False,
        device: tuple[int, int] = (1, 0),
        lanes: int = 1,
        fields: dict[str, Any] | None = None,
    ) -> None:
        self.array = array
        self.versioned = versioned
        self.flags = flags
        self.version = version
        self.byte_offset = byte_offset
        self.null_strides = null_strides
        self.device = device
        self.lanes = lanes
        self.fields = fields or {}
        self.exports = 0
        self.deleted = 0
        self.arguments: list[dict[str, Any]] = []
        self.capsules: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: Any = None, **more: Any) -> Any:
        from . import dlpack

        if not self.versioned and more:
            raise TypeError(f"__dlpack__() got an unexpected keyword argument {next(iter(more))!r}")
        unknown = set(more) - {"max_version", "dl_device", "copy"}
        if unknown:
            raise TypeError(f"__dlpack__() got an unexpected keyword argument {unknown.pop()!r}")
        self.arguments.append({"stream": stream, **more})
        self.exports += 1
        versioned = self.versioned and more.get("max_version") is not None
        return dlpack.make_capsule(self, versioned)


# The kinds that give the same answer, as functions from a NumPy array.
KINDS: dict[str, Callable[[Array], Any]] = {
    "numpy": lambda a: a,
    "torch": to_torch,
    "dlpack": BareTensor,
    "dlpack_legacy": lambda a: BareTensor(a, versioned=False),
}


def wrap_optional(wrap: Callable[[Array], Any], a: Array | None) -> Any:
    return None if a is None else wrap(a)


def data_pointer(a: Any) -> int:
    """Address of the first element."""
    if isinstance(a, np.ndarray):
        return int(a.ctypes.data)
    if isinstance(a, BareTensor):
        return int(a.array.ctypes.data)
    return int(a.data_ptr())
