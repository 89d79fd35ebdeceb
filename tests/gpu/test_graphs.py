"""CUDA graphs: prepared plans are captured and replayed; what is not prepared says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.operators import FORWARD
from helpers.problems import Case
from helpers.tensors import LAYOUTS, random_array
from helpers.tolerances import assert_close

from .arrays import Kind, Torch

CASE = Case("graph", 4, 32, (16, 16), 32, (3, 3), 1, 1)


class Graph:
    """Capture and replay in either array library."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.stream = kind.stream()

    def __enter__(self) -> Graph:
        self.kind.synchronize()
        if isinstance(self.kind, Torch):
            self.graph: Any = self.kind.torch.cuda.CUDAGraph()
            self.context = self.kind.torch.cuda.graph(self.graph, stream=self.stream)
            self.context.__enter__()
        else:
            self.stream.__enter__()
            self.stream.begin_capture()
        return self

    def __exit__(self, *error: Any) -> None:
        if isinstance(self.kind, Torch):
            self.context.__exit__(*error)
        else:
            self.graph = self.stream.end_capture()
            self.stream.__exit__(*error)

    def replay(self) -> None:
        if isinstance(self.kind, Torch):
            self.graph.replay()
        else:
            self.graph.launch(self.stream)
        self.kind.synchronize()


@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_plan_is_captured(kind: Kind, dtype: Any, layout: str) -> None:
    x, w = (LAYOUTS[layout](random_array(s, dtype)) for s in (CASE.input_shape, CASE.weight_shape))
    device_x, device_w = kind.put(x), kind.put(w)
    out = kind.put(LAYOUTS[layout](np.zeros(CASE.output_shape, dtype)))
    graph = Graph(kind)
    problem = mioconv.Problem(
        "forward", CASE.input_shape, CASE.weight_shape, np.dtype(dtype).name, padding=1,
        layout=layout, device="cuda",
    )  # fmt: skip
    plan = mioconv.plan(problem)
    kind.synchronize()
    with graph:
        plan(device_x, device_w, out=out)
    for seed in (5, 6):
        values = LAYOUTS[layout](random_array(CASE.input_shape, dtype, seed))
        device_x[...] = kind.put(values)
        graph.replay()
        assert_close(out, *FORWARD.expected(CASE, values, w))


def test_what_is_prepared_is_captured_by_the_function(kind: Kind) -> None:
    x, w = (random_array(s, np.float16) for s in (CASE.input_shape, CASE.weight_shape))
    device_x, device_w = kind.put(x), kind.put(w)
    out = kind.put(np.zeros(CASE.output_shape, np.float16))
    graph = Graph(kind)
    with kind.on(graph.stream):
        mioconv.conv2d_forward(device_x, device_w, padding=1, out=out)
    with graph:
        mioconv.conv2d_forward(device_x, device_w, padding=1, out=out)
    out[...] = 0
    graph.replay()
    assert_close(out, *FORWARD.expected(CASE, x, w))


def test_what_is_not_prepared_is_refused(kind: Kind) -> None:
    """The error is the documented one, and the capture goes on as if nothing had been."""
    case = Case("new", 3, 24, (15, 17), 40, (3, 3), 1, 1)
    x, w = (random_array(s, np.float16) for s in (case.input_shape, case.weight_shape))
    device_x, device_w = kind.put(x), kind.put(w)
    ready_x = kind.put(random_array(CASE.input_shape, np.float16))
    ready_w = kind.put(random_array(CASE.weight_shape, np.float16))
    out = kind.put(np.zeros(CASE.output_shape, np.float16))
    unready = kind.put(np.zeros(case.output_shape, np.float16))
    mioconv.cache_clear()  # this test with another array library has prepared the case
    graph = Graph(kind)
    with kind.on(graph.stream):
        expected = mioconv.conv2d_forward(ready_x, ready_w, padding=1)
    with graph:
        with pytest.raises(mioconv.CaptureError):
            mioconv.conv2d_forward(device_x, device_w, padding=1, out=unready)
        with pytest.raises(mioconv.CaptureError):
            mioconv.conv2d_forward(device_x, device_w, padding=1, out=unready, benchmark=True)
        mioconv.conv2d_forward(ready_x, ready_w, padding=1, out=out)
    graph.replay()
    assert bool((out == expected).all())
    mioconv.conv2d_forward(device_x, device_w, padding=1, out=unready)
    assert_close(unready, *FORWARD.expected(case, x, w))
