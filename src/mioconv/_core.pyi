from typing import Any

from typing_extensions import Buffer

from mioconv.problem import Problem

def describe_tensor(tensor: Any) -> tuple[tuple[int, ...], str, str, str]:
    """Shape, dtype name, layout ("packed" or "channels_last") and device name of any tensor."""

def shape_of(tensor: Any) -> tuple[int, ...]:
    """The sizes of any tensor of at most five dimensions."""

def find_solutions(
    problem: Problem,
    benchmark: bool | None,
    deterministic: bool | None,
    allow_tf32: bool | None,
    workspace_limit: int | None,
) -> list[dict[str, Any]]:
    """The ranked solutions of a problem, as fields of `mioconv.Solution`."""

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
