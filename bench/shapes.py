"""The layers of networks, from the CSV files of `shapes/`.

A file has one line a distinct layer. `op` is "conv" or "transposed", `size` the input's spatial
size ("56x56", "8x56x56"; its length is the layer's rank), and every other spatial column one number
for all dimensions or as many as the rank. `filters` are the output channels of either operator.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "shapes"


@dataclass(frozen=True)
class Layer:
    """One layer of a network, without its batch."""

    name: str
    transposed: bool
    channels: int
    size: tuple[int, ...]
    filters: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    output_padding: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.size)

    def shapes(self, batch: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Of the input, the weight and the output."""
        given, taken = self.channels, self.filters
        rows = zip(
            self.size, self.kernel, self.stride, self.padding, self.dilation, self.output_padding,
            strict=True,
        )  # fmt: skip
        if self.transposed:
            weight = (given, taken // self.groups, *self.kernel)
            out = [(n - 1) * s - 2 * p + d * (k - 1) + 1 + o for n, k, s, p, d, o in rows]
        else:
            weight = (taken, given // self.groups, *self.kernel)
            out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in rows]
        return (batch, given, *self.size), weight, (batch, taken, *out)

    def flops(self, batch: int) -> int:
        """Of each direction, a multiply-add as two; padding counts as work."""
        x, w, y = self.shapes(batch)
        positions = math.prod((x if self.transposed else y)[2:])
        return 2 * batch * positions * math.prod(w)

    def tensor_bytes(self, batch: int, itemsize: int) -> int:
        """Of input, weight and output together."""
        return itemsize * sum(math.prod(shape) for shape in self.shapes(batch))


def names() -> list[str]:
    """The sets that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def read(name: str) -> list[Layer]:
    """The layers of one set."""
    with (FOLDER / f"{name}.csv").open(newline="") as file:
        return [_layer(row) for row in csv.DictReader(file)]


def _layer(row: dict[str, str]) -> Layer:
    size = _numbers(row["size"])

    def spatial(column: str) -> tuple[int, ...]:
        values = _numbers(row[column])
        if len(values) not in (1, len(size)):
            raise ValueError(f"{row['name']}: {column} {row[column]!r} does not fit {row['size']}")
        return values * len(size) if len(values) == 1 else values

    if row["op"] not in ("conv", "transposed"):
        raise ValueError(f"{row['name']}: unknown op {row['op']!r}")
    return Layer(
        row["name"], row["op"] == "transposed", int(row["channels"]), size, int(row["filters"]),
        spatial("kernel"), spatial("stride"), spatial("padding"), spatial("dilation"),
        int(row["groups"]), spatial("output_padding"),
    )  # fmt: skip


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))
