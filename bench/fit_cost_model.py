"""Fit the cpu provider's cost model to measured times, and check it on sets that it did not see.

    mioconv bench --others torch                     # measures all solutions of all layers
    python -m bench.fit_cost_model out/bench.json    # writes providers/cpu/cost_model_data.inc
    python -m bench.fit_cost_model out/part.json --only depthwise    # the other classes stay

One small regression for every class of solutions (implementation, layout strategy, the caller's
layout, direction): the logarithm of the time of a float32 problem on `THREADS` threads as a
quadratic in logarithms of its sizes. `features` and `solution_class` have their twins in
providers/cpu/cost_model.cpp.

The figure of merit is the regret: the measured time of the solution that ranks first over that of
the best one, as a geometric mean over problems. It is printed for each set with the model fitted to
the other sets alone.
"""

from __future__ import annotations

import argparse
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import shapes
from .results import Cell, Results, geometric_mean

TARGET = Path(__file__).parents[1] / "providers" / "cpu" / "cost_model_data.inc"
THREADS = 2
# A class that was measured less often says too little; the provider's own formula serves it.
LEAST_SAMPLES = 12
RIDGE = 0.5
# The search's times are not repeated when another process disturbs them: what is further off than
# this was stalled, more often than chosen badly.
WORST_RATIO = 2.0


@dataclass
class Problem:
    """What a cell computes, as the provider sees it, and the milliseconds of its solutions."""

    set: str
    direction: str
    layout: str
    default: str  # what the provider ranked first when this was measured
    sizes: list[float]
    x: np.ndarray
    times: dict[str, float]


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
    """Of the sizes: a quadratic, and how far vectors of 16 are filled."""
    positions, channels, outputs, *_, width = logs
    vector = math.log(16)
    return [
        1.0,
        *logs,
        min(channels, vector),
        min(outputs, vector),
        min(width, vector),
        positions * positions,
        channels * channels,
        outputs * outputs,
        positions * channels,
        positions * outputs,
        channels * outputs,
    ]


def solution_class(name: str, direction: str, layout: str) -> str:
    """Without instruction sets, and what an implementation is called beyond its kind."""
    implementation, strategy = name.split("|")
    kind = re.sub(r":(avx512|avx2|avx|sse41)[^+|]*", "", implementation)
    if kind.startswith(("winograd", "matmul")):
        kind = kind.partition(":")[0]
    return f"{kind}|{strategy}|{layout}|{direction}"


def read(paths: list[Path]) -> list[Problem]:
    """Every float32 cell on `THREADS` threads whose solutions were timed."""
    layers = {(name, layer.name): layer for name in shapes.names() for layer in shapes.read(name)}
    found = []
    for path in paths:
        for cell in Results.read(path):
            if cell.dtype == "float32" and cell.threads == THREADS and len(cell.times) > 1:
                found.append(_problem(cell, layers[cell.set, cell.layer]))
    return found


def _problem(cell: Cell, layer: shapes.Layer) -> Problem:
    x, w, y = layer.shapes(cell.batch)
    direction = cell.direction
    if layer.transposed:  # runs as a convolution from its output to its input
        x, y = y, x
        turned = {"forward": "backward_input", "backward_input": "forward"}
        direction = turned.get(direction, direction)
    times = {name: ms for name, ms in cell.times.items() if "+f32" not in name}
    logs = sizes(x, y, w, layer.groups)
    return Problem(
        cell.set, direction, cell.layout, cell.solutions.get("default", ""), logs,
        np.array(features(logs)), times,
    )  # fmt: skip


Model = dict[str, np.ndarray]

# Without measurements a time grows as the work does: positions, channels, outputs, groups, taps.
PRIOR = np.array([0, 1, 1, 1, 1, 1, *[0] * 11], dtype=float)


def fit(problems: list[Problem]) -> Model:
    """Coefficients of every class: ridge regression towards `PRIOR`, outliers weighing less."""
    rows: dict[str, list[tuple[np.ndarray, float]]] = defaultdict(list)
    for problem in problems:
        for name, ms in problem.times.items():
            key = solution_class(name, problem.direction, problem.layout)
            rows[key].append((problem.x, math.log(ms)))
    return {key: _solve(pairs) for key, pairs in rows.items() if len(pairs) >= LEAST_SAMPLES}


def _solve(pairs: list[tuple[np.ndarray, float]]) -> np.ndarray:
    a = np.array([x for x, _ in pairs])
    b = np.array([y for _, y in pairs]) - a @ PRIOR
    mean, spread = a.mean(axis=0), a.std(axis=0) + 1e-9
    mean[0], spread[0] = 0, 1  # the constant
    scaled = (a - mean) / spread
    ridge = RIDGE * np.eye(a.shape[1])
    ridge[0, 0] = 1e-9
    weights = np.ones(len(b))
    for _ in range(10):
        weighted = scaled * weights[:, None]
        solved = np.linalg.solve(weighted.T @ scaled + ridge, weighted.T @ b)
        error = np.abs(b - scaled @ solved)
        # A stall makes a time too long, by any factor: Cauchy's weights.
        weights = 1 / (1 + (error / (2 * max(float(np.median(error)), 1e-3))) ** 2)
    found = solved / spread
    found[0] -= (found * mean)[1:].sum()
    return found + PRIOR


def choice(model: Model, problem: Problem) -> str | None:
    """What the model would run; None where it knows none of the problem's solutions."""
    known = {}
    for name in problem.times:
        coefficients = model.get(solution_class(name, problem.direction, problem.layout))
        if coefficients is not None:
            known[name] = float(coefficients @ problem.x)
    return min(known, key=lambda name: known[name]) if known else None


def regret(model: Model, problems: list[Problem]) -> float:
    """Time of the first-ranked solution over that of the best, geometric mean; nan of nothing."""
    ratios = []
    for problem in problems:
        chosen = choice(model, problem) if model else problem.default
        if chosen in problem.times:
            ratio = problem.times[chosen] / min(problem.times.values())
            ratios.append(min(ratio, WORST_RATIO))
    return geometric_mean(ratios) if ratios else math.nan


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


def _literal(value: float) -> str:
    return f"{float(f'{value:.5g}')!r}f"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="+", type=Path, help="JSON of mioconv bench")
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--only", default="", help="fit classes whose names begin so, keep others")
    args = parser.parse_args()
    problems = read(args.results)
    names = sorted({problem.set for problem in problems})
    print(f"{len(problems)} problems, {sum(len(p.times) for p in problems)} times")
    print(f"regret {'':10} as it was  fitted to the others  fitted to all")
    everything = fit(problems)
    for name in names:
        held_out = [problem for problem in problems if problem.set == name]
        others = fit([problem for problem in problems if problem.set != name])
        row = [regret(model, held_out) for model in ({}, others, everything)]
        print(f"{name:18} {row[0]:8.3f} {row[1]:21.3f} {row[2]:14.3f}")
    print(f"{'all':18} {regret({}, problems):8.3f} {'':21} {regret(everything, problems):14.3f}")
    write(everything, problems, args.output, args.only)
    print(f"{len(everything)} classes: {args.output}")


if __name__ == "__main__":
    main()
