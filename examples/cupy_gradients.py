"""Forward and backward on CuPy arrays, every gradient checked; then a filter is learned by them.

CuPy has no convolution of its own: cuDNN left it in release 14, and on ROCm MIOpen was never in it.
On an AMD GPU with cupy-rocm this is MIOpen's work, found as `mioconv info` tells. Nothing but the
arrays' module makes the difference: the same code runs on NumPy.

    python examples/cupy_gradients.py            # CuPy
    python examples/cupy_gradients.py numpy
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import mioconv

ROUNDOFF = 2.0**-24  # of float32

# Name, a function and its gradients, its settings, the shapes of input and weight.
CASES: list[tuple[str, dict[str, Any], tuple[int, ...], tuple[int, ...]]] = [
    ("conv2d", {"stride": 2, "padding": 1, "groups": 2}, (4, 8, 15, 14), (6, 4, 3, 3)),
    ("conv1d", {"dilation": 2, "padding": 2}, (4, 5, 40), (7, 5, 3)),
    ("conv3d", {"padding": 1}, (2, 3, 6, 7, 8), (4, 3, 3, 3, 3)),
    ("conv_transpose2d", {"stride": 2, "output_padding": 1}, (4, 6, 7, 8), (6, 5, 3, 3)),
    ("depthwise_conv2d", {"padding": 1}, (4, 6, 12, 12), (12, 1, 3, 3)),
]


def check_gradients(xp: ModuleType, name: str, settings: dict[str, Any], *shapes: Any) -> float:
    """Compare elements of the gradients with slopes; the largest error, in units of its bound.

    L = <conv(x, w) + b, g> is linear in each single element of x, w and b: adding 1 to one changes
    L by that element of the gradient, exactly but for rounding. The bound counts the roundings.
    """
    forward, backward = (getattr(mioconv, f"{name}_{what}") for what in ("forward", "backward"))
    rng = xp.random.RandomState(0)

    def random(shape: Any) -> Any:
        return rng.uniform(-1, 1, shape).astype(xp.float32)

    x, w = map(random, shapes)
    b = random(forward(x, w, **settings).shape[1])
    y = forward(x, w, b, **settings)
    g = random(y.shape)
    gradients = backward(x, g, w, **settings)

    # How far a float32 output may be off: terms of the longest sum, and their largest magnitude.
    largest = float(forward(abs(x) + 1, abs(w) + 1, abs(b) + 1, **settings).max())
    off = w.size // min(w.shape[:2]) * ROUNDOFF * largest
    worst = 0.0
    for place, gradient in enumerate(gradients):
        assert type(gradient) is type(x)
        for _ in range(5):
            element = tuple(int(rng.randint(size)) for size in gradient.shape)
            operands = [x, w, b]
            operands[place] = operands[place].copy()
            operands[place][element] += 1
            change = (forward(*operands, **settings) - y).astype(xp.float64)
            slope, touched = float((change * g).sum()), int((change != 0).sum())
            error = abs(slope - float(gradient[element]))
            worst = max(worst, error / (3 * max(touched, 1) * off))
    return worst


def learn_filter(xp: ModuleType, steps: int = 60) -> float:
    """Find the filter that made an image from another, by gradient descent; its largest error."""
    rng = xp.random.RandomState(1)
    x = rng.standard_normal((8, 1, 24, 24)).astype(xp.float32)
    wanted = rng.standard_normal((1, 1, 5, 5)).astype(xp.float32)
    target = mioconv.conv2d_forward(x, wanted, padding="same")
    w = xp.zeros_like(wanted)
    for _ in range(steps):
        error = mioconv.conv2d_forward(x, w, padding="same") - target
        w -= 0.5 * mioconv.conv2d_backward_weight(w.shape, error, x, padding="same") / x.size
    return float(abs(w - wanted).max())


def main(module: str = "cupy") -> None:
    try:
        xp = importlib.import_module(module)
    except ImportError as error:
        raise SystemExit(f"{module} cannot be imported ({error}); try: numpy") from None
    for case in CASES:
        error = check_gradients(xp, *case)
        print(f"{case[0]:18} gradients within {error:.1e} of the bound")
        if not error <= 1:
            raise SystemExit(f"{case[0]}: a gradient is wrong")
    error = learn_filter(xp)
    call = mioconv.last_call()
    provider = call.provider if call else None
    print(f"filter learned     to within {error:.1e}, by the {provider} provider")
    if not error < 1e-3:
        raise SystemExit("the filter was not found")


if __name__ == "__main__":
    main(*sys.argv[1:2])
