"""What packing constant weights once saves: plans with and without, layer by layer.

    python -m bench.constant_weights [--sets resnet50] [--batch 1] [--layouts packed,channels_last]

Each layer's forward convolution as the plan that benchmark mode chooses and as the one that default
mode chooses, each with weights packed in every call and once. Interleaved, `out` given, medians; a
mode's ratio is that of the two plans, whichever solutions they are.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import mioconv

from . import shapes
from .libraries import Case, use_threads
from .results import geometric_mean
from .timing import interleave


def plans(case: Case) -> dict[str, Any]:
    """The four plans of a layer. Default mode's first: a search would improve their ranking."""
    layer = case.layer
    x, w, _ = layer.shapes(case.batch)
    problem = mioconv.Problem(
        case.direction, x, w, case.dtype, stride=layer.stride, padding=layer.padding,
        dilation=layer.dilation, groups=layer.groups, layout=case.layout,
        transposed=layer.transposed, output_padding=layer.output_padding if layer.transposed else 0,
    )  # fmt: skip
    return {
        f"{mode} {kind}": mioconv.plan(
            problem, benchmark=mode == "benchmark", constant_weights=kind == "constant"
        )
        for mode in ("default", "benchmark")
        for kind in ("each", "constant")
    }


def main() -> None:
    """Print a line for each layer, and the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sets", default="resnet50")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--direction", default="forward")
    parser.add_argument("--layouts", default="packed,channels_last")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.1)
    args = parser.parse_args()
    use_threads(args.threads)
    ratios: dict[tuple[str, str], list[float]] = {}
    for layout in args.layouts.split(","):
        for name in args.sets.split(","):
            for layer in shapes.read(name):
                case = Case(layer, args.batch, args.direction, layout, "float32")
                if not case.sensible():
                    continue
                made = plans(case)
                x, w, y = case.arrays
                given, out = (x, y) if args.direction == "forward" else (y, x)
                out = np.empty_like(out)
                timed = interleave(
                    {
                        key: lambda plan=plan, given=given, w=w, out=out: plan(given, w, out=out)
                        for key, plan in made.items()
                    },
                    args.seconds,
                    5,
                    settle=0,
                )
                line = f"{name} {layer.name:28} {layout:13}"
                for mode in ("default", "benchmark"):
                    each, once = (timed[f"{mode} {k}"].median for k in ("each", "constant"))
                    ratios.setdefault((mode, layout), []).append(once / each)
                    line += f"  {each * 1e6:8.0f} {once * 1e6:8.0f} {once / each:5.2f}"
                    line += f" {made[f'{mode} constant'].solution.name:48}"
                print(line, flush=True)
    for (mode, layout), found in ratios.items():
        print(
            f"{mode:10} {layout:14} geometric mean {geometric_mean(found):.3f}, "
            f"best {min(found):.2f}, worst {max(found):.2f}"
        )


if __name__ == "__main__":
    main()
