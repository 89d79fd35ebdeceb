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
    """conv1d on typed memoryviews, into `y`."""

def conv1d_backward_input_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: int,
    padding: int,
    dilation: int,
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv1d on typed memoryviews, the gradient of the input, into `x`."""

def conv1d_backward_weight_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: int,
    padding: int,
    dilation: int,
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv1d on typed memoryviews, the gradient of the weights, into `w`."""

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
    """conv2d on typed memoryviews, into `y`."""

def conv2d_backward_input_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv2d on typed memoryviews, the gradient of the input, into `x`."""

def conv2d_backward_weight_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv2d on typed memoryviews, the gradient of the weights, into `w`."""

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
    """conv3d on typed memoryviews, into `y`."""

def conv3d_backward_input_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    dilation: tuple[int, int, int],
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv3d on typed memoryviews, the gradient of the input, into `x`."""

def conv3d_backward_weight_view(
    x: Buffer,
    w: Buffer,
    y: Buffer,
    stride: tuple[int, int, int],
    padding: tuple[int, int, int],
    dilation: tuple[int, int, int],
    groups: int = 1,
    bfloat16: bool = False,
) -> int:
    """conv3d on typed memoryviews, the gradient of the weights, into `w`."""
