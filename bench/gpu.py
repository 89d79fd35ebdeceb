"""Time mioconv beside PyTorch on an NVIDIA GPU: kernels by events, dispatch by the host's clock.

    python -m bench.gpu resnet50 vgg16 --out out
    python -m bench.gpu --draw 1 --mode default --seconds 240

Both sides choose by measurement (PyTorch's `benchmark=True`, mioconv's `benchmark` flag), or both
in default mode, with the same TF32 setting. Kernel time is what the device needs for calls that
were queued before it began: a kernel that only waits holds the stream until all of them are, so
that the host's time is not in it; where the host was slower, the sample is taken again with a
longer wait. Dispatch is the host's time for a call whose work is only queued. The two sides take
turns, and the minimum of the rounds counts. Results are compared: a ratio of a wrong result would
be none.

At the end the rows above 1.05 are measured once more, with a search from scratch and four times the
samples, and what was found then replaces them.

The layers are those of `shapes/`, by the names of its sets; without names, the networks'. With
`--draw SEED` rows are drawn from the families of `shapes/more` instead, each family as likely as
any other, until the time is up: layers, types ("tf32" too), layouts and directions.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

import mioconv

from .results import geometric_mean
from .shapes import Layer, more, names, read

DIRECTIONS = ("forward", "backward_input", "backward_weight")
# Of the norm, between the two; "tf32" is float32 with TF32 allowed on both sides.
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-5, "tf32": 2e-3}
SAMPLES = 5
SAMPLE_US = 2000.0  # of a row, about
MOST_REPEATS = 10
ABOVE, MOST_AGAIN = 1.05, 40  # rows that are measured again, at most so many
HOLD_US, LONGEST_HOLD_US = 50, 2000  # of a call
CYCLES_A_US = 2000  # of the fastest clock; a slower one holds longer


@dataclass
class Row:
    """One measurement; times in microseconds."""

    network: str
    layer: str
    direction: str
    dtype: str
    layout: str
    torch_kernel: float
    kernel: float
    torch_dispatch: float
    dispatch: float
    error: float
    solution: str
    torch_first: float  # the first call, in milliseconds, until its result is there
    first: float

    @property
    def ratio(self) -> float:
        return self.kernel / self.torch_kernel


class Problem:
    """Tensors of one layer, and the call of either side for a direction."""

    def __init__(self, layer: Layer, batch: int, dtype: str, layout: str) -> None:
        self.layer = layer
        self.tf32 = dtype == "tf32"
        torch_dtype = torch.float32 if self.tf32 else getattr(torch, dtype)
        rank = len(layer.size)
        pair = (layer.channels, layer.filters)
        shape = [pair[0], pair[1] // layer.groups] if layer.transposed else [
            pair[1], pair[0] // layer.groups]  # fmt: skip
        last = {1: None, 2: torch.channels_last, 3: torch.channels_last_3d}[rank]
        self.format = last if layout == "channels_last" and last else torch.contiguous_format

        def make(*sizes: int) -> torch.Tensor:
            values = torch.randn(*sizes, device="cuda", dtype=torch.float32)
            return values.to(torch_dtype).contiguous(memory_format=self.format)

        self.x = make(batch, layer.channels, *layer.size)
        self.w = make(*shape, *layer.kernel)
        self.w /= math.sqrt(math.prod(self.w.shape[1:]))
        self.y = make(*self.forward().shape)
        self.rank = rank

    def forward(self) -> torch.Tensor:
        layer = self.layer
        return torch.ops.aten.convolution(
            self.x, self.w, None, layer.stride, layer.padding, layer.dilation, layer.transposed,
            layer.output_padding, layer.groups,
        )  # fmt: skip

    def theirs(self, direction: str) -> Callable[[], torch.Tensor]:
        """PyTorch's call; gradients by the operator that autograd calls."""
        if direction == "forward":
            return self.forward
        layer = self.layer
        which = DIRECTIONS.index(direction) - 1
        mask = [which == i for i in range(3)]
        backward = torch.ops.aten.convolution_backward

        def call() -> torch.Tensor:
            return backward(
                self.y, self.x, self.w, None, layer.stride, layer.padding, layer.dilation,
                layer.transposed, layer.output_padding, layer.groups, mask,
            )[which]  # fmt: skip

        return call

    def ours(self, direction: str) -> tuple[Callable[[], Any], torch.Tensor]:
        layer = self.layer
        family = "conv_transpose" if layer.transposed else "conv"
        function = getattr(mioconv, f"{family}{self.rank}d_{direction}")
        settings: dict[str, Any] = {
            "stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation,
            "groups": layer.groups, "allow_tf32": self.tf32,
        }  # fmt: skip
        if layer.transposed:
            settings["output_padding"] = layer.output_padding
        arguments: tuple[Any, ...] = {
            "forward": (self.x, self.w),
            "backward_input": (self.y, self.w),
            "backward_weight": (tuple(self.w.shape), self.y, self.x),
        }[direction]
        if direction == "backward_input" and not layer.transposed:
            arguments = (tuple(self.x.shape), *arguments)
        like = {"forward": self.y, "backward_input": self.x, "backward_weight": self.w}[direction]
        out = torch.empty_like(like)
        return lambda: function(*arguments, out=out, **settings), out


