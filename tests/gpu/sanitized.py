"""A little of everything, for compute-sanitizer: one process, no test runner.

Results are compared too, so that a run that computed nothing does not pass.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import mioconv
from gpu.arrays import Cupy
from helpers.operators import BACKWARD, FORWARD
from helpers.problems import CASES, Case
from helpers.tensors import LAYOUTS, random_array
from helpers.tolerances import assert_close

NAMES = {"2d-odd-channels", "2d-uneven", "2d-groups", "2d-depthwise", "3d-uneven", "2d-stem"}


def main() -> None:
    kind = Cupy()
    cases = [c for c in CASES if c.name in NAMES]
    cases.append(Case("wide", 2, 72, (17, 19), 40, (3, 3), 1, 1))
    for case in cases:
        for dtype in (np.float32, np.float16):
            for layout in ("packed", "channels_last"):
                for op in (FORWARD, *BACKWARD):
                    first, second = op.shapes(case)
                    a = LAYOUTS[layout](random_array(first, dtype))
                    b = LAYOUTS[layout](random_array(second, dtype, 1))
                    result = op(case, kind.put(a), kind.put(b))
                    assert_close(result, *op.expected(case, a, b))
    x = kind.put(random_array((2, 16, 9, 9)))
    w, bias = kind.put(random_array((16, 16, 3, 3))), kind.put(random_array((16,)))
    y = mioconv.conv2d_forward(x, w, bias, padding=1)
    mioconv.conv2d_relu_forward(x, w, bias, padding=1)
    mioconv.conv2d_add_relu_forward(x, w, y, 0.5, bias, padding=1)
    mioconv.conv2d_backward(x, y, w, padding=1)
    kind.synchronize()
    print("ran", len(cases), "problems")


if __name__ == "__main__":
    main()
