"""What a call costs beside the arithmetic: tiny problems, every operator against PyTorch's twin.

Input 1x1x4x4, kernel 3x3, one thread on both sides; the best of several repeats, in microseconds,
interleaved. `native_overhead.cpp` measures what lies below the Python call, part by part.
"""

from __future__ import annotations

import subprocess
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mioconv

from . import libraries

Function = Callable[[], object]
REPEATS = 15
CALLS = 2000


def best(functions: list[Function], repeats: int, calls: int) -> list[float]:
    """Microseconds a call of each: the least of several repeats, taken in turn."""
    found = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            found[i] = min(found[i], timeit.timeit(function, number=calls) / calls * 1e6)
    return found


def table(native: Path | None, quick: bool = False) -> str:
    """Measure and lay out; without PyTorch, mioconv alone."""
    libraries.use_threads(1)
    return "\n".join(_lines(native, *((1, 20) if quick else (REPEATS, CALLS))))


def _lines(native: Path | None, repeats: int, calls: int) -> Iterator[str]:
    with_torch = libraries.installed("torch")
    yield f"{'µs a call, one thread':36} mioconv  PyTorch  ratio"
    totals = {}
    for name, ours, theirs in _operators(with_torch):
        functions = [ours] if theirs is None else [ours, theirs]
        for function in functions:
            function()
        found = best(functions, repeats, calls)
        totals[name] = found[0]
        more = f"{found[1]:9.2f}  {found[0] / found[1]:5.2f}" if theirs is not None else ""
        yield f"{name:36} {found[0]:7.2f}{more}"
    if native is None:
        return
    done = subprocess.run([str(native)], capture_output=True, text=True, check=True)
    yield "\nbelow the Python call (bench/native_overhead.cpp):"
    yield done.stdout.rstrip()
    parts = dict(line.split("\t")[:2] for line in done.stdout.splitlines() if "\t" in line)
    below = sum(float(value) for name, value in parts.items() if name in BELOW)
    yield f"\n{'the breakdown of a forward call on NumPy arrays':50}µs"
    yield f"{'Python call, borrow, checks, layouts':50}{totals[OUT] - below:.2f}"
    for name in BELOW:
        yield f"{name:50}{float(parts[name]):.2f}"
    yield f"{'in all, with out=':50}{totals[OUT]:.2f}"
    yield f"{'wrap: a new array for the result':50}{totals[NEW] - totals[OUT]:.2f}"


OUT, NEW = "forward, NumPy, out=", "forward, NumPy"
SPELT = "the same, out= and six keywords"
# Parts of a call that the native benchmark measures one by one.
BELOW = ("key and look-up", "leases of handle and workspace", "choice", "execute")


def _operators(with_torch: bool) -> Iterator[tuple[str, Function, Function | None]]:
    """Every operator, with what PyTorch's users would write for it."""
    x, w = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 3, 3), np.float32)
    y, b = np.ones((1, 1, 2, 2), np.float32), np.ones(1, np.float32)
    (x1, w1), (x3, w3) = _line(x, w), _volume(x, w)
    m: Any = mioconv
    settings: dict[str, Any] = {
        "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "benchmark": True,
        "allow_tf32": False,
    }  # fmt: skip
    rows: list[tuple[str, Function, Function | None]] = [
        (OUT, lambda: m.conv2d_forward(x, w, out=y), None),
        (NEW, lambda: m.conv2d_forward(x, w), None),
        (SPELT, lambda: m.conv2d_forward(x, w, out=y, **settings), None),
        ("forward with bias", lambda: m.conv2d_forward(x, w, b, out=y), None),
        ("relu(forward)", lambda: m.conv2d_relu_forward(x, w, b, out=y), None),
        ("relu(forward + z)", lambda: m.conv2d_add_relu_forward(x, w, y, 1.0, b), None),
        ("backward input", lambda: m.conv2d_backward_input(x.shape, y, w), None),
        ("backward weight", lambda: m.conv2d_backward_weight(w.shape, y, x), None),
        ("backward bias", lambda: m.conv2d_backward_bias(y), None),
        ("backward, all three", lambda: m.conv2d_backward(x, y, w), None),
        ("transposed", lambda: m.conv_transpose2d_forward(y, w), None),
        ("transposed, backward input", lambda: m.conv_transpose2d_backward_input(x, w), None),
        (
            "transposed, backward weight",
            lambda: m.conv_transpose2d_backward_weight(w.shape, x, y),
            None,
        ),
        ("transposed, backward, all three", lambda: m.conv_transpose2d_backward(y, x, w), None),
        ("depthwise", lambda: m.depthwise_conv2d_forward(x, w), None),
        ("1-D forward", lambda: m.conv1d_forward(x1, w1), None),
        ("3-D forward", lambda: m.conv3d_forward(x3, w3), None),
    ]
    if not with_torch:
        yield from rows
        return
    twins = _twins(x, w, y, b)
    for name, ours, _ in rows:
        yield name, ours, twins[name]
    tx, tw, ty = (libraries.torch_tensor(array) for array in (x, w, y))
    yield "forward, PyTorch tensors, out=", lambda: m.conv2d_forward(tx, tw, out=ty), twins[OUT]
    yield "forward, PyTorch tensors", lambda: m.conv2d_forward(tx, tw), twins[NEW]


def _line(x: Any, w: Any) -> tuple[Any, Any]:
    """1-D operands out of 2-D ones."""
    return x[:, :, 0], w[:, :, 0]


def _volume(x: Any, w: Any) -> tuple[Any, Any]:
    """3-D operands out of 2-D ones."""
    return x[:, :, None], w[:, :, None]


def _twins(x: np.ndarray, w: np.ndarray, y: np.ndarray, b: np.ndarray) -> dict[str, Function]:
    import torch

    tx, tw, ty, tb = (torch.from_numpy(array) for array in (x, w, y, b))
    line, volume = _line(tx, tw), _volume(tx, tw)
    f: Any = torch.nn.functional
    ones, zeros = [1, 1], [0, 0]

    def gradients(mask: list[bool], transposed: bool = False) -> Function:
        source, result = (ty, tx) if transposed else (tx, ty)
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(
            result, source, tw, [1], ones, zeros, ones, transposed, zeros, 1, mask
        )

    def forward() -> object:
        return f.conv2d(tx, tw)

    return {
        OUT: forward,
        NEW: forward,
        SPELT: lambda: f.conv2d(tx, tw, None, (1, 1), (0, 0), (1, 1), 1),
        "forward with bias": lambda: f.conv2d(tx, tw, tb),
        "relu(forward)": lambda: f.relu(f.conv2d(tx, tw, tb)),
        "relu(forward + z)": lambda: f.relu(f.conv2d(tx, tw, tb) + ty),
        "backward input": gradients([True, False, False]),
        "backward weight": gradients([False, True, False]),
        "backward bias": lambda: ty.sum((0, 2, 3)),
        "backward, all three": gradients([True, True, True]),
        "transposed": lambda: f.conv_transpose2d(ty, tw),
        "transposed, backward input": gradients([True, False, False], True),
        "transposed, backward weight": gradients([False, True, False], True),
        "transposed, backward, all three": gradients([True, True, True], True),
        "depthwise": forward,
        "1-D forward": lambda: f.conv1d(*line),
        "3-D forward": lambda: f.conv3d(*volume),
    }
