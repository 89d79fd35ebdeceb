from typing import Any

from mioconv.problem import Problem
from mioconv.selection import Solution

class ConvolutionPlan:
    """What `mioconv.plan` makes; see there."""

    problem: Problem
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
    ) -> ConvolutionPlan: ...
    @property
    def solution(self) -> Solution:
        """The solution that every call runs."""
    @property
    def workspace_bytes(self) -> int:
        """Scratch memory that the plan holds."""
    def __call__(self, first: Any, second: Any, *, out: Any = None, stream: Any = None) -> Any:
        """Run it."""
