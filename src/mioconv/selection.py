"""Looking at what was chosen: solutions of a problem, the last call, caches and scratch memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from mioconv import cache_files
from mioconv._call import problems as _problems
from mioconv._core import entries as _entries
from mioconv._core import records as _records
from mioconv._core import run as _run
from mioconv._core import state as _state
from mioconv.problem import Problem
from mioconv.solution import Solution

__all__ = [
    "CacheInfo",
    "CallInfo",
    "cache_clear",
    "cache_info",
    "cache_load",
    "cache_path",
    "cache_save",
    "find_solutions",
    "last_call",
    "set_cache_capacity",
]


class CallInfo(NamedTuple):
    """What the last call of this thread did.

    Attributes
    ----------
    provider : str
        "cpu", "rocm" or "cuda".
    direction : str
        "forward", "backward_input" or "backward_weight" of the convolution that ran.
    mode : str
        "immediate", "benchmark" or "pinned".
    way : str
        "fused": one native operation computed the convolution and what follows it. "separate":
        a convolution by solution, and what follows it by steps of their own. "nothing to
        compute": an empty batch.
    solution_id, solution_name : int, str or None
        The solution that computed the convolution; None where a fused operation did, since those
        have no ids.
    workspace_bytes : int
        Its scratch memory.
    tried : int
        Solutions that failed before it.
    """

    provider: str
    direction: str
    mode: str
    way: str
    solution_id: int | None
    solution_name: str | None
    workspace_bytes: int
    tried: int


class CacheInfo(NamedTuple):
    """Counters since the start of the process or the last `cache_clear`.

    Attributes
    ----------
    hits, misses, evictions, entries : int
        Of the cache of plans, by problem.
    finds : int
        Benchmark searches, and `find_ms`, the time that they took.
    fallbacks : int
        Solutions that failed at run time and were replaced by the next.
    by_direction : dict
        The same counters for each direction.
    """

    hits: int
    misses: int
    evictions: int
    finds: int
    find_ms: float
    fallbacks: int
    entries: int
    by_direction: dict[str, dict[str, float]]


def find_solutions(
    problem: Problem,
    *,
    benchmark: bool | None = None,
    deterministic: bool | None = None,
    allow_tf32: bool | None = None,
) -> list[Solution]:
    """List the solutions of a problem, best first.

    The order is the library's estimate until a call in benchmark mode has measured the problem.

    Parameters
    ----------
    problem
        What is to be computed, and where.
    benchmark, deterministic, allow_tf32
        Override the flags of these names: they are part of the problem's key.

    Raises
    ------
    ProviderNotFoundError
        Nothing on this machine serves the problem's device.
    """
    return [
        Solution(**fields)
        for fields in _problems.find_solutions(problem, benchmark, deterministic, allow_tf32)
    ]


def last_call() -> CallInfo | None:
    """What this thread's last convolution did; None before the first."""
    fields = _run.last_call()
    return None if fields is None else CallInfo(**fields)


def cache_info() -> CacheInfo:
    """Counters of the cache of solutions and of the searches."""
    return CacheInfo(**_state.cache_info())


def cache_clear(files: bool = False) -> None:
    """Forget every choice and every failure; the counters start again from zero.

    What the `cpu` provider remembers and has compiled goes too.

    Parameters
    ----------
    files : bool, optional
        Delete the files of `cache_path` as well. Without, what is in them is known again at the
        next call.
    """
    cache_files.clear(files)
    _state.cache_clear()


def set_cache_capacity(entries: int) -> None:
    """Bound how many problems are remembered; the least recently used leave first.

    Parameters
    ----------
    entries : int
        0: no bound. Default 10000.

    Raises
    ------
    TypeError, ValueError
        Not a number, or a negative one.
    """
    if isinstance(entries, bool) or not hasattr(entries, "__index__"):
        raise TypeError(f"entries: expected an integer, but got {entries!r}")
    if entries < 0:
        raise ValueError(f"entries: expected a number that is not negative, but got {entries!r}")
    _state.set_capacity(entries)


# --- in files -------------------------------------------------------------------------------------


def cache_path() -> Path | None:
    """Folder where results are kept for later processes; None where MIOCONV_CACHE=0 forbids it."""
    return cache_files.folder()


def cache_save(path: str | os.PathLike[str]) -> int:
    """Write what is known, measured, pinned or listed, to one file.

    Nothing need be saved for later processes on this machine: searches are written to `cache_path`
    as they end. This is for another machine, or for an image.

    Parameters
    ----------
    path
        The file; replaced as a whole where it exists.

    Returns
    -------
    int
        How many problems it holds.

    Raises
    ------
    OSError
        It cannot be written.
    """
    return cache_files.save(Path(path), _records.records())


def cache_load(path: str | os.PathLike[str] | None = None) -> int:
    """Read a file of `cache_save`, or with None the folder again: others may have searched.

    What was measured for another library version or another device waits for that one. A problem
    that this process has measured itself keeps the newer of the two.

    Returns
    -------
    int
        How many entries were read.

    Raises
    ------
    FileNotFoundError, OSError
        It cannot be read.

    Warns
    -----
    CacheFileWarning
        Entries that are damaged; they are ignored.
    """
    count = cache_files.load(None if path is None else Path(path))
    _entries.recall_all()
    return count
