"""Deciding ahead of time: searching, pinning and compiling before the first call; bound plans."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from mioconv._call import problems as _problems
from mioconv._call.plan import ConvolutionPlan
from mioconv._core import search as _search
from mioconv.errors import MioconvError
from mioconv.problem import Problem
from mioconv.solution import Solution

__all__ = ["ConvolutionPlan", "Prepared", "SearchProgress", "on_search", "plan", "prepare"]


ProblemLike: TypeAlias = "Problem | str | os.PathLike[str]"


class SearchProgress(NamedTuple):
    """One measurement of a search.

    Attributes
    ----------
    problem : Problem
        What is searched; a transposed convolution appears as the ordinary one that it runs as.
    solution : Solution
        The solution that was just timed for the first time.
    done, total : int
        How many of the admitted solutions have been timed.
    """

    problem: Problem
    solution: Solution
    done: int
    total: int


class Prepared(NamedTuple):
    """What `prepare` did for one problem.

    Attributes
    ----------
    problem : Problem
        The problem.
    solution : Solution or None
        What its calls run from now on; None after an error.
    before : Solution or None
        What they would have run without the search, with its time as it is known now.
    compiled : bool
        Whether the library compiled it ahead.
    seconds : float
        How long that took.
    error : MioconvError or None
        Why it could not be prepared.
    """

    problem: Problem
    solution: Solution | None
    before: Solution | None
    compiled: bool
    seconds: float
    error: MioconvError | None

    @property
    def speedup(self) -> float | None:
        """Time of the solution before, over that of the solution now; None if either is a guess."""
        if self.solution is None or self.before is None:
            return None
        if "heuristic" in (self.solution.source, self.before.source) or not self.solution.time_ms:
            return None
        return self.before.time_ms / self.solution.time_ms


def on_search(
    callback: Callable[[SearchProgress], None] | None,
) -> Callable[[SearchProgress], None] | None:
    """Tell `callback` of every measurement of a search, in this process.

    Parameters
    ----------
    callback
        Called in the thread that searches, with the GIL, after each solution was timed for the
        first time. It may call convolutions. What it raises ends the search, and is raised by the
        call that searched. None: tell nobody.

    Returns
    -------
    callable or None
        The callback before.
    """
    told: Any = None
    if callback is not None:

        def told(problem: Problem, fields: dict[str, Any], done: int, total: int) -> None:
            callback(SearchProgress(problem, Solution(**fields), done, total))

        told.callback = callback
    before = _search.watch(told)
    return getattr(before, "callback", None)


def prepare(
    problems: ProblemLike | Iterable[ProblemLike],
    *,
    benchmark: bool = True,
    deterministic: bool | None = None,
    allow_tf32: bool | None = None,
    solution: Solution | int | None = None,
    workspace_limit: int | None = None,
    exclude: Any = None,
    device: str = "cpu",
    progress: Callable[[Prepared, int, int], None] | None = None,
) -> list[Prepared]:
    """Search, or pin, and compile now what later calls would have to.

    Parameters
    ----------
    problems : Problem, str or path, or an iterable of these
        A str is a MIOpenDriver command line, as typed or as MIOpen logs it; a path names a file of
        such lines, in which empty lines and those that start with ``#`` are skipped. A line that
        runs several directions is several problems.
    benchmark : bool, optional
        Measure the solutions of each problem, as a call in benchmark mode does. With False only the
        library's list is asked for, and its first solution compiled.
    deterministic, allow_tf32, workspace_limit, exclude
        As for the convolution functions; None stands for the flag in force. The first two are part
        of a problem's key: give them as the later calls will.
    solution : Solution or int, optional
        Rank this solution first from now on, also in later processes, instead of measuring. For one
        problem.
    device : str, optional
        Device of problems that are given as driver lines.
    progress : callable, optional
        Called after each problem with what was done, how many are done, and how many there are.

    Returns
    -------
    list of Prepared
        One for each problem, in their order. A problem that cannot be prepared has its `error`
        there, and the others go on.

    Raises
    ------
    TypeError, ValueError
        Something that is not a problem, or a line that is none.
    OSError
        A file that cannot be read.

    Notes
    -----
    Listing and compiling run in several threads on GPUs, where a compiler may take minutes;
    measuring is one problem at a time, since measurements would disturb each other. The key of a
    problem assumes packed or channels-last operands at addresses that are multiples of 16, which
    arrays of the usual libraries have.
    """
    wanted = read_problems(problems, device)
    if solution is not None and len(wanted) != 1:
        raise ValueError(f"solution: expected one problem to pin it for, but got {len(wanted)}")
    rest = (deterministic, allow_tf32, solution, workspace_limit, exclude)
    # A call in benchmark mode compiles what it measures: ahead of it only compilers can be kept
    # busy side by side.
    first = [p for p in wanted if not p.device.startswith("cpu")]
    if len(first) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(len(first), os.cpu_count() or 1)) as pool:
            list(pool.map(lambda problem: _prepare_one(problem, False, *rest), first))
    done: list[Prepared] = []
    for problem in wanted:
        done.append(_prepare_one(problem, benchmark, *rest))
        if progress is not None:
            progress(done[-1], len(done), len(wanted))
    return done


def _prepare_one(problem: Problem, benchmark: bool, *rest: Any) -> Prepared:
    start = time.perf_counter()
    try:
        fields = _problems.prepare(problem, benchmark, *rest)
    except MioconvError as error:
        return Prepared(problem, None, None, False, time.perf_counter() - start, error)
    return Prepared(
        problem,
        Solution(**fields["solution"]),
        Solution(**fields["before"]),
        fields["compiled"],
        time.perf_counter() - start,
        None,
    )


def read_problems(
    problems: ProblemLike | Iterable[ProblemLike], device: str = "cpu"
) -> list[Problem]:
    """The problems of whatever `prepare` takes, in their order."""
    if isinstance(problems, Problem):
        return [problems]
    if isinstance(problems, str):
        return list(Problem.all_from_driver_line(problems, device))
    if isinstance(problems, os.PathLike):
        return list(_from_file(Path(problems), device))
    if isinstance(problems, Iterable):
        return [found for one in problems for found in read_problems(one, device)]
    raise TypeError(
        f"problems: expected a Problem, a driver line or the path of a file of them, but got "
        f"{problems!r}"
    )


def _from_file(path: Path, device: str) -> Iterator[Problem]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                yield from Problem.all_from_driver_line(line, device)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None


def plan(
    problem: Problem,
    *,
    benchmark: bool | None = None,
    deterministic: bool | None = None,
    allow_tf32: bool | None = None,
    solution: Solution | int | None = None,
    workspace_limit: int | None = None,
    exclude: Any = None,
    constant_weights: bool = False,
) -> ConvolutionPlan:
    """Bind a problem to one solution, with its handle and workspace.

    Parameters
    ----------
    problem : Problem
        What every call computes; `Problem.from_tensors` makes it from operands.
    benchmark, deterministic, allow_tf32, solution, workspace_limit, exclude
        How the solution is chosen, now; as for the convolution functions.
    constant_weights : bool, optional
        The caller's word that the weight's values do not change. What the solution makes of them
        (its own layout, Winograd's transform) is then made once, by the first call, and kept by the
        plan. Later calls must pass the same memory, which the plan keeps. After a change of its
        values in place, or for another tensor, call ``plan.update_weights(weight)``, which packs
        anew. A call with changed values is refused where the plan has a packed copy: by PyTorch's
        count of what is written to a tensor, and by a checksum of the values: of all of them up to
        256 KiB, of a larger weight of the first 64 bytes of each KiB. What PyTorch does not count
        (fused optimizers, ``weight.data[k] = 0``), and any change of a NumPy array, goes unnoticed
        only in a weight larger than that, and where it changes no KiB in a row.

    Returns
    -------
    ConvolutionPlan
        A callable: ``plan(input, weight)`` for "forward", ``plan(grad_output, weight)`` for
        "backward_input", ``plan(grad_output, input)`` for "backward_weight", each with ``out=`` and
        ``stream=``. It has the attributes `problem`, `solution`, `workspace_bytes`,
        `constant_weights` and `packed_weights_bytes`.

    Raises
    ------
    ValueError
        `constant_weights` for "backward_weight", which has no weights; in a call, other weights
        than those that were packed, or other values.
    NoSolutionError
        Nothing is admitted.
    UnsupportedError
        An output padding of a stride or more.

    Notes
    -----
    A call looks nothing up, searches nothing and allocates nothing but the result, if no `out` is
    given. Its operands must have the plan's shapes with the batch, dtype, device and layout:
    nothing is packed. What it raises otherwise is a ValueError or a TypeError.

    A plan is for one call at a time: calls from other threads wait. When the stream changes, the
    call first waits for the work of the one before (on NVIDIA GPUs, the host waits). While a stream
    is captured it cannot: let the plan's earlier work end before the capture begins, and keep the
    plan, whose workspace the graph uses, for as long as the graph, without calling it while a
    replay runs.

    With `constant_weights` the solutions are ranked, and measured in benchmark mode, without the
    packing, so that the choice may be another one than that of the functions. The `cpu` provider
    packs; on GPUs the word is taken and nothing is packed. Without memory for the packed copy every
    call packs, as if it had not been given.
    """
    return ConvolutionPlan(
        problem,
        benchmark,
        deterministic,
        allow_tf32,
        solution,
        workspace_limit,
        exclude,
        None,
        constant_weights,
    )
