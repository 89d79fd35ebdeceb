"""Problems that the operators of mioconv.torch are tested on, and how they are called for them."""

from __future__ import annotations

from typing import Any

import torch

import mioconv.torch
from helpers.problems import CASES, FEW, TRANSPOSED_CASES, Case, depthwise

OPS = torch.ops.mioconv
ALL = [*CASES, *TRANSPOSED_CASES]
BY_NAME = {case.name: case for case in ALL}
FEW_OF_ALL = [*FEW, *(BY_NAME[name] for name in ("t1d", "t2d-uneven", "t2d-groups", "t3d"))]
DEPTHWISE = [case for case in CASES if depthwise(case)]
SMALL = Case("small", 2, 2, (4, 3), 4, (3, 2), (2, 1), (1, 0), 1, 2)
SMALL_OF_ALL = [
    SMALL,
    Case("small-1d", 2, 2, (5,), 3, (3,), 1, 1, 2),
    Case("small-3d", 1, 2, (2, 3, 2), 2, (2, 2, 1)),
    Case("small-t", 2, 2, (3, 2), 4, (2, 3), 2, 1, 1, 2, 1, True),
]


def ours(case: Case, suffix: str = "") -> Any:
    """mioconv.torch's function for a case."""
    name = f"conv{'_transpose' if case.transposed else ''}{case.rank}d{suffix}"
    return getattr(mioconv.torch, name)


def channels_last(tensor: Any) -> Any:
    """For all ranks: PyTorch has a name for two of them only."""
    order = (0, *range(2, tensor.dim()), 1)
    back = (0, tensor.dim() - 1, *range(1, tensor.dim() - 1))
    return tensor.permute(order).contiguous().permute(back)


LAYOUTS = {
    "packed": lambda t: t,
    "channels_last": channels_last,
    "sliced": lambda t: torch.stack([t, t + 1], dim=-1)[..., 0],
    "expanded": lambda t: t[:1].expand_as(t),
}


def settings_list(case: Case) -> list[Any]:
    """The settings of an operator in its order."""

    def each(value: Any) -> list[int]:
        return [value] * case.rank if isinstance(value, int) else list(value)

    stride, padding, dilation = map(each, (case.stride, case.padding, case.dilation))
    if case.transposed:
        return [stride, padding, each(case.output_padding), case.groups, dilation]
    return [stride, padding, dilation, case.groups]


def overloads(case: Case) -> tuple[Any, Any]:
    name = "convolution_transpose" if case.transposed else "convolution"
    return getattr(OPS, name).default, getattr(OPS, f"{name}_backward").default
