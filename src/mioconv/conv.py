"""The public convolution functions: names, defaults and documentation.

Each is written once and made for 1, 2 and 3 spatial dimensions; `conv.pyi` spells the signatures out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from mioconv import _core

__all__ = ["conv1d_forward", "conv2d_forward", "conv3d_forward"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SIZES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}

# What every function says of its common arguments.
_COMMON = """
    stride, padding, dilation : int or sequence of {n} int, optional
        One value for every spatial dimension, or one each. Defaults 1, 0 and 1. `padding` may also be
        "valid" (none) or, where the stride is 1, "same": the output has the input's size, and with
        an even kernel the extra zero lies behind the input.
    groups : int, optional
        Blocks of connected channels; divides both channel counts. Default 1."""

_KEYWORDS = """
    out : tensor, optional
        Where the result goes: its shape, dtype, device and kind, any strides, no memory in common
        with an input. Its contents are unspecified after an error.
    benchmark, deterministic, allow_tf32 : bool, optional
        Override the flags of these names for this call; see `mioconv.set_flags`.
    solution : Solution or int, optional
        Run exactly this one of `find_solutions`.
    workspace_limit : int, optional
        Scratch memory that a solution may use, in bytes.
    stream : optional
        Queue the work here instead of the producer's current stream; None on the CPU."""

_RAISES = """
    ValueError, TypeError, BufferError
        Wrong arguments; raised before any native call, and nothing is written.
    ProviderNotFoundError
        Nothing on this machine serves the tensors' device.
    NoSolutionError
        The library has none for this problem, or none within the limit.
    StatusError, OutOfMemoryError
        A native call failed, and so did all other solutions."""

_FORWARD = """Convolution with {n} spatial dimension{s}: ``output = input * weight + bias``.

    Parameters
    ----------
    input : tensor of shape (N, C, {sizes}) or (C, {sizes})
        float32, float16 or bfloat16; without a batch dimension the result has none either.
    weight : tensor of shape (K, C / groups, {kernel})
        The same dtype, device and kind.
    bias : tensor of shape (K,), optional{common}
    {keywords}

    Returns
    -------
    tensor of shape (N, K, {outputs}) or (K, {outputs})
        Of the input's kind, dtype and device, with
        ``size' = floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1``.
        Channels-last if an operand unambiguously is. Half types accumulate in float32.

    Raises
    ------{raises}
    """


def _per_rank(text: str, make: Callable[[int], _Function]) -> list[_Function]:
    """The function that `make` writes, for 1, 2 and 3 spatial dimensions, named and documented."""
    made = []
    for n, sizes in _SIZES.items():
        function = make(n)
        name = function.__name__.replace("N", str(n))
        function.__name__ = function.__qualname__ = name
        function.__module__ = "mioconv"
        function.__doc__ = text.format(
            n=n,
            s="" if n == 1 else "s",
            sizes=", ".join(sizes),
            outputs=", ".join(f"{size}'" for size in sizes),
            kernel=", ".join({"D": "T", "H": "R", "W": "S", "L": "S"}[size] for size in sizes),
            common=_COMMON.format(n=n),
            keywords=_KEYWORDS.strip(),
            raises=_RAISES,
        )
        made.append(function)
    return made


def _forward(spatial: int) -> Callable[..., Any]:
    run = _core.forward

    def convNd_forward(  # noqa: N802 (N becomes the rank)
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        *,
        out: Any = None,
        benchmark: bool | None = None,
        deterministic: bool | None = None,
        allow_tf32: bool | None = None,
        solution: Any = None,
        workspace_limit: int | None = None,
        stream: Any = None,
    ) -> Any:
        return run(
            spatial, input, weight, bias, stride, padding, dilation, groups, out, benchmark,
            deterministic, allow_tf32, solution, workspace_limit, stream,
        )  # fmt: skip

    return convNd_forward


conv1d_forward, conv2d_forward, conv3d_forward = _per_rank(_FORWARD, _forward)
