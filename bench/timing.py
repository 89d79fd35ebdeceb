"""Medians of functions that are timed in turn, in one process.

Two OpenMP runtimes in a process (PyTorch brings its own) keep their threads spinning for some
milliseconds after each parallel region, in the way of the other's. So after every change of sides
the clock waits until those threads sleep, and one call that is not timed wakes the side's own.

A thread that loses its core to another process stalls the whole call, since its siblings wait for
it: a call of 0.1 ms then takes 8. That says nothing about either side. A sample in which the system
took a core away (an involuntary context switch) is therefore taken again, within limits, and more
samples are taken while those of a function disagree. Calls of 0.1 s lose a core in almost every
sample, and notice little of it: there only what happens oftener than once in LONG_SECONDS counts.
"""

from __future__ import annotations

import resource
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
# A call so long hardly notices what waking the threads costs: no call before it that is not timed,
# and one round less.
LONG_SECONDS = 0.02
# Rounds: while quartiles are further apart than this part of the median, up to so many.
SPREAD = 0.05
MOST_ROUNDS = 25
# Disturbed samples that are taken again, of each function.
MOST_REPEATS = 6


@dataclass
class Timed:
    """Seconds of one call, a sample each, and how many samples were taken again."""

    samples: list[float] = field(default_factory=list)
    repeated: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def settled(self) -> bool:
        """Whether more samples would hardly move the median."""
        low, middle, high = statistics.quantiles(self.samples, n=4)
        return high - low <= SPREAD * middle


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
    warm: dict[str, bool] = {}
    for name, function in functions.items():
        once = run(function, 1)  # warm-up: what is made at the first call is not part of the time
        if once < LONG_SECONDS:
            once = min(once, run(function, 1), run(function, 1))
        warm[name] = once < LONG_SECONDS
        calls[name] = max(1, min(MOST_CALLS, int(SAMPLE_SECONDS / max(once, 1e-9))))
    if least > 1 and not any(warm.values()):
        least -= 1
    start = time.perf_counter()
    rounds = 0
    while rounds < least or _goes_on(found, rounds, time.perf_counter() - start, seconds):
        order = list(functions) if rounds % 2 == 0 else list(functions)[::-1]
        for name in order:
            _sample(functions[name], calls[name], settle, warm[name], found[name])
        rounds += 1
    return found


def _goes_on(found: dict[str, Timed], rounds: int, spent: float, seconds: float) -> bool:
    if rounds >= MOST_ROUNDS or spent >= 4 * seconds:
        return False
    return spent < seconds or not all(timed.settled() for timed in found.values())


def _sample(function: Function, calls: int, settle: float, warm: bool, timed: Timed) -> None:
    while True:
        if settle:
            time.sleep(settle)
        if warm:
            function()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        value = run(function, calls)
        lost = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
        disturbed = lost > value / LONG_SECONDS
        if not disturbed or timed.repeated >= MOST_REPEATS or not settle:
            break
        timed.repeated += 1
    timed.samples.append(value)
