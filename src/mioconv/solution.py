"""A way to compute a convolution, as users name it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Solution"]


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
        "measured", "heuristic", or "pinned" where `mioconv.prepare` put it first.
    fault : str or None
        What was found wrong with its results in this process (see the flag ``verify``): it is not
        used for this problem. None: nothing.
    """

    id: int
    name: str
    algorithm: str
    time_ms: float
    workspace_bytes: int
    source: str
    fault: str | None = None