def kernel_time(call: Callable[[], Any], repeats: int) -> float:
    """Device time of one of `repeats` calls that were queued before the first began."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    hold = HOLD_US * (repeats + 2)
    for _ in range(4):
        torch.cuda._sleep(CYCLES_A_US * hold)
        began = time.perf_counter()
        start.record()
        for _ in range(repeats):
            call()
        stop.record()
        queueing = (time.perf_counter() - began) * 1e6
        stop.synchronize()
        if queueing <= hold:
            break
        hold = min(int(1.5 * queueing), LONGEST_HOLD_US * (repeats + 2))
    return start.elapsed_time(stop) / repeats * 1e3


def first_time(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call that nobody made before, and the milliseconds until it is there."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return result, (time.perf_counter() - start) * 1e3


def dispatch_time(call: Callable[[], Any], repeats: int = 50) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    spent = time.perf_counter() - start
    torch.cuda.synchronize()
    return spent / repeats * 1e6


def measure(
    network: str, problem: Problem, direction: str, dtype: str, layout: str,
    samples: int = SAMPLES,
) -> Row:  # fmt: skip
    torch.backends.cudnn.allow_tf32 = problem.tf32
    theirs = problem.theirs(direction)
    ours, out = problem.ours(direction)
    expected, torch_first = first_time(theirs)
    _, first = first_time(ours)
    name = mioconv.last_call().solution_name or ""
    wide = expected.double()
    error = float((out.double() - wide).norm() / wide.norm().clamp_min(1e-30))
    best = [math.inf] * 4
    repeats = [
        max(2, min(MOST_REPEATS, int(SAMPLE_US / kernel_time(call, 2)))) for call in (theirs, ours)
    ]
    for _ in range(samples):
        for side, call in enumerate((theirs, ours)):
            best[side] = min(best[side], kernel_time(call, repeats[side]))
    for _ in range(3):
        for side, call in enumerate((theirs, ours)):
            best[2 + side] = min(best[2 + side], dispatch_time(call))
    if not error <= TOLERANCE[dtype]:
        print(f"DIFFERS: {problem.layer} {direction} {dtype} {layout}: {error:.2e} by {name}")
    return Row(network, problem.layer.name, direction, dtype, layout, *best,
               error, name, torch_first, first)  # fmt: skip


def sweep(network: str, options: argparse.Namespace, deadline: float) -> Iterator[Row]:
    """The rows of a set of layers; those that the time was enough for."""
    for layer in read(network):
        if options.layers and layer.name not in options.layers:
            continue
        for dtype in options.dtypes.split(","):
            for layout in options.layouts.split(","):
                if layout == "channels_last" and len(layer.size) == 1:
                    continue  # PyTorch has none for one dimension
                if time.monotonic() > deadline:
                    return
                problem = Problem(layer, options.batch, dtype, layout)
                for direction in options.directions.split(","):
                    yield measure(network, problem, direction, dtype, layout)


def drawn(options: argparse.Namespace, deadline: float) -> Iterator[Row]:
    """Rows of the families, none twice, as many as the time is enough for."""
    draw = random.Random(options.draw)
    layers = {name: read(name) for name in options.sets or more()}
    seen = set()
    while time.monotonic() < deadline:
        network = draw.choice(sorted(layers))
        layer = draw.choice(layers[network])
        dtype = draw.choice(list(TOLERANCE))
        layout = draw.choice(["packed", "channels_last"] if layer.rank > 1 else ["packed"])
        direction = draw.choice(DIRECTIONS)
        if (row := (network, layer.name, dtype, layout, direction)) in seen:
            continue
        seen.add(row)
        problem = Problem(layer, options.batch, dtype, layout)
        yield measure(network, problem, direction, dtype, layout)


def measure_again(rows: list[Row], options: argparse.Namespace, deadline: float) -> None:
    """Replace the rows above 1.05, the worst first, by what a new search and more samples say."""
    above = sorted(
        (i for i, row in enumerate(rows) if row.ratio > ABOVE), key=lambda i: -rows[i].ratio
    )
    for i in above[:MOST_AGAIN]:
        if time.monotonic() > deadline:
            return
        row = rows[i]
        layer = next(layer for layer in read(row.network) if layer.name == row.layer)
        problem = Problem(layer, options.batch, row.dtype, row.layout)
        mioconv.cache_clear()
        found = measure(row.network, problem, row.direction, row.dtype, row.layout, 4 * SAMPLES)
        rows[i] = replace(found, torch_first=row.torch_first, first=row.first)
        print(f"again, was {row.ratio:5.2f}: {line(rows[i])}")


def line(row: Row) -> str:
    return (
        f"{row.ratio:5.2f}  {row.kernel:8.1f} / {row.torch_kernel:8.1f} us  {row.network} "
        f"{row.layer} {row.direction} {row.dtype} {row.layout}  {row.solution}"
    )


def write(rows: Iterable[Row], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def summarise(rows: list[Row], keys: tuple[str, ...]) -> None:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, key) for key in keys), []).append(row)
    width = max(len(" ".join(key)) for key in groups)
    print(f"{'':{width}}  layers  kernel  worst  above 1.05   host us (PyTorch)  host ratio")
    for key, group in sorted(groups.items()):
        ratios = [row.ratio for row in group]
        host = [row.dispatch / row.torch_dispatch for row in group]
        ours = sorted(row.dispatch for row in group)[len(group) // 2]
        theirs = sorted(row.torch_dispatch for row in group)[len(group) // 2]
        print(
            f"{' '.join(key):{width}}  {len(group):6}  {geometric_mean(ratios):6.3f}  "
            f"{max(ratios):5.2f}  {sum(r > ABOVE for r in ratios):10}   "
            f"{ours:7.1f} ({theirs:5.1f})  {geometric_mean(host):10.2f}"
        )


def overview(rows: list[Row]) -> None:
    """One line for all, and one for each type and layout."""

    def tell(name: str, group: list[Row]) -> None:
        ratios = sorted(row.ratio for row in group)
        shares = "".join(
            f"{100 * sum(r > limit for r in ratios) / len(ratios):7.1f}%"
            for limit in (1.05, 1.3, 2)
        )
        print(f"{name:24}{len(group):6}{geometric_mean(ratios):8.3f}{shares}{ratios[-1]:8.2f}")

    print(f"{'':24}{'rows':>6}{'kernel':>8}{'>1.05':>8}{'>1.3':>8}{'>2':>8}{'worst':>8}")
    tell("all", rows)
    for key in sorted({(row.dtype, row.layout) for row in rows}):
        tell(" ".join(key), [row for row in rows if (row.dtype, row.layout) == key])
    for name, side in (("mioconv", "first"), ("PyTorch", "torch_first")):
        times = sorted(getattr(row, side) for row in rows)
        shown = [times[int(share * (len(times) - 1))] for share in (0.5, 0.9, 0.99, 1)]
        print(f"first call, {name}: median, 90 %, 99 %, worst: {[round(ms, 1) for ms in shown]} ms")


def plot(rows: list[Row], path: Path) -> None:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    keys = sorted({(r.direction, r.dtype, r.layout) for r in rows})
    figure, axes = pyplot.subplots(figsize=(10, 5))
    for key in keys:
        ratios = sorted(r.ratio for r in rows if (r.direction, r.dtype, r.layout) == key)
        places = [(i + 0.5) / len(ratios) for i in range(len(ratios))]
        axes.plot(places, ratios, marker=".", label=" ".join(key))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(xlabel="layers, by their ratio", ylabel="kernel time / PyTorch's", yscale="log")
    axes.legend(fontsize=7)
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sets", nargs="*", help="sets of layers (default: the networks)")
    parser.add_argument("--layers", type=lambda text: text.split(","), help="only those so named")
    parser.add_argument("--mode", choices=("benchmark", "default"), default="benchmark")
    parser.add_argument("--draw", type=int, metavar="SEED", help="rows of the families")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtypes", default="float16,bfloat16,float32")
    parser.add_argument("--layouts", default="packed,channels_last")
    parser.add_argument("--directions", default="forward")
    parser.add_argument("--tf32", action="store_true", help="float32 stands for tf32")
    parser.add_argument(
        "--again", action=argparse.BooleanOptionalAction, default=True,
        help=f"measure rows above {ABOVE} once more",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=1e9,
        help="stop after about so long; a fifth is kept for rows that are measured again",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder for the rows (CSV) and the plot")
    options = parser.parse_args()
    for name in options.sets:
        if name not in (known := names() + more()):
            parser.error(f"no set of layers is called {name!r}; there are {', '.join(known)}")
    os.environ["MIOCONV_CACHE"] = "0"  # what earlier processes found is not what is measured
    torch.backends.cudnn.benchmark = options.mode == "benchmark"
    mioconv.set_flags(benchmark=options.mode == "benchmark")
    if options.tf32:
        options.dtypes = options.dtypes.replace("float32", "tf32")
    torch.manual_seed(0)
    versions = mioconv.providers()["cuda"]
    machine = {
        "gpu": torch.cuda.get_device_name(), "torch": torch.__version__,
        "provider": versions.description, "python": platform.python_version(),
        "batch": options.batch, "tf32": options.tf32,
    }  # fmt: skip
    print(json.dumps(machine))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    rows = run(options)
    if not rows:
        print("nothing measured")
        return
    for row in sorted(rows, key=lambda row: -row.ratio)[:12]:
        print(line(row))
    overview(rows)
    if options.draw is None:
        summarise(rows, ("network", "direction", "dtype", "layout"))
    summarise(rows, ("direction", "dtype", "layout"))
    if options.out:
        plot(rows, options.out / "gpu.png")


def run(options: argparse.Namespace) -> list[Row]:
    """All rows. A run that ends early leaves what it has in the file."""
    rows: list[Row] = []
    start = time.monotonic()
    deadline = start + options.seconds * (0.8 if options.again else 1)
    try:
        if options.draw is not None:
            rows.extend(drawn(options, deadline))
        else:
            for network in options.sets or names():
                rows.extend(sweep(network, options, deadline))
        if time.monotonic() > deadline:
            print("stopped: out of time")
        if options.again:
            measure_again(rows, options, start + options.seconds)
    finally:
        if options.out:
            write(rows, options.out / "gpu.csv")
    return rows


if __name__ == "__main__":
    main()
