"""What was measured: one cell a layer, batch, direction, layout and type; kept as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Cell:
    """Medians of one layer, in seconds, by the library and mode that ran it."""

    set: str
    layer: str
    batch: int
    direction: str
    layout: str
    dtype: str
    threads: int
    seconds: dict[str, float]
    solutions: dict[str, str]  # of each mode of mioconv
    workspace: dict[str, int]  # bytes, likewise
    tensor_bytes: int
    flops: int
    floor_seconds: float
    # Milliseconds of every solution, from the search of benchmark mode; disturbed samples.
    times: dict[str, float] = field(default_factory=dict)
    repeated: int = 0
    again: bool = False  # measured a second time, which is what is here

    @property
    def key(self) -> tuple[Any, ...]:
        return (
            self.set, self.layer, self.batch, self.direction, self.layout, self.dtype, self.threads
        )  # fmt: skip

    def ratio(self, mode: str, other: str) -> float | None:
        """Below 1: mioconv is faster. None where one of the two was not measured."""
        if mode not in self.seconds or other not in self.seconds:
            return None
        return self.seconds[mode] / self.seconds[other]

    def worst_ratio(self, other: str) -> float:
        """Of all modes; 0 where there is nothing to compare."""
        return max((self.ratio(mode, other) or 0 for mode in self.solutions), default=0)


@dataclass
class Results:
    """All cells of one or more runs."""

    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    cells: dict[tuple[Any, ...], Cell] = field(default_factory=dict)

    def add(self, cell: Cell) -> None:
        self.cells[cell.key] = cell

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.cells.values())

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {
            "versions": self.versions,
            "machine": self.machine,
            "cells": [asdict(cell) for cell in self],
        }
        part = path.with_suffix(".part")
        part.write_text(json.dumps(data, indent=1))
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> Results:
        data = json.loads(path.read_text())
        results = cls(data["versions"], data["machine"])
        for cell in data["cells"]:
            results.add(Cell(**cell))
        return results


def geometric_mean(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def grouped(cells: Iterable[Cell], key: Callable[[Cell], Any]) -> dict[Any, list[Cell]]:
    found: dict[Any, list[Cell]] = {}
    for cell in cells:
        found.setdefault(key(cell), []).append(cell)
    return found


def mean_over_sets(cells: Iterable[Cell], mode: str, other: str) -> float | None:
    """Geometric mean in which every set counts alike, however many layers it has."""
    means = []
    for group in grouped(cells, lambda cell: cell.set).values():
        ratios = [r for r in (cell.ratio(mode, other) for cell in group) if r is not None]
        if ratios:
            means.append(geometric_mean(ratios))
    return geometric_mean(means) if means else None
