from typing import Any

from mioconv.problem import Problem

def find_solutions(
    problem: Problem,
    benchmark: bool | None,
    deterministic: bool | None,
    allow_tf32: bool | None,
) -> list[dict[str, Any]]:
    """The ranked solutions of a problem, as fields of `mioconv.Solution`."""

def prepare(
    problem: Problem,
    benchmark: bool | None,
    deterministic: bool | None,
    allow_tf32: bool | None,
    solution: Any,
    workspace_limit: int | None,
    exclude: Any,
) -> dict[str, Any]:
    """Search, or pin, and compile for one problem; fields of `mioconv.Prepared`."""

def execute(
    problem: Problem,
    buffers: list[Any],
    iterations: int,
    benchmark: bool | None,
    deterministic: bool | None,
    allow_tf32: bool | None,
    solution: Any,
    workspace_limit: int | None,
    exclude: Any,
) -> tuple[list[float], bool]:
    """Run a problem on host data: milliseconds of each run; whether the result is channels-last."""
