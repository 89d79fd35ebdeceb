"""Several GPUs in one process."""

from __future__ import annotations

import numpy as np
import pytest

import mioconv
from helpers.operators import FORWARD
from helpers.problems import Case
from helpers.tensors import random_array
from helpers.tolerances import assert_close

from .arrays import Kind, Torch

CASE = Case("devices", 2, 16, (12, 12), 16, (3, 3), 1, 1)
COUNT = len(mioconv.providers()["cuda"].devices)
several = pytest.mark.skipif(COUNT < 2, reason="needs two GPUs")


def current(kind: Kind) -> int:
    if isinstance(kind, Torch):
        return int(kind.torch.cuda.current_device())
    return int(kind.cupy.cuda.runtime.getDevice())


def device_of(kind: Kind, array: object) -> int:
    if isinstance(kind, Torch):
        return int(array.device.index)  # type: ignore[attr-defined]
    return int(array.device.id)  # type: ignore[attr-defined]


@several
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_each_device_has_its_own(kind: Kind, dtype: type) -> None:
    """Tensors on any device while the first is current; in turns, with scratch memory."""
    x, w = random_array(CASE.input_shape, dtype), random_array(CASE.weight_shape, dtype)
    bias = random_array((CASE.k,), dtype)
    on = [[kind.put(a, device) for a in (x, w, bias)] for device in range(COUNT)]
    for _ in range(3):
        for device, (device_x, device_w, device_bias) in enumerate(on):
            result = mioconv.conv2d_forward(device_x, device_w, device_bias, padding=1)
            assert device_of(kind, result) == device
            assert current(kind) == 0, "the caller's device was changed"
            assert_close(result, *FORWARD.expected(CASE, x, w, bias))


@several
def test_mixed_devices_are_refused(kind: Kind) -> None:
    x, w = kind.put(random_array(CASE.input_shape)), kind.put(random_array(CASE.weight_shape), 1)
    with pytest.raises(ValueError, match="device"):
        mioconv.conv2d_forward(x, w, padding=1)
    w = kind.put(random_array(CASE.weight_shape))
    with pytest.raises(ValueError, match="device"):
        mioconv.conv2d_forward(
            x, w, padding=1, out=kind.put(np.zeros(CASE.output_shape, np.float32), 1)
        )


@several
def test_benchmark_on_the_second_device(kind: Kind) -> None:
    x, w = random_array(CASE.input_shape, np.float16), random_array(CASE.weight_shape, np.float16)
    result = mioconv.conv2d_forward(kind.put(x, 1), kind.put(w, 1), padding=1, benchmark=True)
    assert_close(result, *FORWARD.expected(CASE, x, w))


def test_host_and_device_are_refused_together(kind: Kind) -> None:
    with pytest.raises((ValueError, TypeError)):
        mioconv.conv2d_forward(kind.put(random_array(CASE.input_shape)),
                               random_array(CASE.weight_shape), padding=1)  # fmt: skip
