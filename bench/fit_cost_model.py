"""Fit the cpu provider's cost model to measured times, and check it on sets that it did not see.

    mioconv bench --json out/one.json    # measures all solutions of all layers
    mioconv bench --json out/two.json    # again: what stalled once
    mioconv bench --json out/drawn.json --sets drawn --modes benchmark --others ""
    python -m bench.fit_cost_model out/*.json    # writes providers/cpu/cost_model_data.inc
    python -m bench.fit_cost_model out/part.json --only depthwise    # the other classes stay
    python -m bench.fit_cost_model out/*.json --average    # the mean with what another machine gave

One small regression for every class of solutions (implementation, layout strategy, the caller's
layout, direction, depthwise or not): the logarithm of the time of a float32 problem on `THREADS`
threads as a quadratic in logarithms of its sizes. `features` and `solution_class` have their twins
in providers/cpu/cost_model.cpp.

Of several results of a problem the shortest time of each solution counts. The search's times are
not repeated for ever: some were stalled by another process. Weights that mistrust what is far off
would not do instead, since a class that is slow on large layers looks the same to them.

The figure of merit is the regret: the measured time of the solution that ranks first over that of
the best one, as a geometric mean over problems, and in how many problems it is above `LIMITS`. It
is printed for each set as this build of mioconv ranks, with the model fitted to what the set has
not in it, and with the one fitted to everything.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

import mioconv

from . import libraries, shapes
from .libraries import Case
from .results import Results, geometric_mean

TARGET = Path(__file__).parents[1] / "providers" / "cpu" / "cost_model_data.inc"
THREADS = 2
# A class that was measured less often says too little; the provider's own formula serves it.
LEAST_SAMPLES = 12
RIDGE = 1.0
# Layers of networks count so often, as they are what is run; drawn ones fill the space between.
NETWORK_WEIGHT = 3.0
# Below so many operations the provider's own formula ranks.
LEAST_FLOPS = 1e5
LIMITS = (1.2, 1.5, 2.0)


@dataclass
class Problem:
    """What some cells compute, as the provider sees it, and the milliseconds of its solutions."""

    sets: set[str]
    direction: str
    layout: str
    sizes: list[float]
    x: np.ndarray
    times: dict[str, float]
    estimates: dict[str, float]  # of this build, without the solutions that may not be chosen

    def best(self) -> float:
        """Milliseconds of the fastest solution that may be chosen."""
        return min(self.times[name] for name in self.estimates)


def sizes(
    src: tuple[int, ...], dst: tuple[int, ...], wei: tuple[int, ...], groups: int
) -> list[float]:
    """Logarithms of what describes a convolution from `src` to `dst`."""
    return [
        math.log(value)
        for value in (
            dst[0] * math.prod(dst[2:]),
            wei[1],
            wei[0] // groups,
            groups,
            math.prod(wei[2:]),
            math.prod(src[2:]) / math.prod(dst[2:]),
            dst[-1],
        )
    ]


def features(logs: list[float]) -> list[float]:
    """Of the sizes: a quadratic, how far vectors of 16 are filled, and what makes a difference in
    kind: a kernel of one element, and tensors beyond the second-level cache.

    Groups, the change of size and the width are in it without their products: those brought little.
    """
    positions, channels, outputs, groups, taps, shrink, width = logs
    vector, cached = math.log(16), math.log(1 << 18)
    tensors = (
        positions + outputs + groups,
        positions + shrink + channels + groups,
        channels + outputs + groups + taps,
    )
    return [
        1.0,
        *logs,
        min(channels, vector),
        min(outputs, vector),
        min(width, vector),
        *(a * b for a, b in combinations_with_replacement((positions, channels, outputs, taps), 2)),
        float(taps == 0),
        *(max(0.0, elements - cached) for elements in tensors),
    ]


def solution_class(name: str, direction: str, layout: str, logs: list[float]) -> str:
    """Without instruction sets, and what an implementation is called beyond its kind."""
    implementation, strategy = name.split("|")
    kind = re.sub(r":(avx512|avx2|avx|sse41)[^+|]*", "", implementation)
    if kind.startswith(("winograd", "matmul")):
        kind = kind.partition(":")[0]
    key = f"{kind}|{strategy}|{layout}|{direction}"
    # The provider's own kernel goes about any problem in the same way.
    depthwise = logs[1] == 0 and logs[3] > 0 and kind != "depthwise"
    return f"{key}|depthwise" if depthwise else key


def read(paths: list[Path]) -> list[Problem]:
    """Every float32 problem on `THREADS` threads whose solutions were timed, once."""
    names = [*shapes.names(), shapes.DRAWN]
    layers = {(name, layer.name): layer for name in names for layer in shapes.read(name)}
    found: dict[mioconv.Problem, Problem] = {}
    for path in paths:
        for cell in Results.read(path):
            if cell.dtype != "float32" or cell.threads != THREADS or cell.flops < LEAST_FLOPS:
                continue
            layer = layers[cell.set, cell.layer]
            case = Case(layer, cell.batch, cell.direction, cell.layout, cell.dtype)
            what = libraries.problem(case)
            if what not in found:
                found[what] = _problem(what, cell.tensor_bytes)
            found[what].sets.add(cell.set)
            times = found[what].times
            for name, ms in cell.times.items():
                if "+f32" not in name:
                    times[name] = min(ms, times.get(name, ms))
    for problem in found.values():
        problem.estimates = {n: ms for n, ms in problem.estimates.items() if n in problem.times}
    return [problem for problem in found.values() if len(problem.estimates) > 1]


def _problem(what: mioconv.Problem, tensor_bytes: int) -> Problem:
    listed = mioconv.find_solutions(what)
    # What is chosen while there is another: see `usual_workspace` in include/mioconv/entry.hpp.
    most = max(2 * tensor_bytes, 64 << 10)
    frugal = [found for found in listed if found.workspace_bytes <= most]
    logs = sizes(what.input_shape, what.output_shape, what.weight_shape, what.groups)
    return Problem(
        set(), what.direction, what.layout, logs, np.array(features(logs)), {},
        {found.name: found.time_ms for found in frugal or listed},
    )  # fmt: skip


Model = dict[str, np.ndarray]

# Without measurements a time grows as the work does: positions, channels, outputs, groups, taps.
PRIOR = np.array([0, 1, 1, 1, 1, 1, *[0] * 19], dtype=float)


def fit(problems: list[Problem]) -> Model:
    """Coefficients of every class: ridge regression towards `PRIOR`."""
    rows: dict[str, list[tuple[np.ndarray, float, float]]] = defaultdict(list)
    for problem in problems:
        weight = 1.0 if problem.sets == {shapes.DRAWN} else NETWORK_WEIGHT
        for name, ms in problem.times.items():
            key = solution_class(name, problem.direction, problem.layout, problem.sizes)
            rows[key].append((problem.x, math.log(ms), weight))
    return {key: _solve(found) for key, found in rows.items() if len(found) >= LEAST_SAMPLES}


def _solve(samples: list[tuple[np.ndarray, float, float]]) -> np.ndarray:
    a = np.array([x for x, _, _ in samples])
    b = np.array([y for _, y, _ in samples]) - a @ PRIOR
    mean, spread = a.mean(axis=0), a.std(axis=0) + 1e-9
    mean[0], spread[0] = 0, 1  # the constant
    scaled = (a - mean) / spread
    ridge = RIDGE * np.eye(a.shape[1])
    ridge[0, 0] = 1e-9
    weighted = scaled.T * [weight for _, _, weight in samples]
    found = np.linalg.solve(weighted @ scaled + ridge, weighted @ b) / spread
    found[0] -= (found * mean)[1:].sum()
    return found + PRIOR


def choice(model: Model | None, problem: Problem) -> str | None:
    """What the model would run, without one this build; None where it knows no solution."""
    known = problem.estimates
    if model is not None:
        known = {}
        for name in problem.estimates:
            key = solution_class(name, problem.direction, problem.layout, problem.sizes)
            if key in model:
                known[name] = float(model[key] @ problem.x)
    return min(known, key=lambda name: known[name]) if known else None


def regrets(model: Model | None, problems: list[Problem]) -> list[float]:
    """Times of the first-ranked solutions over those of the best; None: as this build ranks."""
    found = []
    for problem in problems:
        name = choice(model, problem)
        if name is not None:
            found.append(problem.times[name] / problem.best())
    return found


def summary(ratios: list[float]) -> str:
    """The mean, and how many are above the limits."""
    above = "".join(f"{sum(ratio > limit for ratio in ratios):5}" for limit in LIMITS)
    return f"{geometric_mean(ratios):9.3f}{above}"


def write(model: Model, problems: list[Problem], path: Path, only: str = "") -> None:
    """As initialisers of the tables in cost_model.cpp.

    With `only`, the range of sizes and the classes whose names begin otherwise stay what they are.
    """
    every = np.array([problem.sizes for problem in problems])
    ranges = ", ".join(
        f"{{{_literal(low)}, {_literal(high)}}}"
        for low, high in zip(every.min(axis=0), every.max(axis=0), strict=True)
    )
    head = [
        "// Made by bench/fit_cost_model.py from measured times; not to be edited.",
        f"constexpr double kFittedThreads = {THREADS};",
        f"constexpr float kFittedRange[kSizes][2] = {{{ranges}}};",
        "constexpr FittedClass kFitted[] = {",
    ]
    rows = []
    if only:
        lines = path.read_text().splitlines()
        head = lines[: len(head)]
        rows = [row for row in lines[len(head) : -1] if not row.startswith(f'    {{"{only}')]
    for key in model:
        if key.startswith(only):
            numbers = ", ".join(map(_literal, model[key]))
            rows.append(f'    {{"{key}", {{{numbers}}}}},')
    path.write_text("\n".join([*head, *sorted(rows), "};"]) + "\n")


def read_model(path: Path) -> Model:
    """The coefficients that `write` wrote."""
    rows = re.findall(r'^    \{"(.+)", \{(.+)\}\},$', path.read_text(), re.MULTILINE)
    return {
        key: np.array([float(number.rstrip("f")) for number in numbers.split(", ")])
        for key, numbers in rows
    }


def average(new: Model, old: Model, problems: list[Problem]) -> Model:
    """The mean of two machines' models: what one gets badly wrong, the other seldom does as well.

    One machine is faster than the other: a class that only one of them has is moved by half of what
    lies between the two, to where it is among the averaged ones.
    """
    apart = [
        float((old[key] - new[key]) @ problem.x)
        for problem in problems
        for name in problem.times
        if (key := solution_class(name, problem.direction, problem.layout, problem.sizes)) in new
        and key in old
    ]
    half = np.zeros(len(PRIOR))
    half[0] = np.mean(apart) / 2 if apart else 0
    model = {key: new[key] + half for key in new.keys() - old.keys()}
    model.update({key: old[key] - half for key in old.keys() - new.keys()})
    model.update({key: (new[key] + old[key]) / 2 for key in new.keys() & old.keys()})
    return model


def _literal(value: float) -> str:
    return f"{float(f'{value:.5g}')!r}f"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="+", type=Path, help="JSON of mioconv bench")
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--only", default="", help="fit classes whose names begin so, keep others")
    parser.add_argument(
        "--average", action="store_true", help="write the mean with the coefficients in OUTPUT"
    )
    args = parser.parse_args()
    os.environ["MIOCONV_CACHE"] = "0"  # estimates, not what earlier processes measured
    libraries.use_threads(THREADS)
    problems = read(args.results)
    print(f"{len(problems)} problems, {sum(len(p.times) for p in problems)} times")
    limits = "".join(f"{f'>{limit}':>5}" for limit in LIMITS)
    heads = [f"{head:>9}{limits}" for head in ("now", "unseen", "seen")]
    print(f"{'regret':18}{''.join(heads)}")
    everything = fit(problems)
    unseen: list[float] = []
    for name in sorted(set().union(*(problem.sets for problem in problems))):
        held_out = [problem for problem in problems if name in problem.sets]
        others = regrets(fit([p for p in problems if name not in p.sets]), held_out)
        unseen += others if name != shapes.DRAWN else []
        row = [regrets(None, held_out), others, regrets(everything, held_out)]
        print(f"{name:18}{''.join(map(summary, row))}")
    networks = [problem for problem in problems if problem.sets != {shapes.DRAWN}]
    row = [regrets(None, networks), unseen, regrets(everything, networks)]
    print(f"{'the networks':18}{''.join(map(summary, row))}")
    if args.average:
        everything = average(everything, read_model(args.output), problems)
        print(f"{'averaged':18}{summary(regrets(everything, networks))}")
    write(everything, problems, args.output, args.only)
    print(f"{len(everything)} classes: {args.output}")


if __name__ == "__main__":
    main()
