"""Time convolution layers against PyTorch: interleaved in one run, same threads, medians.

    python bench/layers.py                 # ResNet-50, batch 8, forward, both layouts
    python bench/layers.py --direction backward_weight --benchmark --batch 1

Needs PyTorch. Prints microseconds of both, their ratio (below 1: mioconv is faster), what was
chosen, and the geometric mean. Ratios hold up on a busy machine better than times do, but not
arbitrarily well: let it be idle.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mioconv

SHAPES = Path(__file__).parent / "shapes"


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def pair(row: dict[str, str], args: argparse.Namespace, layout: str) -> tuple[Callable, Callable]:
    """The same work by mioconv and by PyTorch, on the same memory."""
    c, size, k, kernel, stride, padding, groups = (
        int(row[name])
        for name in ("channels", "size", "filters", "kernel", "stride", "padding", "groups")
    )
    rng = np.random.default_rng(0)
    order = channels_last if layout == "nhwc" else np.ascontiguousarray
    x = order(rng.standard_normal((args.batch, c, size, size), dtype=np.float32))
    w = order(rng.standard_normal((k, c // groups, kernel, kernel), dtype=np.float32))
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "groups": groups}
    y = mioconv.conv2d_forward(x, w, **settings)
    tx, tw, ty = torch.from_numpy(x), torch.from_numpy(w), torch.from_numpy(y)
    mode = {"benchmark": args.benchmark}
    if args.direction == "forward":
        return (
            lambda: mioconv.conv2d_forward(x, w, out=y, **settings, **mode),
            lambda: torch.nn.functional.conv2d(tx, tw, **settings),
        )
    mask = [args.direction == "backward_input", args.direction == "backward_weight", False]

    def theirs() -> Any:
        return torch.ops.aten.convolution_backward(
            ty, tx, tw, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, mask
        )

    if mask[0]:
        return lambda: mioconv.conv2d_backward_input(x.shape, y, w, **settings, **mode), theirs
    return lambda: mioconv.conv2d_backward_weight(w.shape, y, x, **settings, **mode), theirs


def medians(functions: tuple[Callable, Callable], seconds: float) -> list[float]:
    """Median microseconds of each, in alternating order, for about `seconds` in all."""
    times: list[list[float]] = [[], []]
    for function in functions:
        function()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for function, kept in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            kept.append((time.perf_counter() - start) * 1e6)
    return [statistics.median(kept) for kept in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--set", default="resnet50", help="a file of bench/shapes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.6, help="for each layer and layout")
    parser.add_argument("--layouts", default="nchw,nhwc")
    parser.add_argument(
        "--direction", default="forward", choices=["forward", "backward_input", "backward_weight"]
    )
    parser.add_argument("--benchmark", action="store_true", help="measure solutions, then choose")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    mioconv.set_flags(num_threads=args.threads)
    rows = list(csv.DictReader((SHAPES / f"{args.set}.csv").open()))
    print(
        f"{args.set}, batch {args.batch}, {args.direction}, float32, {args.threads} threads, "
        f"{'benchmark' if args.benchmark else 'default'} mode, PyTorch {torch.__version__}"
    )
    for layout in args.layouts.split(","):
        ratios = []
        for row in rows:
            ours, theirs = pair(row, args, layout)
            a, b = medians((ours, theirs), args.seconds)
            ours()
            call = mioconv.last_call()
            ratios.append(a / b)
            print(f"{layout} {row['name']:12} {a:9.0f} {b:9.0f}  {a / b:5.2f}  "
                  f"{call.solution_name if call else ''}")  # fmt: skip
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
        print(f"{layout} geometric mean {mean:.2f}, worst {max(ratios):.2f}\n")


if __name__ == "__main__":
    main()
