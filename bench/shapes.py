"""The layers of networks, from the CSV files of `shapes/`.

A file has one line a distinct layer. `op` is "conv" or "transposed", `size` the input's spatial
size ("56x56", "8x56x56"; its length is the layer's rank), and every other spatial column one number
for all dimensions or as many as the rank. `filters` are the output channels of either operator.

`shapes/more/` has layers of further families of networks, a few typical ones of each. They are sets
of their own, "more/NAME", and none of them is a layer of the networks.
"""

from __future__ import annotations

import csv
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path

FOLDER = Path(__file__).parent / "shapes"
# A set beside the networks: layers drawn at random, which show how well a ranking generalises.
DRAWN = "drawn"
DRAWN_LAYERS = 240
DRAWN_ELEMENTS = 1 << 22  # of a tensor, at most
DRAWN_FLOPS = (5e5, 1e9)


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
    """The networks that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.csv"))


def more() -> list[str]:
    """The families beside the networks, as `read` takes them."""
    return sorted(f"more/{path.stem}" for path in FOLDER.glob("more/*.csv"))


def read(name: str) -> list[Layer]:
    """The layers of one set."""
    if name == DRAWN:
        return _drawn()
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


def _drawn() -> list[Layer]:
    """The same ones every time; first layers, the other way round, are last layers too."""
    draw = random.Random(0)
    layers: list[Layer] = []
    while len(layers) < DRAWN_LAYERS:
        layer = _draw(draw, f"drawn_{len(layers)}")
        least, most = DRAWN_FLOPS
        elements = max(map(math.prod, layer.shapes(1)))
        if elements <= DRAWN_ELEMENTS and least <= layer.flops(1) <= most:
            layers.append(layer)
    last = [
        replace(layer, name=f"{layer.name}_last", channels=layer.filters, filters=layer.channels)
        for layer in layers
        if layer.channels in (1, 3) and layer.groups == 1
    ]
    return layers + last


def _draw(draw: random.Random, name: str) -> Layer:
    def channels() -> int:
        step = draw.choice([1, 4, 8, 16, 16, 32])
        return max(step, int(2 ** draw.uniform(1.5, 10.3)) // step * step)

    rank = draw.choice([1, 2, 2, 2, 2, 2, 3])
    size = (int(2 ** draw.uniform(2, 16 / (rank + 0.1))),) * rank
    given, taken, groups = channels(), channels(), 1
    kind = draw.random()
    if kind < 0.08:
        given = draw.choice([1, 3])  # a first layer
    elif kind < 0.2:
        taken = groups = given  # depthwise
    elif kind < 0.25:
        groups = draw.choice([2, 8, 32])
        given, taken = (-(-n // groups) * groups for n in (given, taken))
    kernel, stride = draw.choice([1, 3, 3, 5, 7]), draw.choice([1, 1, 1, 2])
    dilation = draw.choice([1] * 9 + [2])
    spatial = (kernel, stride, dilation * (kernel // 2), dilation)
    return Layer(
        name, False, given, size, taken, *((n,) * rank for n in spatial), groups, (0,) * rank
    )
