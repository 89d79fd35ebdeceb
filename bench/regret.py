"""How often benchmark mode chooses something slower than the best, on a quiet machine or not.

    python -m bench.regret [--sets mobilenetv2,efficientnet_b0,resnet50] [--searches 5] [--bursts]

Each layer is searched several times from nothing. A solution's time is the median of what these
searches measured of it; a search's regret is the time of its choice over that of the best. With
--bursts, a second process copies memory for 3 to 30 ms, ten times a second, as on a machine that
is shared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections import defaultdict

import mioconv

from . import shapes
from .libraries import Case, measured_times, mioconv_call, mioconv_choices, use_threads
from .results import geometric_mean

BURSTS = """
import random, time
import numpy as np
source = np.ones(1 << 23, np.float32)
target = source.copy()
while True:
    time.sleep(random.uniform(0.02, 0.12))
    end = time.monotonic() + random.uniform(0.003, 0.03)
    while time.monotonic() < end:
        np.copyto(target, source)
"""


def regrets(case: Case, searches: int) -> tuple[list[float], float]:
    """The regret of each search, and the milliseconds of all."""
    call = mioconv_call(case, with_out=True)
    times = defaultdict(list)
    chosen = []
    spent = 0.0
    for _ in range(searches):
        mioconv.cache_clear()
        chosen.append(mioconv_choices(call, ["benchmark"])["benchmark"].name)
        spent += mioconv.cache_info().find_ms
        for name, ms in measured_times(case).items():
            times[name].append(ms)
    usual = {name: statistics.median(values) for name, values in times.items()}
    best = min(usual.values())
    return [usual[name] / best for name in chosen], spent


def main() -> None:
    """Print the layers with the largest regrets, and the whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sets", default="mobilenetv2,efficientnet_b0,resnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--direction", default="forward")
    parser.add_argument("--layout", default="packed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--searches", type=int, default=5)
    parser.add_argument("--budget", type=int, default=400, help="milliseconds of a search")
    parser.add_argument("--bursts", action="store_true", help="disturb the searches")
    args = parser.parse_args()
    os.environ["MIOCONV_CACHE"] = "0"
    use_threads(args.threads)
    mioconv.set_flags(benchmark_budget_ms=args.budget)
    other = subprocess.Popen([sys.executable, "-c", BURSTS]) if args.bursts else None
    found: list[tuple[list[float], str]] = []
    spent = 0.0
    try:
        for name in args.sets.split(","):
            for layer in shapes.read(name):
                case = Case(layer, args.batch, args.direction, args.layout, "float32")
                if case.sensible():
                    values, ms = regrets(case, args.searches)
                    found.append((values, f"{name} {layer.name}"))
                    spent += ms
    finally:
        if other is not None:
            other.kill()
            other.wait()
    for values, name in sorted(found, key=lambda row: -max(row[0]))[:10]:
        print(f"{name:<40}", *(f"{value:.2f}" for value in values))
    every = [value for values, _ in found for value in values]
    above = ", ".join(
        f"{sum(v > bound for v in every)} above {bound}" for bound in (1.1, 1.25, 1.5)
    )
    print(
        f"{len(every)} searches of {len(found)} layers, {spent / len(every):.0f} ms each: "
        f"regret {geometric_mean(every):.4f}, worst {max(every):.2f}; {above}"
    )


if __name__ == "__main__":
    main()
