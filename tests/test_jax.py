"""JAX's arrays through DLPack, in and out, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.tensors import random_array
from helpers.tolerances import assert_same_bits

jax = pytest.importorskip("jax", reason="JAX is not installed")


@pytest.fixture(autouse=True)
def _on_the_cpu() -> Any:
    with jax.default_device(jax.devices("cpu")[0]):
        yield


def arrays() -> tuple[Any, Any]:
    return random_array((2, 4, 7, 6)), random_array((6, 2, 3, 3), seed=1)


def test_jax_forward() -> None:
    """The same bits as NumPy's arrays give; the result is read by JAX where it lies."""
    x, w = arrays()
    y = mioconv.conv2d_forward(*map(jax.numpy.asarray, (x, w)), padding=1, groups=2)
    assert type(y) is mioconv.Tensor
    back = jax.dlpack.from_dlpack(y)
    assert_same_bits(np.asarray(back), mioconv.conv2d_forward(x, w, padding=1, groups=2))
    assert back.unsafe_buffer_pointer() == np.from_dlpack(y).ctypes.data
    del y
    assert np.asarray(back).any()  # JAX keeps the memory


def test_jax_backward() -> None:
    """All gradients, against those that JAX itself derives."""
    x, w = arrays()
    dy = random_array((2, 6, 7, 6), seed=2)

    def convolution(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), [(1, 1), (1, 1)], feature_group_count=2,
            precision=jax.lax.Precision.HIGHEST,
        )  # fmt: skip

    _, pull = jax.vjp(convolution, x, w)
    found = mioconv.conv2d_backward(
        *map(jax.numpy.asarray, (x, dy, w)), padding=1, groups=2
    )  # fmt: skip
    # Sums of at most this many products of numbers below 1, in float32 on both sides.
    bound = 2 * dy[:, 0].size * dy[:, 0].size * 2.0**-24
    for got, exact in zip(found, (*pull(dy), dy.sum(axis=(0, 2, 3))), strict=True):
        np.testing.assert_allclose(
            np.asarray(jax.dlpack.from_dlpack(got)), exact, rtol=0, atol=bound
        )


def test_jax_bfloat16() -> None:
    x, w = (jax.numpy.asarray(a, dtype=jax.numpy.bfloat16) for a in arrays())
    back = jax.dlpack.from_dlpack(mioconv.conv2d_forward(x, w, groups=2))
    assert back.dtype == jax.numpy.bfloat16
    exact = mioconv.conv2d_forward(*(np.asarray(a) for a in (x, w)), groups=2)
    assert_same_bits(np.asarray(back), exact)
