"""Streams: which one is used, in which order, and that no call waits for the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.operators import FORWARD
from helpers.problems import Case
from helpers.tensors import random_array, to_numpy
from helpers.tolerances import assert_close

from .arrays import Kind

CASE = Case("streams", 2, 16, (24, 24), 16, (3, 3), 1, 1)
BUSY_MS = 100  # the calls between take far less, and nothing depends on how much


def make(kind: Kind) -> tuple[Any, Any, Any, Any]:
    x, w = random_array(CASE.input_shape), random_array(CASE.weight_shape, seed=1)
    # Chosen and compiled before, so that the calls below only queue.
    mioconv.conv2d_forward(kind.put(x), kind.put(w), padding=1)
    kind.synchronize()
    return x, w, kind.put(x), kind.put(w)


def test_the_producers_current_stream_is_used(kind: Kind) -> None:
    """Work queued before on the current stream ends before, and nothing is waited for."""
    x, w, device_x, device_w = make(kind)
    later = kind.put(np.zeros_like(x))
    out = kind.empty(CASE.output_shape)
    kind.synchronize()
    stream = kind.stream()
    with kind.on(stream):
        kind.wait(BUSY_MS)
        later[...] = device_x
        mioconv.conv2d_forward(later, device_w, padding=1, out=out)
        event = kind.event()
        assert not kind.done(event), "the call waited for the device"
    kind.synchronize()
    assert kind.done(event)
    assert_close(out, *FORWARD.expected(CASE, x, w))


def test_the_argument_overrides_it(kind: Kind) -> None:
    """`stream=` as an object and as a number: the order is that stream's."""
    x, w, device_x, device_w = make(kind)
    stream = kind.stream()
    for given in (stream, kind.handle(stream)):
        later = kind.put(np.zeros_like(x))
        out = kind.empty(CASE.output_shape)
        kind.synchronize()
        with kind.on(stream):
            kind.wait(BUSY_MS)
            later[...] = device_x
        mioconv.conv2d_forward(later, device_w, padding=1, out=out, stream=given)
        with kind.on(stream):
            event = kind.event()
        assert not kind.done(event)
        kind.synchronize()
        assert_close(out, *FORWARD.expected(CASE, x, w))


def test_every_operator_only_queues(kind: Kind) -> None:
    """Gradients, bias, fused and packed operands: none waits."""
    _, _, device_x, device_w = make(kind)
    dy = kind.put(random_array(CASE.output_shape, seed=2))
    bias = kind.put(random_array((CASE.k,), seed=3))
    strided = kind.put(np.swapaxes(np.zeros((2, 16, 24, 24), np.float32), 2, 3))

    def calls() -> None:
        mioconv.conv2d_forward(device_x, device_w, bias, padding=1)
        mioconv.conv2d_backward(device_x, dy, device_w, padding=1)
        mioconv.conv2d_relu_forward(device_x, device_w, bias, padding=1)
        mioconv.conv2d_add_relu_forward(device_x, device_w, dy, 0.5, bias, padding=1)
        mioconv.conv2d_forward(strided, device_w, padding=1)

    calls()
    calls()
    kind.synchronize()
    kind.wait(BUSY_MS)
    calls()
    event = kind.event()
    assert not kind.done(event)
    kind.synchronize()


def test_two_streams_do_not_share_scratch_memory(kind: Kind) -> None:
    """Calls that overlap on two streams, each with a workspace, keep to their own."""
    case = Case("overlap", 4, 32, (28, 28), 32, (3, 3), 1, 1)
    streams = [kind.stream(), kind.stream()]
    inputs = [random_array(case.input_shape, np.float16, seed) for seed in (1, 2)]
    w = random_array(case.weight_shape, np.float16, 3)
    device_w = kind.put(w)
    device = [kind.put(x) for x in inputs]
    results: list[list[Any]] = [[], []]
    kind.synchronize()
    for _ in range(50):
        for i, stream in enumerate(streams):
            with kind.on(stream):
                results[i].append(mioconv.conv2d_forward(device[i], device_w, padding=1))
    kind.synchronize()
    for x, got in zip(inputs, results, strict=True):
        value, bound = FORWARD.expected(case, x, w)
        for result in got:
            assert_close(result, value, bound)


def test_a_tensor_from_another_stream_by_dlpack(kind: Kind) -> None:
    """A bare producer is asked for its data on the stream of the call, as DLPack has it."""
    x, w, device_x, device_w = make(kind)
    side = kind.stream()
    late = kind.put(np.zeros_like(x))
    kind.synchronize()
    with kind.on(side):
        kind.wait(BUSY_MS)
        late[...] = device_x

    class Bare:
        """Hands out `late`, whose data is being made on another stream."""

        def __dlpack_device__(self) -> Any:
            return late.__dlpack_device__()

        def __dlpack__(self, *, stream: Any = None, **more: Any) -> Any:
            asked.append(stream)
            with kind.on(side):
                return late.__dlpack__(stream=stream, **more)

    asked: list[Any] = []
    out = mioconv.conv2d_forward(Bare(), Weight(device_w), padding=1)
    kind.synchronize()
    assert asked
    assert asked[0] not in (None, -1), "the producer must know the stream"
    assert_close(to_numpy_of(kind, out), *FORWARD.expected(CASE, x, w))


class Weight:
    """The weights with nothing but DLPack."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def __dlpack_device__(self) -> Any:
        return self.tensor.__dlpack_device__()

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.tensor.__dlpack__(**arguments)


def to_numpy_of(kind: Kind, tensor: Any) -> Any:
    """A mioconv.Tensor on the device, by way of the array library."""
    library = pytest.importorskip(kind.module)
    return to_numpy(library.from_dlpack(tensor))
