"""Looking at what was chosen: solutions of a problem, the last call, caches and scratch memory."""

from __future__ import annotations

from typing import NamedTuple

from mioconv import _core, _epilogue, _select
from mioconv.problem import Problem

__all__ = [
    "CacheInfo",
    "CallInfo",
    "Solution",
    "cache_clear",
    "cache_info",
    "empty_cache",
    "find_solutions",
    "last_call",
    "memory_stats",
]


class Solution(NamedTuple):
    """One way to solve a problem, as the native library offers it.

    Attributes
    ----------
    id : int
        What ``solution=`` takes; stable for a library.
    name : str
        The implementation and its layout strategy, where the library has names.
    algorithm : str
        "GEMM", "Direct", "FFT", "Winograd" or "ImplicitGEMM".
    time_ms : float
        Measured, or the library's estimate; see `source`.
    workspace_bytes : int
        Scratch memory that it needs.
    source : str
        "measured" or "heuristic".
    """

    id: int
    name: str
    algorithm: str
    time_ms: float
    workspace_bytes: int
    source: str


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
        Of the cache of solutions, by problem.
    finds : int
        Benchmark searches, and `find_ms`, the time that they took.
    fallbacks : int
        Solutions that failed at run time and were replaced by the next.
    by_direction : dict
        finds, find_ms and fallbacks of each direction.
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
        for fields in _core.find_solutions(problem, benchmark, deterministic, allow_tf32, None)
    ]


def last_call() -> CallInfo | None:
    """What this thread's last convolution did; None before the first."""
    fields = _select.last_call()
    return None if fields is None else CallInfo(**fields)


def cache_info() -> CacheInfo:
    """Counters of the cache of solutions and of the searches."""
    return CacheInfo(**_select.cache_info())


def cache_clear() -> None:
    """Forget every choice and every failure; the counters start again from zero."""
    _epilogue.clear_fusions()
    _select.cache_clear()


def memory_stats() -> dict[str, dict[str, int]]:
    """Scratch memory by device, in bytes: "current" leased, its "peak", "reserved" for later."""
    return _select.memory_stats()


def empty_cache() -> None:
    """Give scratch memory that no call uses back to its device.

    Solutions that were put aside for lack of memory are tried again.
    """
    _select.empty_cache()
