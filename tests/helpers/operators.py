"""mioconv's operators as data: how each is called, what it must give, how long its sums are.

A test that is true of every operator takes an `Operator` and a `Case` and needs no branch of its
own. Function names follow the public interface: ``conv2d_backward_input`` is family "conv", name
"backward_input", rank from the case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import reference
from .problems import CASES, TRANSPOSED_CASES, Case, depthwise
from .tensors import to_numpy
from .tolerances import error_bound

Array = NDArray[Any]


class Expected(NamedTuple):
    """Exact result and the largest permitted error of each element."""

    value: NDArray[np.float64]
    bound: NDArray[np.float64]


@dataclass(frozen=True)
class Operator:
    """One family ("conv", "conv_transpose", "depthwise_conv") and direction."""

    family: str
    name: str

    @property
    def cases(self) -> list[Case]:
        """The problems that it takes."""
        if self.family == "conv_transpose":
            return TRANSPOSED_CASES
        if self.family == "depthwise_conv":
            return [case for case in CASES if depthwise(case)]
        return CASES

    def function(self, rank: int) -> Callable[..., Any]:
        import mioconv

        found: Callable[..., Any] = getattr(mioconv, f"{self.family}{rank}d_{self.name}")
        return found

    def settings(self, case: Case) -> dict[str, Any]:
        settings = dict(case.settings)
        if self.family == "depthwise_conv":  # groups are its channels
            del settings["groups"]
        return settings

    def shapes(self, case: Case) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of its two tensors, in the order of its arguments."""
        return {
            "forward": (case.input_shape, case.weight_shape),
            "backward_input": (case.output_shape, case.weight_shape),
            "backward_weight": (case.output_shape, case.input_shape),
        }[self.name]

    def result_shape(self, case: Case) -> tuple[int, ...]:
        return {
            "forward": case.output_shape,
            "backward_input": case.input_shape,
            "backward_weight": case.weight_shape,
        }[self.name]

    def leading(self, case: Case) -> tuple[tuple[int, ...], ...]:
        """The shape that comes before the tensors, where the operator takes one."""
        if self.name == "backward_weight":
            return (case.weight_shape,)
        if self.name == "backward_input" and self.family != "conv_transpose":
            return (case.input_shape,)
        return ()

    def length(self, case: Case) -> int:
        """Products in one element of the result, at most."""
        found: int = getattr(case, f"{self.name}_length")
        return found

    def __call__(self, case: Case, a: Any, b: Any, **more: Any) -> Any:
        """Call mioconv."""
        function = self.function(case.rank)
        return function(*self.leading(case), a, b, **{**self.settings(case), **more})

    def exact(self, case: Case, a: Any, b: Any, bias: Any = None) -> NDArray[np.float64]:
        """Call the reference."""
        family = "conv_transpose" if case.transposed else "conv"
        function = getattr(reference, f"{family}_{self.name}")
        more = {} if bias is None else {"bias": bias}
        return function(*self.leading(case), a, b, **case.settings, **more)

    def expected(
        self, case: Case, a: Any, b: Any, bias: Any = None, *, stored_between: int = 0
    ) -> Expected:
        """The exact result and the bound for the operands' dtype; see `error_bound`."""
        a, b = to_numpy(a), to_numpy(b)
        bias = None if bias is None else to_numpy(bias)
        value = self.exact(case, a, b, bias)
        magnitude = self.exact(
            case, *(np.abs(t.astype(np.float64)) for t in (a, b)), *(_absolute(bias))
        )
        length = self.length(case) + (bias is not None)
        # MIOpen's ABI adds a bias in a step of its own, to a result that was stored before.
        between = int(bias is not None) + stored_between
        bound = error_bound(a.dtype, np.abs(value), magnitude, length, stored_between=between)
        return Expected(value, bound)

    def __str__(self) -> str:
        return f"{self.family}-{self.name}"


def _absolute(bias: Array | None) -> list[Array]:
    return [] if bias is None else [np.abs(bias.astype(np.float64))]


FORWARD = Operator("conv", "forward")
BACKWARD_INPUT = Operator("conv", "backward_input")
BACKWARD_WEIGHT = Operator("conv", "backward_weight")
TRANSPOSE_FORWARD = Operator("conv_transpose", "forward")
TRANSPOSE_BACKWARD_INPUT = Operator("conv_transpose", "backward_input")
TRANSPOSE_BACKWARD_WEIGHT = Operator("conv_transpose", "backward_weight")
DEPTHWISE_FORWARD = Operator("depthwise_conv", "forward")
DEPTHWISE_BACKWARD_INPUT = Operator("depthwise_conv", "backward_input")
DEPTHWISE_BACKWARD_WEIGHT = Operator("depthwise_conv", "backward_weight")

BACKWARD = [BACKWARD_INPUT, BACKWARD_WEIGHT]
TRANSPOSE_BACKWARD = [TRANSPOSE_BACKWARD_INPUT, TRANSPOSE_BACKWARD_WEIGHT]
DEPTHWISE_BACKWARD = [DEPTHWISE_BACKWARD_INPUT, DEPTHWISE_BACKWARD_WEIGHT]
