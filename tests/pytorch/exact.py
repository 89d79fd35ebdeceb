"""What mioconv.torch must give: PyTorch's autograd in float64, with bounds for float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from helpers.operators import Expected
from helpers.problems import Case
from helpers.tensors import random_array
from helpers.tolerances import error_bound

NAMES = ("output", "input", "weight", "bias")


def operands(case: Case, dtype: Any = torch.float32, bias: bool = True) -> list[Any]:
    """Input, weight, bias (or None), and the gradient of the output."""
    shapes = [case.input_shape, case.weight_shape, (case.k,), case.output_shape]
    made = [torch.from_numpy(random_array(s, seed=i)).to(dtype) for i, s in enumerate(shapes)]
    return made if bias else [*made[:2], None, made[3]]


def settings(case: Case, depthwise: bool = False) -> dict[str, Any]:
    found = dict(case.settings)
    if depthwise:
        del found["groups"]
    return found


def theirs(case: Case) -> Any:
    """PyTorch's function for a case."""
    name = f"conv{'_transpose' if case.transposed else ''}{case.rank}d"
    return getattr(torch.nn.functional, name)


def leaves(tensors: list[Any]) -> list[Any]:
    """The same memory, recorded by autograd."""
    return [None if t is None else t.detach().requires_grad_(True) for t in tensors]


def run(function: Any, tensors: list[Any], grad: Any, **more: Any) -> list[Any]:
    """The output, and the gradients of the tensors."""
    given = leaves(tensors)
    output = function(*given, **more)
    output.backward(grad)
    return [output.detach(), *(None if t is None else t.grad for t in given)]


def lengths(case: Case) -> list[int]:
    """Terms of the longest sum, in the order of `NAMES`."""
    return [
        case.forward_length + 1,
        case.backward_input_length,
        case.backward_weight_length,
        case.backward_bias_length,
    ]


def expected(case: Case, tensors: list[Any], grad: Any) -> list[Expected | None]:
    """Output and gradients in float64, and how far those in the tensors' dtype may be off."""
    wide = [None if t is None else t.detach().double() for t in tensors]
    values = run(theirs(case), wide, grad.double(), **case.settings)
    sizes = run(
        theirs(case),
        [None if t is None else t.abs() for t in wide],
        grad.double().abs(),
        **case.settings,
    )
    dtype = {torch.float32: "float32", torch.float16: "float16"}.get(tensors[0].dtype)
    if dtype is None:
        from helpers.tensors import BFLOAT16

        dtype = BFLOAT16
    found: list[Expected | None] = []
    for value, size, length in zip(values, sizes, lengths(case), strict=True):
        if value is None:
            found.append(None)
            continue
        # A bias in half types is added to a result that was stored before.
        bound = error_bound(
            dtype, np.abs(value.numpy()), size.numpy(), length, stored_between=int(not found)
        )
        found.append(Expected(value.numpy(), bound))
    return found
