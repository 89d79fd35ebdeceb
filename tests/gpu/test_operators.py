"""Every operator on device tensors against the float64 reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mioconv
from helpers import reference
from helpers.checks import operands, random_bias
from helpers.operators import (
    BACKWARD,
    DEPTHWISE_BACKWARD,
    DEPTHWISE_FORWARD,
    FORWARD,
    TRANSPOSE_BACKWARD,
    TRANSPOSE_FORWARD,
    Operator,
)
from helpers.problems import CASES, FEW, Case, valid_cases
from helpers.tensors import DTYPES, LAYOUTS, is_channels_last, random_array, to_numpy
from helpers.tolerances import assert_close, error_bound

from .arrays import Kind

OPERATORS = [
    FORWARD, *BACKWARD, TRANSPOSE_FORWARD, *TRANSPOSE_BACKWARD, DEPTHWISE_FORWARD,
    *DEPTHWISE_BACKWARD,
]  # fmt: skip
EACH = [pytest.param(op, case, id=f"{op}-{case}") for op in OPERATORS for case in op.cases]
# How much larger an element's error may be where an algorithm mixes elements before it sums them;
# the factors of Winograd's 6x6 tiles and of an FFT of a few thousand points are below it.
TRANSFORMS = 32.0


def close(op: Operator, case: Case, got: Any, a: Any, b: Any, bias: Any = None) -> None:
    """Within the bound of what ran: a transform mixes elements, plain sums do not."""
    value, bound = op.expected(case, a, b, bias)
    name = mioconv.last_call().solution_name or ""
    if "winograd" in name or "fft" in name:
        magnitude = np.abs(op.exact(case, np.abs(a), np.abs(b)))
        bound = bound + error_bound(
            a.dtype, np.abs(value), magnitude, op.length(case), amplification=TRANSFORMS
        )
    assert_close(got, value, bound)


def run(
    kind: Kind, op: Operator, case: Case, dtype: Any, layouts: tuple[str, str],
    bias: bool = False, **more: Any,
) -> Any:  # fmt: skip
    a, b = (LAYOUTS[name](t) for name, t in zip(layouts, operands(op, case, dtype), strict=True))
    if not (kind.has(dtype, a) and kind.has(dtype, b)):
        pytest.skip(f"{kind.name} has no such array")
    given_bias = random_bias(case, dtype) if bias else None
    if bias:
        more["bias"] = kind.put(given_bias)
    result = op(case, kind.put(a), kind.put(b), **more)
    assert kind.is_mine(result)
    assert tuple(result.shape) == op.result_shape(case)
    assert to_numpy(result).dtype == dtype
    close(op, case, result, a, b, given_bias)
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize(("op", "case"), EACH)
def test_against_reference(kind: Kind, op: Operator, case: Case, layout: str, dtype: Any) -> None:
    result = run(kind, op, case, dtype, (layout, layout))
    if layout == "packed":
        assert not is_channels_last_only(result)


def is_channels_last_only(a: Any) -> bool:
    host = to_numpy(a)
    return is_channels_last(host) and not host.flags.c_contiguous


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "packed"])
@pytest.mark.parametrize("op", OPERATORS[:3], ids=str)
def test_layouts(kind: Kind, op: Operator, layout: str, dtype: Any) -> None:
    """Any memory order of either operand, and of both."""
    for case in FEW:
        for pair in ((layout, "packed"), ("packed", layout), (layout, layout)):
            run(kind, op, case, dtype, pair)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("op", [FORWARD, TRANSPOSE_FORWARD], ids=str)
def test_bias(kind: Kind, op: Operator, layout: str, dtype: Any) -> None:
    for case in op.cases:
        run(kind, op, case, dtype, (layout, layout), bias=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last", "byte_offset"])
@pytest.mark.parametrize("op", OPERATORS[:3], ids=str)
def test_every_solution(kind: Kind, op: Operator, layout: str, dtype: Any) -> None:
    for case in FEW:
        a, b = (LAYOUTS[layout](t) for t in operands(op, case, dtype))
        if not kind.has(dtype, a):
            pytest.skip(f"{kind.name} has no such array")
        first, second = kind.put(a), kind.put(b)
        problem = mioconv.Problem(
            op.name, case.input_shape, case.weight_shape, np.dtype(dtype).name, **case.settings,
            layout="channels_last" if layout == "channels_last" else "packed", device="cuda",
        )  # fmt: skip
        solutions = mioconv.find_solutions(problem)
        assert solutions
        ran = 0
        for solution in solutions:
            try:
                result = op(case, first, second, solution=solution.id)
            except mioconv.StatusError:
                # An engine may refuse addresses that are aligned to an element only.
                assert layout == "byte_offset", solution.name
                continue
            ran += 1
            close(op, case, result, a, b)
        assert ran > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fused(kind: Kind, case: Case, layout: str, dtype: Any) -> None:
    if not kind.has(dtype):
        pytest.skip(f"{kind.name} has no such array")
    x, w = (LAYOUTS[layout](t) for t in operands(FORWARD, case, dtype))
    z = LAYOUTS[layout](random_array(case.output_shape, dtype, 11))
    bias = random_bias(case, dtype)
    relu = getattr(mioconv, f"conv{case.rank}d_relu_forward")
    add_relu = getattr(mioconv, f"conv{case.rank}d_add_relu_forward")
    on = {id(a): kind.put(a) for a in (x, w, z, bias)}

    def expected(b: Any, alpha: float) -> tuple[Any, Any]:
        value = reference.conv_forward(x, w, b, **case.settings)
        wide = [None if a is None else np.abs(a.astype(np.float64)) for a in (x, w, b)]
        magnitude = reference.conv_forward(*wide, **case.settings)
        value = value + alpha * z.astype(np.float64)
        magnitude = magnitude + abs(alpha) * np.abs(z.astype(np.float64))
        bound = error_bound(
            dtype, np.abs(value), magnitude, case.forward_length + 3, stored_between=2
        )
        return reference.relu(value), bound

    for b in (None, bias):
        given_bias = None if b is None else on[id(b)]
        got = relu(on[id(x)], on[id(w)], given_bias, **case.settings)
        assert_close(got, *expected(b, 0))
        for alpha in (1.0, 0.5):
            got = add_relu(on[id(x)], on[id(w)], on[id(z)], alpha, given_bias, **case.settings)
            assert_close(got, *expected(b, alpha))
    assert to_numpy(on[id(z)]).tobytes() == to_numpy(kind.put(z)).tobytes(), "z was written"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
def test_backward_gives_three(kind: Kind, layout: str, dtype: Any) -> None:
    if not kind.has(dtype):
        pytest.skip(f"{kind.name} has no such array")
    for case in FEW:
        x, w = (LAYOUTS[layout](t) for t in operands(FORWARD, case, dtype))
        dy = LAYOUTS[layout](random_array(case.output_shape, dtype, 5))
        function = getattr(mioconv, f"conv{case.rank}d_backward")
        dx, dw, db = function(kind.put(x), kind.put(dy), kind.put(w), **case.settings)
        for op, got, pair in ((BACKWARD[0], dx, (dy, w)), (BACKWARD[1], dw, (dy, x))):
            value, bound = op.expected(case, *pair)
            assert_close(got, value, bound)
        axes = (0, *range(2, dy.ndim))
        wide = dy.astype(np.float64)
        length = dy.size // dy.shape[1]
        total = wide.sum(axes)
        bound = error_bound(dtype, np.abs(total), np.abs(wide).sum(axes), length)
        assert_close(db, total, bound)


@pytest.mark.parametrize("op", OPERATORS[:3], ids=str)
def test_out(kind: Kind, op: Operator) -> None:
    """`out` is returned itself, whatever its layout, and nothing beside it is written."""
    for case in FEW:
        a, b = operands(op, case)
        first, second = kind.put(a), kind.put(b)
        for layout in ("packed", "channels_last", "sliced", "byte_offset"):
            host = LAYOUTS[layout](np.full(op.result_shape(case), np.nan, np.float32))
            out = kind.put(host)
            assert op(case, first, second, out=out) is out, layout
            close(op, case, out, a, b)


def test_empty_and_missing_batch(kind: Kind) -> None:
    x, w = random_array((2, 3, 6, 6)), random_array((4, 3, 3, 3))
    device_x, device_w = kind.put(x), kind.put(w)
    assert tuple(mioconv.conv2d_forward(device_x[:0], device_w).shape) == (0, 4, 4, 4)
    one = mioconv.conv2d_forward(device_x[0], device_w)
    assert tuple(one.shape) == (4, 4, 4)
    assert_close(one[None], *FORWARD.expected(Case("one", 1, 3, (6, 6), 4, (3, 3)), x[:1], w))


@settings(max_examples=25)
@given(case=valid_cases(), data=st.data())
def test_drawn(case: Case, data: st.DataObject, kind: Kind) -> None:
    """Random problems, dtypes and layouts."""
    op = data.draw(st.sampled_from(OPERATORS[:3]))
    dtypes = [p.values[0] for p in DTYPES if p.values[0] is not None and kind.has(p.values[0])]
    dtype = data.draw(st.sampled_from(dtypes))
    names = [n for n in sorted(LAYOUTS) if n != "negative_stride"]
    run(kind, op, case, dtype, (data.draw(st.sampled_from(names)),) * 2)


def test_tf32_only_where_it_is_allowed(kind: Kind) -> None:
    """The flag decides: without it float32 keeps float32's accuracy, with it TF32's may come."""
    case = Case("wide", 8, 64, (28, 28), 64, (3, 3), 1, 1)
    a, b = (LAYOUTS["channels_last"](t) for t in operands(FORWARD, case))
    first, second = kind.put(a), kind.put(b)
    close(FORWARD, case, FORWARD(case, first, second), a, b)
    value = FORWARD.exact(case, a, b)
    magnitude = FORWARD.exact(case, np.abs(a), np.abs(b))
    bound = error_bound(
        np.float32, np.abs(value), magnitude, FORWARD.length(case), operand_roundoff=2.0**-11
    )
    result = FORWARD(case, first, second, allow_tf32=True, benchmark=True)
    assert_close(result, value, bound)
    error = np.abs(to_numpy(result) - value).max()
    assert error > 1e-4, "TF32 was allowed, and is several times faster here"


def test_channels_that_are_padded(kind: Kind) -> None:
    """Counts that tensor cores do not load at once: every listed way, the padded one among them."""
    case = Case("stem", 2, 3, (20, 22), 12, (5, 5), 2, 2)
    for op in OPERATORS[:3]:
        for layout in ("packed", "channels_last"):
            a, b = (LAYOUTS[layout](t) for t in operands(op, case, np.float16))
            problem = mioconv.Problem(
                op.name, case.input_shape, case.weight_shape, "float16", **case.settings,
                layout=layout, device="cuda",
            )  # fmt: skip
            solutions = mioconv.find_solutions(problem)
            assert any(s.name.endswith("|padded") for s in solutions)
            for solution in solutions:
                result = op(case, kind.put(a), kind.put(b), solution=solution.id)
                close(op, case, result, a, b)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize(
    "case",
    [
        Case("rows", 1, 64, (17, 7), 16, (1, 2), (2, 6), (0, 3), (1, 2)),
        Case("both", 2, 16, (7, 7), 64, (4, 5), (6, 6), (3, 5), (3, 3)),
        Case("volume", 1, 8, (12, 17, 12), 16, (5, 1, 4), (3, 8, 4), (1, 5, 5), (3, 1, 4)),
    ],
    ids=str,
)
def test_strides_and_dilations_with_a_common_divisor(
    kind: Kind, case: Case, layout: str, dtype: Any
) -> None:
    """Gradients of the input that cuDNN must not be asked to rank: it would end the process."""
    op = next(op for op in BACKWARD if op.name == "backward_input")
    run(kind, op, case, dtype, (layout, layout))
    run(kind, op, case, dtype, (layout, layout), benchmark=True)
