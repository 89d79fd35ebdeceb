"""Fit the cpu provider's cost model to measured times, and check it on sets that it did not see.

    mioconv bench --others torch --json out/bench.json     # measures all solutions of all layers
    python -m bench.fit_cost_model out/bench.json          # writes providers/cpu/cost_model_data.inc

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
LEAST_SAMPLES = 40
RIDGE = 1e-2


@dataclass
class Problem:
    """What a cell computes, as the provider sees it, and the milliseconds of its solutions."""

    set: str
    direction: str
    layout: str
    x: np.ndarray
    times: dict[str, float]


def features(
    src: tuple[int, ...], dst: tuple[int, ...], wei: tuple[int, ...], groups: int
) -> list[float]:
    """Of a problem whose convolution goes from `src` to `dst`."""
    log = math.log
    positions = log(dst[0] * math.prod(dst[2:]))
    channels, outputs = log(wei[1]), log(wei[0] // groups)
    return [
        1.0,
        positions,
        channels,
        outputs,
        log(groups),
        log(math.prod(wei[2:])),
        log(math.prod(src[2:]) / math.prod(dst[2:])),
        log(dst[-1]),
        log(min(wei[1], 16)),
        log(min(wei[0] // groups, 16)),
        log(min(dst[-1], 16)),
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
    kind = re.sub(r"^winograd_(\d)x\d.*", r"winograd_\1", kind)
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
    return Problem(
        cell.set, direction, cell.layout, np.array(features(x, y, w, layer.groups)), times
    )


Model = dict[str, np.ndarray]


def fit(problems: list[Problem]) -> Model:
    """Coefficients of every class, by ridge regression that gives outliers less weight."""
    rows: dict[str, list[tuple[np.ndarray, float]]] = defaultdict(list)
    for problem in problems:
        for name, ms in problem.times.items():
            key = solution_class(name, problem.direction, problem.layout)
            rows[key].append((problem.x, math.log(ms)))
    model = {}
    for key, pairs in rows.items():
        if len(pairs) < LEAST_SAMPLES:
            continue
        a = np.array([x for x, _ in pairs])
        b = np.array([y for _, y in pairs])
        weights = np.ones(len(b))
        for _ in range(10):
            scaled = a * weights[:, None]
            ridge = RIDGE * np.eye(a.shape[1])
            ridge[0, 0] = 0
            solved = np.linalg.solve(scaled.T @ a + ridge, scaled.T @ b)
            error = np.abs(b - a @ solved)
            scale = max(float(np.median(error)), 1e-3)
            # A stall makes a time too long, by any factor: Cauchy's weights.
            weights = 1 / (1 + (error / (2 * scale)) ** 2)
        model[key] = solved
    return model


def choice(model: Model, problem: Problem) -> str | None:
    """What the model would run; None where it knows none of the problem's solutions."""
    known = {}
    for name in problem.times:
        coefficients = model.get(solution_class(name, problem.direction, problem.layout))
        if coefficients is not None:
            known[name] = float(coefficients @ problem.x)
    return min(known, key=lambda name: known[name]) if known else None


def regret(model: Model, problems: list[Problem]) -> float:
    """Time of the first-ranked solution over that of the best, geometric mean."""
    ratios = []
    for problem in problems:
        chosen = choice(model, problem)
        if chosen is not None:
            ratios.append(problem.times[chosen] / min(problem.times.values()))
    return geometric_mean(ratios)


def write(model: Model, path: Path) -> None:
    """As initialisers of the table in cost_model.cpp."""
    lines = [
        "// Made by bench/fit_cost_model.py from measured times; not to be edited.",
        f"constexpr int kFittedThreads = {THREADS};",
        "constexpr FittedClass kFitted[] = {",
    ]
    for key in sorted(model):
        numbers = ", ".join(f"{value:.5g}f" for value in model[key])
        lines.append(f'    {{"{key}", {{{numbers}}}}},')
    lines.append("};")
    path.write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="+", type=Path, help="JSON of mioconv bench")
    parser.add_argument("--output", type=Path, default=TARGET)
    args = parser.parse_args()
    problems = read(args.results)
    names = sorted({problem.set for problem in problems})
    print(f"{len(problems)} problems, {sum(len(p.times) for p in problems)} times")
    print("regret: fitted to the other sets, fitted to all")
    everything = fit(problems)
    for name in names:
        held_out = [problem for problem in problems if problem.set == name]
        others = fit([problem for problem in problems if problem.set != name])
        print(f"{name:18} {regret(others, held_out):.3f}  {regret(everything, held_out):.3f}")
    print(f"{'all':18} {'':5}  {regret(everything, problems):.3f}")
    write(everything, args.output)
    print(f"{len(everything)} classes: {args.output}")


if __name__ == "__main__":
    main()
