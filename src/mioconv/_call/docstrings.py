"""The documentation of the public functions, put together from what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["document"]

_SIZES = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}
_KERNEL = {1: ("S",), 2: ("R", "S"), 3: ("T", "R", "S")}

# Descriptions of single arguments, by name. {x}, {k} and {y} become the spatial sizes of the
# ordinary convolution's input, its kernel and its output.
_ARGUMENTS = {
    "stride": "int or sequence of {n} int, optional\n"
    "        Default 1: one value for all spatial dimensions, or one each.",
    "padding": "int, sequence of {n} int, or str, optional\n"
    '        Default 0. "valid" is none; "same", for stride 1, keeps the size, with the extra\n'
    "        zero of an even kernel behind the input.",
    "output_padding": "int or sequence of {n} int, optional\n"
    "        Added to the output's size; below stride or dilation. Default 0.",
    "dilation": "int or sequence of {n} int, optional\n        Default 1.",
    "groups": "int, optional\n"
    "        Blocks of connected channels; divides both channel counts. Default 1.",
    "alpha": "float, optional\n        Factor of `z`; with 0, `z` is not read. Default 1.",
    "output_mask": "sequence of 3 bool, optional\n"
    "        Which gradients to compute; the others cost nothing and are None.",
    "out": "{out}, optional\n"
    "        Where the result goes: its shape, dtype, device and kind, any strides, no memory in\n"
    "        common with an operand{alias}. Unspecified after an error.",
    "benchmark": None,
    "deterministic": None,
    "allow_tf32": "bool, optional\n"
    "        Override the flags of these names for this call; see `mioconv.set_flags`.",
    "solution": "{solution}, optional\n        Run exactly this one of `mioconv.find_solutions`.",
    "workspace_limit": "int, optional\n        Scratch memory that a solution may use, in bytes.",
    "exclude": "Solution, int, str or sequence of these, optional\n"
    "        Solutions that must not run, by id or by a pattern for their names or algorithms.",
    "stream": "optional\n"
    "        Queue the work here instead of the producer's current stream; None on the CPU.",
}

_RAISES = """Raises
    ------
    ValueError, TypeError, BufferError
        Wrong arguments; before any native call, and nothing is written.
    ProviderNotFoundError
        Nothing on this machine serves the tensors' device.
    NoSolutionError
        The library has no solution for this problem, or none within the limit.
    StatusError, OutOfMemoryError
        A native call failed, and so did every other solution."""

_ORDINARY = {"input": "(N, C, {x})", "weight": "(K, C / groups, {k})", "output": "(N, K, {y})"}
_TRANSPOSED = {"input": "(N, C, {y})", "weight": "(C, K / groups, {k})", "output": "(N, K, {x})"}
_DEPTHWISE = {"input": "(N, C, {x})", "weight": "(C * m, 1, {k})", "output": "(N, C * m, {y})"}

_SUMMARIES = {
    "forward": "{Kind} with {n} spatial dimension{s}: ``output = conv(input, weight) + bias``.",
    "relu_forward": "{Kind} and ReLU: ``max(conv(input, weight) + bias, 0)``; NaN stays NaN.",
    "add_relu_forward": "{Kind}, sum and ReLU: ``max(conv(input, weight) + alpha * z + bias, 0)``.",
    "backward_input": "Gradient of {a_kind} with respect to its input.",
    "backward_weight": "Gradient of {a_kind} with respect to its weight.",
    "backward_bias": "Gradient of a bias: the sum over every dimension but the channels.",
    "backward": "Gradients of {a_kind} with respect to input, weight and bias.",
}


def _split(name: str) -> tuple[str, str]:
    """Kind and operation of a public name, such as ("conv_transpose", "backward_input")."""
    for kind in ("depthwise_conv", "conv_transpose", "conv"):
        if name.startswith(kind):
            return kind, name[len(kind) + 3 :]
    raise ValueError(name)


def _listed(function: Callable[..., Any], arguments: dict[str, str | None]) -> list[str]:
    """A line for each argument; those without words share the next one's."""
    code = function.__code__
    listed, shared = [], []
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        if arguments[name] is None:
            shared.append(name)
        else:
            listed.append(f"    {', '.join([*shared, name])} : {arguments[name]}")
            shared = []
    return listed


def document(function: Callable[..., Any], spatial: int) -> None:
    """Give a public function its NumPy-style docstring, from its name and its arguments."""
    kind, operation = _split(function.__name__)
    words = {"conv": "convolution", "conv_transpose": "transposed convolution"}
    what = words.get(kind, "depthwise convolution")
    shapes = {"conv": _ORDINARY, "conv_transpose": _TRANSPOSED}.get(kind, _DEPTHWISE)
    arguments = {
        **_ARGUMENTS,
        "input": f"tensor of shape {shapes['input']}\n"
        "        float32, float16 or bfloat16. Without the leading batch dimension everywhere,\n"
        "        the result has none either.",
        "weight": f"tensor of shape {shapes['weight']}\n"
        "        All tensors: one kind, dtype, device.",
        "grad_output": f"tensor of shape {shapes['output']}\n        Gradient of the output.",
        "input_shape": f"sequence of int\n        Sizes of the input, {shapes['input']}.",
        "weight_shape": f"sequence of int\n        Sizes of the weight, {shapes['weight']}.",
        "bias": "tensor of shape (K,), optional\n        One value for each output channel.",
        "z": f"tensor of shape {shapes['output']}\n        May be `out` itself.",
    }
    results = {
        "backward_input": f"tensor of shape {shapes['input']}",
        "backward_weight": f"tensor of shape {shapes['weight']}",
        "backward_bias": "tensor of shape (K,)",
        "backward": "tuple of three tensors or None",
    }
    result = results.get(operation, f"tensor of shape {shapes['output']}")
    notes = "Of the operands' kind, dtype and device; channels-last if an operand unambiguously is."
    text = "\n".join(
        [
            _SUMMARIES[operation],
            "",
            "    Parameters",
            "    ----------",
            *_listed(function, arguments),
            "",
            "    Returns",
            "    -------",
            f"    {result}",
            f"        {notes}",
            "        Half types accumulate in float32.",
            "",
            f"    {_RAISES}",
            "    ",
        ]
    )
    triple = operation == "backward"
    function.__doc__ = text.format(
        n=spatial,
        s="s" if spatial > 1 else "",
        Kind=what.capitalize(),
        a_kind=f"a {what}",
        x=", ".join(_SIZES[spatial]),
        k=", ".join(_KERNEL[spatial]),
        y=", ".join(f"{size}'" for size in _SIZES[spatial]),
        out="sequence of three tensors or None" if triple else "tensor",
        alias=" but `z`" if operation == "add_relu_forward" else "",
        solution="sequence of three Solution, int or None" if triple else "Solution or int",
    )
