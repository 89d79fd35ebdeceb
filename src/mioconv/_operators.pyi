from collections.abc import Sequence
from typing import Any, Final

# Operators, as `operate` takes them.
FORWARD: Final[int]
BACKWARD_INPUT: Final[int]
BACKWARD_WEIGHT: Final[int]
TRANSPOSED_FORWARD: Final[int]
TRANSPOSED_BACKWARD_INPUT: Final[int]
TRANSPOSED_BACKWARD_WEIGHT: Final[int]
DEPTHWISE: Final[object]  # in the place of groups: one for each channel of x

def operate(
    which: int,
    spatial: int,
    x: Any,
    w: Any,
    y: Any,
    bias: Any,
    z: Any,
    alpha: float,
    relu: bool,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    output_padding: int | Sequence[int],
    dilation: int | Sequence[int],
    groups: Any,
    out: Any,
    benchmark: bool | None,
    deterministic: bool | None,
    allow_tf32: bool | None,
    solution: Any,
    workspace_limit: int | None,
    stream: Any,
) -> Any:
    """One operator on tensors of one kind; in the result's place stands its shape, or None."""

def gradients(
    transposed: bool,
    spatial: int,
    input: Any,
    grad_output: Any,
    weight: Any,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    output_padding: int | Sequence[int],
    dilation: int | Sequence[int],
    groups: Any,
    mask: Sequence[bool],
    outs: Sequence[Any],
    benchmark: bool | None,
    deterministic: bool | None,
    allow_tf32: bool | None,
    solutions: Sequence[Any],
    workspace_limit: int | None,
    stream: Any,
) -> tuple[Any, Any, Any]:
    """The gradients that the mask asks for, None in the place of the others."""

def bias_gradient(spatial: int, gradient: Any, out: Any, stream: Any) -> Any:
    """The sum of a gradient over every dimension but the channels."""
