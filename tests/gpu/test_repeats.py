"""Calls on the same memory again and again: what is kept from one for the next must not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import operands
from helpers.operators import BACKWARD, FORWARD, Operator
from helpers.problems import Case
from helpers.tensors import DTYPES, LAYOUTS

from .arrays import Kind
from .test_operators import close

CASES = [
    Case("plain", 2, 32, (9, 11), 24, (3, 3), 1, 1),
    Case("pointwise", 2, 40, (7, 7), 64, (1, 1), 1, 0),
    Case("odd", 2, 5, (8, 9), 6, (3, 2), (2, 1), (1, 0)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("op", [FORWARD, *BACKWARD], ids=str)
def test_calls_that_come_again(kind: Kind, op: Operator, layout: str, dtype: Any) -> None:
    """Other numbers in the same memory, by every solution, on two streams."""
    if not kind.has(dtype):
        pytest.skip(f"{kind.name} has no such array")
    for case in CASES:
        problem = mioconv.Problem(
            op.name, case.input_shape, case.weight_shape, np.dtype(dtype).name, **case.settings,
            layout=layout, device="cuda",
        )  # fmt: skip
        rounds = [
            tuple(LAYOUTS[layout](t) for t in operands(op, case, dtype, seed))
            for seed in range(0, 8, 2)
        ]
        first, second = (kind.put(t) for t in rounds[0])
        empty = LAYOUTS[layout](np.full(op.result_shape(case), np.nan, dtype))
        out = kind.put(empty)
        for solution in mioconv.find_solutions(problem):
            for stream in (None, kind.stream()):
                for a, b in rounds:
                    first[...] = kind.put(a)
                    second[...] = kind.put(b)
                    out[...] = kind.put(empty)
                    kind.synchronize()
                    if stream is None:
                        op(case, first, second, out=out, solution=solution.id)
                    else:
                        with kind.on(stream):
                            op(case, first, second, out=out, solution=solution.id)
                    kind.synchronize()
                    close(op, case, out, a, b)


def test_more_memory_than_is_kept(kind: Kind) -> None:
    """Layers of one shape, each with its own weights and results, in turns."""
    case = CASES[0]
    x, _ = operands(FORWARD, case, np.float16)
    device_x = kind.put(x)
    weights = [operands(FORWARD, case, np.float16, seed)[1] for seed in range(12)]
    layers = [(w, kind.put(w)) for w in weights]
    results = [kind.put(np.full(case.output_shape, np.nan, np.float16)) for _ in layers]
    for _ in range(3):
        for (host, w), out in zip(layers, results, strict=True):
            out[...] = 0
            FORWARD(case, device_x, w, out=out)
            close(FORWARD, case, out, x, host)
