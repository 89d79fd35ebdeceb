from typing_extensions import Buffer

def conv1d_forward_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: int,
    padding: int,
    dilation: int,
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv1d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""

def conv2d_forward_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv2d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""

def conv3d_forward_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    dilation: tuple[int, int, int],
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv3d on typed memoryviews, into `y`; uint16 holds float16, or bfloat16 where said so."""
