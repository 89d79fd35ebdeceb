"""Runs every solution of some problems while signals arrive, and prints how many handlers found
themselves off their thread's stack; run by the test.

    python every_solution.py LIBRARY DTYPE
"""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Any

import ml_dtypes
import numpy as np

import mioconv

SECONDS = 0.015  # of runs of one solution
MICROSECONDS = 100  # between two signals

# Input, weight, settings: a plain layer, a pointwise one, a first one, a grouped, a depthwise one.
PROBLEMS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 64, 28, 28), (64, 64, 3, 3), {"padding": 1}),
    ((2, 64, 28, 28), (64, 64, 1, 1), {}),
    ((2, 3, 56, 56), (32, 3, 7, 7), {"padding": 3, "stride": 2}),
    ((2, 32, 28, 28), (32, 16, 3, 3), {"padding": 1, "groups": 2}),
    ((2, 64, 28, 28), (64, 1, 3, 3), {"padding": 1, "groups": 64}),
]


def zeros(shape: tuple[int, ...], dtype: Any, channels_last: bool) -> np.ndarray:
    if channels_last:
        return np.zeros((shape[0], *shape[2:], shape[1]), dtype).transpose(0, 3, 1, 2)
    return np.zeros(shape, dtype)


def main() -> None:
    library = ctypes.CDLL(sys.argv[1])
    dtype = ml_dtypes.bfloat16 if sys.argv[2] == "bfloat16" else sys.argv[2]
    seen: dict[str, list[int]] = {}
    assert library.start(MICROSECONDS) == 0
    for channels_last in (False, True):
        for x_shape, w_shape, settings in PROBLEMS:
            x, w = (zeros(shape, dtype, channels_last) for shape in (x_shape, w_shape))
            y = mioconv.conv2d_forward(x, w, **settings)
            calls = {
                "forward": (mioconv.conv2d_forward, (x, w)),
                "backward_input": (mioconv.conv2d_backward_input, (x_shape, y, w)),
                "backward_weight": (mioconv.conv2d_backward_weight, (w_shape, y, x)),
            }
            for direction, (function, operands) in calls.items():
                problem = mioconv.Problem.from_tensors(direction, x, w, **settings)
                for solution in mioconv.find_solutions(problem):
                    end = time.monotonic() + SECONDS
                    while time.monotonic() < end:
                        function(*operands, **settings, solution=solution.id)
                    found = seen.setdefault(solution.name, [0, 0])
                    found[0] += library.take_handled()
                    found[1] += library.take_astray()
    library.stop()
    for name, (handled, astray) in sorted(seen.items()):
        print(name, handled, astray)


if __name__ == "__main__":
    main()
