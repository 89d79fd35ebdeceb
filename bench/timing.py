"""Medians of functions that are timed in turn, in one process.

Two OpenMP runtimes in a process (PyTorch brings its own) keep their threads spinning for some
milliseconds after each parallel region, in the way of the other's. So after every change of sides
the clock waits until those threads sleep, and one call that is not timed wakes the side's own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Function = Callable[[], object]

# libgomp spins 300,000 rounds of a pause instruction, which is 4 to 5 ms on Zen 4.
SETTLE_SECONDS = 0.006
# A sample is one call, or as many as fill this: short calls are timed as users run them, in a row.
SAMPLE_SECONDS = 0.002
MOST_CALLS = 500


@dataclass
class Timed:
    """Seconds of one call, a sample each."""

    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


def run(function: Function, calls: int) -> float:
    """Seconds of one call, the mean of `calls` in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def interleave(
    functions: dict[str, Function], seconds: float, least: int, settle: float = SETTLE_SECONDS
) -> dict[str, Timed]:
    """Time every function in turn, for about `seconds` in all and at least `least` rounds.

    Every other round goes backwards, so that nobody always follows the same neighbour.
    """
    found = {name: Timed() for name in functions}
    calls: dict[str, int] = {}
    for name, function in functions.items():
        function()  # warm-up: what is made at the first call is not part of the time
        once = run(function, 1)
        calls[name] = max(1, min(MOST_CALLS, int(SAMPLE_SECONDS / max(once, 1e-9))))
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least or (time.perf_counter() < end and rounds < 15):
        order = list(functions) if rounds % 2 == 0 else list(functions)[::-1]
        for name in order:
            if settle:
                time.sleep(settle)
            functions[name]()
            found[name].samples.append(run(functions[name], calls[name]))
        rounds += 1
    return found
