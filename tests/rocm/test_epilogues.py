"""What follows a convolution, and copies: right where MIOpen's own calls are not.

MIOpen answers 0 and computes wrong numbers for a bias, its gradient and a sum on channels-last
tensors and for fused operations with groups; copies of half types read their scalars in the
tensors' dtype, and their target. The stand-in does all of that as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import operators, reference
from helpers.checks import operands, random_bias
from helpers.operators import Expected, Operator
from helpers.problems import CASES, TRANSPOSED_CASES, Case
from helpers.rocm import CupyArray, Tensor, read
from helpers.tensors import DTYPES, LAYOUTS, random_array
from helpers.tolerances import assert_close, error_bound

FORWARD_NAMES = {"1d", "2d-uneven", "2d-groups", "2d-depthwise", "3d", "3d-groups"}
FORWARD_CASES = [c for c in CASES if c.name in FORWARD_NAMES]
PLAIN_CASES = [c for c in CASES if c.name in {"1d", "2d", "3d"}]
TRANSPOSED = [c for c in TRANSPOSED_CASES if c.name in {"t1d", "t2d-strided", "t2d-groups", "t3d"}]
both_layouts = pytest.mark.parametrize("layout", ["packed", "channels_last", "sliced"])
by_dtype = pytest.mark.parametrize("dtype", DTYPES)
# A bare object has no operations of its own, so that there the native library's are seen.
by_kind = pytest.mark.parametrize("wrap", [Tensor, CupyArray])


def refused(standin: Any, wrap: Any, dtype: Any) -> bool:
    """MIOpen has none of these steps in bfloat16, and a bare object has no second way."""
    bfloat16 = np.dtype(dtype).name == "bfloat16"
    if standin is not None:
        standin.set(refuse_bfloat16=1, fusion=int(bfloat16))
    return wrap is Tensor and bfloat16


def given(wrap: Any, layout: str, *arrays: Any) -> list[Any]:
    return [wrap(LAYOUTS[layout](a) if a.ndim > 1 else a) for a in arrays]


@by_dtype
@both_layouts
@by_kind
@pytest.mark.parametrize(
    ("op", "case"),
    [
        *((operators.FORWARD, c) for c in FORWARD_CASES),
        *((operators.DEPTHWISE_FORWARD, c) for c in FORWARD_CASES if "depthwise" in c.name),
        *((operators.TRANSPOSE_FORWARD, c) for c in TRANSPOSED),
    ],
    ids=str,
)
def test_bias(
    standin: Any, cupy: Any, expect: Callable[..., Expected], op: Operator, case: Case,
    wrap: Any, layout: str, dtype: Any,
) -> None:  # fmt: skip
    a, b = operands(op, case, dtype)
    bias = random_bias(case, dtype)
    x, w, given_bias = given(wrap, layout, a, b, bias)
    call = lambda: op(case, x, w, bias=given_bias)  # noqa: E731
    if refused(standin, wrap, dtype):
        with pytest.raises(mioconv.UnsupportedError, match="PyTorch or CuPy"):
            call()
        return
    assert_close(read(call()), *expect(op, case, a, b, bias))


@by_dtype
@both_layouts
@by_kind
@pytest.mark.parametrize("case", FORWARD_CASES, ids=str)
def test_bias_gradient(
    standin: Any, cupy: Any, case: Case, wrap: Any, layout: str, dtype: Any
) -> None:
    g = random_array(case.output_shape, dtype)
    (gradient,) = given(wrap, layout, g)
    call = lambda: getattr(mioconv, f"conv{case.rank}d_backward_bias")(gradient)  # noqa: E731
    if refused(standin, wrap, dtype):
        with pytest.raises(mioconv.UnsupportedError, match="PyTorch or CuPy"):
            call()
        return
    axes = (0, *range(2, g.ndim))
    wide = g.astype(np.float64)
    value, magnitude = wide.sum(axis=axes), np.abs(wide).sum(axis=axes)
    bound = error_bound(dtype, np.abs(value), magnitude, case.backward_bias_length)
    assert_close(read(call()), value, bound)


@by_dtype
@both_layouts
@by_kind
@pytest.mark.parametrize("with_bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("with_z", [False, True], ids=["relu", "add_relu"])
@pytest.mark.parametrize("case", FORWARD_CASES, ids=str)
def test_relu_and_sum(
    standin: Any, cupy: Any, case: Case, with_z: bool, with_bias: bool, wrap: Any, layout: str,
    dtype: Any,
) -> None:  # fmt: skip
    x, w = operands(operators.FORWARD, case, dtype)
    z = random_array(case.output_shape, dtype, 11)
    bias = random_bias(case, dtype)
    tensors = given(wrap, layout, x, w, z, bias)
    after = [tensors[3]] if with_bias else []

    def call() -> Any:
        if with_z:
            add = getattr(mioconv, f"conv{case.rank}d_add_relu_forward")
            return add(*tensors[:3], 0.5, *after, **case.settings)
        relu = getattr(mioconv, f"conv{case.rank}d_relu_forward")
        return relu(*tensors[:2], *after, **case.settings)

    if refused(standin, wrap, dtype):
        with pytest.raises(mioconv.UnsupportedError, match="PyTorch or CuPy"):
            call()
        return
    parts = [x, w, *([bias] if with_bias else [])]
    value = reference.conv_forward(*parts, **case.settings)
    magnitude = reference.conv_forward(*(np.abs(p.astype("f8")) for p in parts), **case.settings)
    if with_z:
        value = value + 0.5 * z.astype("f8")
        magnitude = magnitude + 0.5 * np.abs(z.astype("f8"))
    # The convolution, and the bias and the sum where they are steps of their own.
    bound = error_bound(
        dtype, np.abs(value), magnitude, case.forward_length + 3,
        stored_between=with_z + with_bias,
    )  # fmt: skip
    assert_close(read(call()), reference.relu(value), bound)


# --- copies ---------------------------------------------------------------------------------------


@by_dtype
@by_kind
@pytest.mark.parametrize("layout", ["sliced", "transposed_spatial"])
@pytest.mark.parametrize(
    "case", [c for c in FORWARD_CASES if c.name in {"1d", "2d", "3d"}], ids=str
)
def test_strided(
    standin: Any, cupy: Any, expect: Callable[..., Expected], case: Case, wrap: Any, layout: str,
    dtype: Any,
) -> None:  # fmt: skip
    """Copies in and out, onto memory that holds NaN."""
    op = operators.FORWARD
    a, b = operands(op, case, dtype)
    out = LAYOUTS[layout](np.full(op.result_shape(case), np.nan, dtype))
    x, w = given(wrap, layout, a, b)
    expected = expect(op, case, a, b)
    assert_close(read(op(case, x, w)), *expected)
    op(case, x, w, out=wrap(out))
    assert_close(out, *expected)


@by_dtype
@by_kind
def test_mixed_layouts(
    standin: Any, cupy: Any, expect: Callable[..., Expected], wrap: Any, dtype: Any
) -> None:
    op = operators.FORWARD
    case = next(c for c in PLAIN_CASES if c.name == "2d")
    a, b = operands(op, case, dtype)
    for first, second in (("packed", "channels_last"), ("channels_last", "packed")):
        got = op(case, wrap(LAYOUTS[first](a)), wrap(LAYOUTS[second](b)))
        assert_close(read(got), *expect(op, case, a, b))


@by_dtype
@by_kind
def test_same_with_an_even_kernel(standin: Any, cupy: Any, wrap: Any, dtype: Any) -> None:
    x, w = random_array((2, 3, 7, 6), dtype), random_array((4, 3, 2, 4), dtype, 1)
    got = read(mioconv.conv2d_forward(wrap(x), wrap(w), padding="same"))
    wide = np.pad(x, ((0, 0), (0, 0), (0, 1), (1, 2)))
    value = reference.conv_forward(wide, w)
    magnitude = reference.conv_forward(np.abs(wide.astype("f8")), np.abs(w.astype("f8")))
    assert_close(got, value, error_bound(dtype, np.abs(value), magnitude, 24))
