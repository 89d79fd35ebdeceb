"""What a call costs beside the arithmetic: tiny problems, each operator against PyTorch's twin.

    python bench/overhead.py

Needs PyTorch. Input 1x1x4x4, kernel 3x3, one thread on both sides; the best of several repeats, in
microseconds, interleaved. `bench/native_overhead.cpp` measures the native call alone.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

import numpy as np
import torch

import mioconv

REPEATS = 15
CALLS = 2000


def best(functions: list[Callable[[], object]]) -> list[float]:
    """Microseconds a call of each: the least of several repeats, taken in turn."""
    found = [float("inf")] * len(functions)
    for _ in range(REPEATS):
        for i, function in enumerate(functions):
            found[i] = min(found[i], timeit.timeit(function, number=CALLS) / CALLS * 1e6)
    return found


def main() -> None:
    torch.set_num_threads(1)
    mioconv.set_flags(num_threads=1)
    x, w = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 3, 3), np.float32)
    y, b = np.empty((1, 1, 2, 2), np.float32), np.ones(1, np.float32)
    tx, tw, ty, tb = (torch.from_numpy(array) for array in (x, w, y, b))
    functional = torch.nn.functional
    backward = torch.ops.aten.convolution_backward

    def gradients(mask: list[bool]) -> object:
        ones, zeros = [1, 1], [0, 0]
        return backward(ty, tx, tw, [1], ones, zeros, ones, False, zeros, 1, mask)

    def forward() -> object:
        return functional.conv2d(tx, tw)

    m = mioconv
    rows: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("forward, NumPy, out=", lambda: m.conv2d_forward(x, w, out=y), forward),
        ("forward, NumPy", lambda: m.conv2d_forward(x, w), forward),
        ("forward, PyTorch tensors", lambda: m.conv2d_forward(tx, tw), forward),
        ("forward with bias, NumPy", lambda: m.conv2d_forward(x, w, b, out=y),
         lambda: functional.conv2d(tx, tw, tb)),
        ("relu(forward), NumPy", lambda: m.conv2d_relu_forward(x, w, b, out=y),
         lambda: functional.relu(functional.conv2d(tx, tw, tb))),
        ("backward input, NumPy", lambda: m.conv2d_backward_input(x.shape, y, w),
         lambda: gradients([True, False, False])),
        ("backward weight, NumPy", lambda: m.conv2d_backward_weight(w.shape, y, x),
         lambda: gradients([False, True, False])),
        ("backward, all three, NumPy", lambda: m.conv2d_backward(x, y, w),
         lambda: gradients([True, True, True])),
        ("transposed, NumPy", lambda: m.conv_transpose2d_forward(y, w),
         lambda: functional.conv_transpose2d(ty, tw)),
    ]  # fmt: skip
    print(f"{'':28} mioconv  PyTorch  ratio")
    for name, ours, theirs in rows:
        ours(), theirs()
        a, b_ = best([ours, theirs])
        print(f"{name:28} {a:7.2f}  {b_:7.2f}  {a / b_:5.2f}")


if __name__ == "__main__":
    main()
