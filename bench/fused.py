"""Fused calls against the convolution alone and against separate steps, on wide 3x3 layers.

    python -m bench.fused [--sets resnet50,vgg16,unet] [--batch 1]

Default mode, forward, `out` given, medians in µs: the convolution alone, relu(conv + bias) and
relu(conv + z + bias) as one operation, and the same with strict_accuracy, which leaves Winograd
out.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import mioconv

from . import shapes
from .libraries import Case, use_threads
from .results import geometric_mean
from .timing import Function, interleave


def functions(case: Case) -> dict[str, Function]:
    """What is timed, by its title."""
    x, w, y = case.arrays
    bias = np.ones(y.shape[1], np.float32)
    out = np.empty_like(y)
    settings: dict[str, Any] = {"padding": case.layer.padding, "out": out}
    found: dict[str, Function] = {
        "conv": lambda: mioconv.conv2d_forward(x, w, **settings),
        "relu": lambda: mioconv.conv2d_relu_forward(x, w, bias, **settings),
        "add_relu": lambda: mioconv.conv2d_add_relu_forward(x, w, y, 1.0, bias, **settings),
    }

    def strictly(function: Function) -> Function:
        def call() -> object:
            with mioconv.flags(strict_accuracy=True):
                return function()

        return call

    return {**found, **{f"{name}, strict": strictly(found[name]) for name in found}}


def main() -> None:
    """Print a line for each layer, and each column's geometric mean over the first one's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sets", default="resnet50,vgg16,unet")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3)
    args = parser.parse_args()
    use_threads(args.threads)
    ratios: dict[str, list[float]] = {}
    for name in args.sets.split(","):
        for layer in shapes.read(name):
            wide = min(layer.channels, layer.filters) >= 32 and not layer.transposed
            if layer.kernel != (3, 3) or layer.stride != (1, 1) or not wide:
                continue
            for layout in ("packed", "channels_last"):
                timed = interleave(
                    functions(Case(layer, args.batch, "forward", layout, "float32")),
                    args.seconds, 3, settle=0,
                )  # fmt: skip
                first = timed["conv"].median
                line = f"{name} {layer.name:16} {layout:13}"
                for title, found in timed.items():
                    ratios.setdefault(title, []).append(found.median / first)
                    line += f"  {title} {found.median * 1e6:.0f}"
                print(line, flush=True)
    for title, values in ratios.items():
        print(f"{title:18} {geometric_mean(values):.2f}")


if __name__ == "__main__":
    main()
