"""depthwise_convNd: as convNd with one group a channel, which the weight's shape says."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mioconv
from helpers.checks import (
    check,
    check_bad_out,
    check_empty_batch,
    check_layout_rule,
    check_out,
    operands,
    random_bias,
    refuses,
)
from helpers.operators import (
    BACKWARD_INPUT,
    BACKWARD_WEIGHT,
    DEPTHWISE_BACKWARD,
    DEPTHWISE_BACKWARD_INPUT,
    DEPTHWISE_BACKWARD_WEIGHT,
    DEPTHWISE_FORWARD,
    FORWARD,
    Operator,
)
from helpers.problems import Case, valid_cases
from helpers.tensors import DTYPES, LAYOUTS, random_array
from helpers.tolerances import assert_close, assert_same_bits

CASES = [
    *DEPTHWISE_FORWARD.cases,
    Case("dw-1d", 2, 5, (13,), 10, (4,), 2, 1, 2, 5),
    Case("dw-one-channel", 2, 1, (6, 6), 3, (3, 3), 1, 1, 1, 1),
    Case("dw-many-channels", 1, 67, (5, 5), 67, (3, 3), 1, 1, 1, 67),
    Case("dw-pointwise", 2, 6, (4, 4), 12, (1, 1), 1, 0, 1, 6),
]
PLAIN = next(case for case in CASES if case.name == "2d-depthwise-multiplier")
PLAIN_OF = {
    DEPTHWISE_FORWARD: FORWARD,
    DEPTHWISE_BACKWARD_INPUT: BACKWARD_INPUT,
    DEPTHWISE_BACKWARD_WEIGHT: BACKWARD_WEIGHT,
}
each_gradient = pytest.mark.parametrize("op", DEPTHWISE_BACKWARD, ids=str)


def as_depthwise(case: Case, multiplier: int) -> Case:
    return replace(case, groups=case.c, k=case.c * multiplier)


def compare_with_grouped(op: Operator, case: Case, dtype: Any, layout: str) -> None:
    """miopenDepthwise and a group count give the same result."""
    a, b = (LAYOUTS[layout](t) for t in operands(op, case, dtype))
    value, bound = op.expected(case, a, b)
    got, grouped = op(case, a, b), PLAIN_OF[op](case, a, b)
    assert_close(got, value, bound)
    assert_close(got, grouped.astype(np.float64), 2 * bound)


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_against_reference(case: Case, dtype: Any, bias: bool) -> None:
    check(DEPTHWISE_FORWARD, case, dtype, bias=bias)


@each_gradient
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_against_reference(op: Operator, case: Case, dtype: Any) -> None:
    check(op, case, dtype)


@pytest.mark.parametrize("layout", ["packed", "channels_last", "sliced", "negative_stride"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_as_grouped(case: Case, dtype: Any, layout: str) -> None:
    compare_with_grouped(DEPTHWISE_FORWARD, case, dtype, layout)


@each_gradient
@pytest.mark.parametrize("layout", ["packed", "channels_last", "sliced", "negative_stride"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_as_grouped(op: Operator, case: Case, layout: str) -> None:
    compare_with_grouped(op, case, np.dtype(np.float32), layout)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layout_of_the_output(case: Case) -> None:
    check_layout_rule(DEPTHWISE_FORWARD, case)


@each_gradient
@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_layout_of_the_gradient(op: Operator, case: Case) -> None:
    check_layout_rule(op, case)


@given(case=valid_cases(), multiplier=st.integers(1, 3))
def test_forward_drawn(case: Case, multiplier: int) -> None:
    check(DEPTHWISE_FORWARD, as_depthwise(case, multiplier), bias=True)


@each_gradient
@given(case=valid_cases(), multiplier=st.integers(1, 3))
def test_backward_drawn(op: Operator, case: Case, multiplier: int) -> None:
    check(op, as_depthwise(case, multiplier))


def test_forward_out_and_empty_batch() -> None:
    check_out(DEPTHWISE_FORWARD, PLAIN)
    check_bad_out(DEPTHWISE_FORWARD, PLAIN)
    check_empty_batch(DEPTHWISE_FORWARD, PLAIN, (0, *PLAIN.output_shape[1:]))


@each_gradient
def test_backward_out_and_empty_batch(op: Operator) -> None:
    check_out(op, PLAIN)
    check_bad_out(op, PLAIN)
    shape = op.result_shape(PLAIN)
    check_empty_batch(op, PLAIN, shape if op is DEPTHWISE_BACKWARD_WEIGHT else (0, *shape[1:]))


def test_missing_batch() -> None:
    x, w = operands(DEPTHWISE_FORWARD, PLAIN)
    bias = random_bias(PLAIN)
    expected = DEPTHWISE_FORWARD(PLAIN, x[:1], w, bias=bias)[0]
    assert_same_bits(DEPTHWISE_FORWARD(PLAIN, x[0], w, bias=bias), expected)


def test_same_padding() -> None:
    x, w = operands(DEPTHWISE_FORWARD, PLAIN)
    got = mioconv.depthwise_conv2d_forward(x, w, padding="same")
    expected = mioconv.conv2d_forward(x, w, padding="same", groups=PLAIN.c)
    assert_close(got, expected, 2 * FORWARD.expected(replace(PLAIN, stride=1), x, w).bound)


@pytest.mark.parametrize("mask", [(True,) * 3, (False, True, True), (True, False, False)])
def test_backward_all(mask: Any) -> None:
    shapes = (PLAIN.input_shape, PLAIN.output_shape, PLAIN.weight_shape)
    x, dy, w = (random_array(shape, seed=i) for i, shape in enumerate(shapes))
    settings = DEPTHWISE_FORWARD.settings(PLAIN)
    got = mioconv.depthwise_conv2d_backward(x, dy, w, **settings, output_mask=mask)
    right = (
        DEPTHWISE_BACKWARD_INPUT(PLAIN, dy, w),
        DEPTHWISE_BACKWARD_WEIGHT(PLAIN, dy, x),
        mioconv.conv2d_backward_bias(dy),
    )
    for wanted, gradient, expected in zip(mask, got, right, strict=True):
        assert (gradient is None) != wanted
        if wanted:
            assert_same_bits(gradient, expected)


class TestBadInput:
    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ((5, 2, 3, 3), ["weight|channels"]),  # not one input channel a filter
            ((7, 1, 3, 3), ["weight|channels|divisible", "7"]),  # not a multiple of the channels
            ((5, 1, 3), ["weight"]),
            ((4, 1, 3, 3), ["4"]),
        ],
    )
    def test_weight(self, shape: Any, words: list[str]) -> None:
        x, w = np.zeros((2, 5, 8, 8), "f4"), np.zeros(shape, "f4")
        with refuses(ValueError, *words):
            mioconv.depthwise_conv2d_forward(x, w)

    def test_groups_are_not_an_argument(self) -> None:
        x, w = operands(DEPTHWISE_FORWARD, PLAIN)
        with refuses(TypeError, "groups"):
            mioconv.depthwise_conv2d_forward(x, w, groups=5)


class TestBackwardBadInput:
    def test_shapes(self) -> None:
        dy, w = operands(DEPTHWISE_BACKWARD_INPUT, PLAIN)
        _, x = operands(DEPTHWISE_BACKWARD_WEIGHT, PLAIN)
        settings = DEPTHWISE_FORWARD.settings(PLAIN)
        with refuses(ValueError, "4"):
            mioconv.depthwise_conv2d_backward_input((2, 4, 9, 7), dy, w, **settings)
        with refuses(ValueError, "weight_shape|channels"):
            mioconv.depthwise_conv2d_backward_weight((15, 2, 3, 3), dy, x, **settings)


def signature(rank: int, name: str) -> list[str]:
    function = getattr(mioconv, f"depthwise_conv{rank}d_{name}")
    parameters = inspect.signature(function).parameters
    return [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]


def test_forward_signature() -> None:
    for rank in (1, 2, 3):
        expected = ["input", "weight", "bias", "stride", "padding", "dilation"]
        assert signature(rank, "forward") == expected


def test_backward_signatures() -> None:
    tail = ["stride", "padding", "dilation"]
    for rank in (1, 2, 3):
        for name, head in {
            "backward_input": ["input_shape", "grad_output", "weight"],
            "backward_weight": ["weight_shape", "grad_output", "input"],
        }.items():
            assert signature(rank, name) == [*head, *tail]
        expected = ["input", "grad_output", "weight", *tail, "output_mask"]
        assert signature(rank, "backward") == expected
