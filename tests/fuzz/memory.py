"""Operands between guards: pages that cannot be touched on a host, bytes that must not change."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

_PAGE = mmap.PAGESIZE
_ALIGNMENT = 64
_MARGIN = 4096  # bytes that are compared on each side
_UNTOUCHED = 0xA5
NAN = 0xFF  # as every byte: a NaN in each float type


class Arena:
    """Memory for one operand at a time.

    `pages`: between two pages that no process may touch; else the whole is small enough to be
    copied to a device and back, with its margins.
    """

    def __init__(self, pages: bool) -> None:
        self._pages = pages
        self._size = 0
        self._memory: Any = None

    def _reserve(self, size: int) -> None:
        if self._memory is not None and self._size >= size:
            return
        self._size = max(size, 1 << 20 if self._pages else 0)
        if not self._pages:
            self._memory = np.empty(self._size, np.uint8)
            return
        whole = mmap.mmap(-1, self._size + 2 * _PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(whole))
        libc = ctypes.CDLL(None, use_errno=True)
        for guard in (address, address + _PAGE + self._size):
            if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(_PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._memory = np.frombuffer(whole, np.uint8, self._size, _PAGE)

    def place(self, count: int, offset: int, at_end: bool) -> np.ndarray:
        """`count` bytes, `offset` bytes behind a multiple of 64, next to a guard."""
        room = -(-(count + 2 * _MARGIN + 2 * _ALIGNMENT) // _PAGE) * _PAGE
        if not self._pages:
            self._memory = None
        self._reserve(room)
        base = self._memory.ctypes.data
        if self._pages and at_end:
            start = base + self._size - count
            start -= (start - offset) % _ALIGNMENT
        else:
            start = base + (0 if self._pages else _MARGIN)
            start += (offset - start) % _ALIGNMENT
        self._start, self._end = start - base, start - base + count
        for margin in self._margins():
            margin[...] = _UNTOUCHED
        return self._memory[self._start : self._end]

    def _margins(self) -> tuple[np.ndarray, np.ndarray]:
        before = self._memory[max(0, self._start - _MARGIN) : self._start]
        return before, self._memory[self._end : self._end + _MARGIN]

    def touched(self) -> int:
        """Bytes around the operand that were written."""
        return sum(int((margin != _UNTOUCHED).sum()) for margin in self._margins())


def in_layout(memory: np.ndarray, shape: tuple[int, ...], dtype: Any, last: bool) -> np.ndarray:
    """Bytes as a tensor, packed or channels-last."""
    flat = memory.view(dtype)
    if not last:
        return flat.reshape(shape)
    return np.moveaxis(flat.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
