import sys
from typing import Any

# CapsuleType has a name from Python 3.13 on.
if sys.version_info >= (3, 13):
    from types import CapsuleType
else:
    CapsuleType = object

class Tensor:
    """The result of a call whose operands are of no kind that mioconv knows how to make.

    It owns host memory, and hands it on by `__dlpack__` and, except for bfloat16, by the buffer
    protocol. Made by mioconv's functions only.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]:
        """In elements."""

    @property
    def dtype(self) -> str:
        """ "float32", "float16" or "bfloat16"."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> CapsuleType:
        """Hand the memory on; BufferError for a stream, another device or a copy."""
