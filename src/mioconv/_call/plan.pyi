from typing import Any

from mioconv.problem import Problem
from mioconv.solution import Solution

class ConvolutionPlan:
    """What `mioconv.plan` makes; see there."""

    problem: Problem
    constant_weights: bool
    def __new__(
        cls,
        problem: Problem,
        benchmark: bool | None,
        deterministic: bool | None,
        allow_tf32: bool | None,
        solution: Any,
        workspace_limit: int | None,
        exclude: Any,
        stream: Any,
        constant_weights: bool,
    ) -> ConvolutionPlan: ...
    @property
    def solution(self) -> Solution:
        """The solution that every call runs."""
    @property
    def workspace_bytes(self) -> int:
        """Scratch memory that the plan holds."""
    @property
    def packed_weights_bytes(self) -> int:
        """Memory of the packed copy of constant weights; 0 where the plan has none."""
    def update_weights(self, weight: Any, *, stream: Any = None) -> None:
        """Take other weights, or other values of the same, from now on; see `mioconv.plan`."""
    def __call__(self, first: Any, second: Any, *, out: Any = None, stream: Any = None) -> Any:
        """Run it."""
