"""Time all solutions of layers on an NVIDIA GPU, as `fit_gpu_ranking` needs them.

    python -m bench.gpu_solutions --seconds 420 --out out/one.jsonl

One line a problem, drawn without replacement from all layers of `shapes/more`, their batches,
types, directions and layouts. Each line has the solutions as they were listed, best first by the
provider's own estimate, and their times as benchmark mode measured them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mioconv

from . import shapes
from .shapes import Layer

BATCHES = (1, 4, 16, 16, 32)
DTYPES = ("float16", "bfloat16", "float32", "tf32")
DIRECTIONS = ("forward", "backward_input", "backward_weight")
LAYOUTS = ("packed", "channels_last")
MOST_ELEMENTS = 1 << 28  # of a tensor
THREADS = 4


def draw(seed: int) -> list[tuple[str, Layer, str, str, str, int]]:
    """All combinations, each with a batch, in an order of their own."""
    order = random.Random(seed)
    layers = [(name, layer) for name in shapes.more() for layer in shapes.read(name)]
    found = [
        (name, layer, dtype, direction, layout, order.choice(BATCHES))
        for (name, layer), dtype, direction, layout in itertools.product(
            layers, DTYPES, DIRECTIONS, LAYOUTS
        )
    ]
    order.shuffle(found)
    return found


def problem(layer: Layer, batch: int, dtype: str, direction: str, layout: str) -> mioconv.Problem:
    x, w, _ = layer.shapes(batch)
    return mioconv.Problem(
        direction, x, w, "float32" if dtype == "tf32" else dtype, layer.stride, layer.padding,
        layer.dilation, layer.groups, layout, "cuda:0", layer.transposed, layer.output_padding,
    )  # fmt: skip


def listed(what: mioconv.Problem, tf32: bool) -> tuple[list[mioconv.Solution], float]:
    """The solutions, compiled, and the milliseconds that took."""
    start = time.perf_counter()
    found = mioconv.find_solutions(what, allow_tf32=tf32)
    return found, (time.perf_counter() - start) * 1e3


def searched(what: mioconv.Problem, tf32: bool) -> dict[str, Any]:
    start = time.perf_counter()
    done = mioconv.prepare(what, benchmark=True, allow_tf32=tf32)[0]
    search_ms = (time.perf_counter() - start) * 1e3
    if done.error is not None:
        raise done.error
    return {
        "measured": {
            s.name: round(s.time_ms, 6)
            for s in mioconv.find_solutions(what, allow_tf32=tf32)
            if s.source != "heuristic"
        },
        "search_ms": round(search_ms, 2),
    }


def chosen(options: argparse.Namespace) -> Iterator[tuple[dict[str, Any], mioconv.Problem, bool]]:
    for name, layer, dtype, direction, layout, batch in draw(options.seed)[options.skip :]:
        if max(map(math.prod, layer.shapes(batch))) > MOST_ELEMENTS:
            continue
        if layout == "channels_last" and layer.rank == 1:
            continue
        row = {
            "family": name, "layer": layer.name, "dtype": dtype, "direction": direction,
            "layout": layout, "batch": batch,
        }  # fmt: skip
        yield row, problem(layer, batch, dtype, direction, layout), dtype == "tf32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0, help="of the drawn problems")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    os.environ["MIOCONV_CACHE"] = "0"
    end = time.monotonic() + options.seconds
    # Compilers are kept busy ahead of the measurements.
    with ThreadPoolExecutor(THREADS) as pool, options.out.open("w") as file:
        ahead: deque[Any] = deque()
        for row, what, tf32 in chosen(options):
            ahead.append((row, what, tf32, pool.submit(listed, what, tf32)))
            if len(ahead) <= 2 * THREADS:
                continue
            row, what, tf32, future = ahead.popleft()
            try:
                found, row["list_ms"] = future.result()
                row["listed"] = [[s.name, round(s.time_ms, 6), s.workspace_bytes] for s in found]
                row |= searched(what, tf32)
            except mioconv.MioconvError as error:
                row["error"] = str(error)
            print(json.dumps(row), file=file, flush=True)
            if time.monotonic() > end:
                break
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
