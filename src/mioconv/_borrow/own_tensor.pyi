import sys
from typing import Any, final

# CapsuleType has a name from Python 3.13 on.
if sys.version_info >= (3, 13):
    from types import CapsuleType
else:
    CapsuleType = object

@final
class Tensor:
    """The result of a call whose operands are of no kind that mioconv knows how to make.

    It owns memory of the operands' device and hands it on by `__dlpack__`; host memory, except for
    bfloat16, by the buffer protocol too, and a GPU's by `__cuda_array_interface__`. Made by
    mioconv's functions only.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]:
        """In elements."""

    @property
    def dtype(self) -> str:
        """ "float32", "float16" or "bfloat16"."""

    @property
    def device(self) -> str:
        """ "cpu", or "rocm:0" and the like."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
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
        """Hand the memory on; BufferError for another device or a copy."""
