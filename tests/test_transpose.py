"""conv_transposeNd_forward and its gradients."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mioconv
from helpers import reference
from helpers.checks import (
    check,
    check_bad_out,
    check_empty_batch,
    check_layout_rule,
    check_out,
    check_overlapping_out,
    check_solutions,
    draw_check,
    draw_check_solutions,
    operands,
    random_bias,
    refuses,
)
from helpers.operators import (
    TRANSPOSE_BACKWARD,
    TRANSPOSE_BACKWARD_INPUT,
    TRANSPOSE_BACKWARD_WEIGHT,
    TRANSPOSE_FORWARD,
    Operator,
)
from helpers.problems import TRANSPOSED_CASES, Case, valid_cases
from helpers.tensors import DTYPES, LAYOUTS, import_torch, random_array
from helpers.tolerances import assert_close, assert_same_bits, gamma

BY_NAME = {case.name: case for case in TRANSPOSED_CASES}
PLAIN = BY_NAME["t2d-strided"]
OVER_STRIDE = BY_NAME["t2d-padding-over-stride"]
FEW = [BY_NAME[name] for name in ("t1d-groups", "t2d-uneven", "t2d-groups", "t3d-groups")]
each_gradient = pytest.mark.parametrize("op", TRANSPOSE_BACKWARD, ids=str)


def triple(case: Case, dtype: Any = np.float32) -> tuple[Any, Any, Any]:
    """input, grad_output, weight."""
    shapes = (case.input_shape, case.output_shape, case.weight_shape)
    x, dy, w = (random_array(shape, dtype, seed) for seed, shape in enumerate(shapes))
    return x, dy, w


def backward(case: Case, x: Any, dy: Any, w: Any, **more: Any) -> Any:
    function = getattr(mioconv, f"conv_transpose{case.rank}d_backward")
    return function(x, dy, w, **{**case.settings, **more})


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_forward_against_reference(case: Case, dtype: Any, bias: bool) -> None:
    """Half types accumulate in float32 and round once, which PyTorch's CPU operator does not."""
    assert type(check(TRANSPOSE_FORWARD, case, dtype, bias=bias)) is np.ndarray


@each_gradient
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_backward_against_reference(op: Operator, case: Case, dtype: Any) -> None:
    check(op, case, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "packed"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_forward_layouts(case: Case, layout: str, dtype: Any) -> None:
    check(TRANSPOSE_FORWARD, case, dtype, (layout, "packed"), bias=True)
    check(TRANSPOSE_FORWARD, case, dtype, ("packed", layout))
    check(TRANSPOSE_FORWARD, case, dtype, (layout, layout))


@each_gradient
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "packed"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_backward_layouts(op: Operator, case: Case, layout: str) -> None:
    check(op, case, layouts=(layout, "packed"))
    check(op, case, layouts=("packed", layout))
    check(op, case, layouts=(layout, layout))


@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_layout_of_the_output(case: Case) -> None:
    check_layout_rule(TRANSPOSE_FORWARD, case)


@each_gradient
@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_backward_layout_of_the_gradient(op: Operator, case: Case) -> None:
    check_layout_rule(op, case)


@given(case=valid_cases(transposed=True), data=st.data())
def test_forward_drawn(case: Case, data: st.DataObject) -> None:
    draw_check(TRANSPOSE_FORWARD, case, data)


@each_gradient
@given(case=valid_cases(transposed=True), data=st.data())
def test_backward_drawn(op: Operator, case: Case, data: st.DataObject) -> None:
    draw_check(op, case, data)


@given(case=valid_cases(transposed=True), data=st.data())
def test_forward_drawn_solutions(case: Case, data: st.DataObject) -> None:
    draw_check_solutions(TRANSPOSE_FORWARD, case, data)


@each_gradient
@given(case=valid_cases(transposed=True), data=st.data())
def test_backward_drawn_solutions(op: Operator, case: Case, data: st.DataObject) -> None:
    draw_check_solutions(op, case, data)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", FEW, ids=str)
def test_forward_out(case: Case, dtype: Any) -> None:
    check_out(TRANSPOSE_FORWARD, case, dtype)


@each_gradient
@pytest.mark.parametrize("case", [*FEW, OVER_STRIDE], ids=str)
def test_backward_out(op: Operator, case: Case) -> None:
    check_out(op, case)


@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_forward_solutions_are_right(case: Case, layout: str) -> None:
    for dtype in (np.float32, np.float16):
        assert check_solutions(TRANSPOSE_FORWARD, case, np.dtype(dtype), layout) >= 1


@each_gradient
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_backward_solutions_are_right(op: Operator, case: Case, layout: str) -> None:
    assert check_solutions(op, case, np.dtype(np.float32), layout) >= 1


@pytest.mark.parametrize("op", [TRANSPOSE_FORWARD, *TRANSPOSE_BACKWARD], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("extra", [(0, 0), (1, 2), (2, 3), (2, 0)])
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
def test_output_padding_up_to_the_dilation(
    op: Operator, extra: Any, dtype: Any, layout: str
) -> None:
    """At or above the stride the library's size formula has no such output (design.md 4)."""
    case = Case("over", 2, 4, (4, 5), 6, (3, 2), (1, 2), (1, 0), (3, 4), 2, extra, True)
    check(op, case, dtype, (layout, layout))


def test_output_padding_rows_hold_the_bias() -> None:
    """Where no input reaches, the output is the bias alone."""
    x, w = np.ones((1, 1, 2), np.float32), np.ones((1, 1, 1), np.float32)
    got = mioconv.conv_transpose1d_forward(x, w, np.full(1, 5, "f4"), stride=3, output_padding=2)
    assert_same_bits(got[0, 0], np.array([6, 5, 5, 6, 5, 5], np.float32))


@pytest.mark.parametrize("case", [*FEW, OVER_STRIDE], ids=str)
def test_empty_batch(case: Case) -> None:
    check_empty_batch(TRANSPOSE_FORWARD, case, (0, *case.output_shape[1:]))


@pytest.mark.parametrize("case", [*FEW, OVER_STRIDE], ids=str)
def test_backward_empty_batch(case: Case) -> None:
    check_empty_batch(TRANSPOSE_BACKWARD_INPUT, case, (0, *case.input_shape[1:]))
    check_empty_batch(TRANSPOSE_BACKWARD_WEIGHT, case, case.weight_shape)


@pytest.mark.parametrize("case", [*FEW, OVER_STRIDE], ids=str)
def test_missing_batch(case: Case) -> None:
    x, w = operands(TRANSPOSE_FORWARD, case)
    bias = random_bias(case)
    expected = TRANSPOSE_FORWARD(case, x[:1], w, bias=bias)[0]
    assert_same_bits(TRANSPOSE_FORWARD(case, x[0], w, bias=bias), expected)


@pytest.mark.parametrize("case", [*FEW, OVER_STRIDE], ids=str)
def test_backward_missing_batch(case: Case) -> None:
    x, dy, w = triple(case)
    got, expected = backward(case, x[0], dy[0], w), backward(case, x[:1], dy[:1], w)
    for result, right in zip(got, (expected[0][0], *expected[1:]), strict=True):
        assert_same_bits(result, right)


class TestBackwardAll:
    """conv_transposeNd_backward."""

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    @pytest.mark.parametrize("case", [*FEW, OVER_STRIDE], ids=str)
    def test_equals_the_single_ones(self, case: Case, layout: str, dtype: Any) -> None:
        x, dy, w = (LAYOUTS[layout](a) for a in triple(case, dtype))
        dx, dw, db = backward(case, x, dy, w)
        assert_same_bits(dx, TRANSPOSE_BACKWARD_INPUT(case, dy, w))
        assert_same_bits(dw, TRANSPOSE_BACKWARD_WEIGHT(case, dy, x))
        assert_same_bits(db, getattr(mioconv, f"conv{case.rank}d_backward_bias")(dy))

    @pytest.mark.parametrize(
        "mask", [(True, False, False), (False, True, False), (False, False, True), (False,) * 3]
    )
    def test_mask(self, mask: Any) -> None:
        x, dy, w = triple(PLAIN)
        whole = backward(PLAIN, x, dy, w)
        got = backward(PLAIN, x, dy, w, output_mask=mask)
        for wanted, gradient, right in zip(mask, got, whole, strict=True):
            assert (gradient is None) != wanted
            if wanted:
                assert_same_bits(gradient, right)

    def test_empty(self) -> None:
        x, dy, w = triple(PLAIN)
        dx, dw, db = backward(PLAIN, x[:0], dy[:0], w)
        assert dx.shape == (0, *PLAIN.input_shape[1:])
        assert_same_bits(dw, np.zeros(PLAIN.weight_shape, np.float32))
        assert_same_bits(db, np.zeros(PLAIN.k, np.float32))


@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_backward_adjoint(case: Case) -> None:
    """<transpose(x, w), dy> = <x, backward_input(dy, w)> = <w, backward_weight(dy, x)>."""
    x, dy, w = triple(case)
    pairs = (
        (TRANSPOSE_FORWARD(case, x, w), dy),
        (TRANSPOSE_BACKWARD_INPUT(case, dy, w), x),
        (TRANSPOSE_BACKWARD_WEIGHT(case, dy, x), w),
    )
    products = [np.vdot(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]
    lengths = case.forward_length, case.backward_input_length, case.backward_weight_length
    absolute = reference.conv_transpose_forward(abs(x), abs(w), **case.settings)
    slack = sum(map(gamma, lengths)) * np.vdot(absolute, abs(dy))
    assert abs(products[1] - products[0]) <= slack
    assert abs(products[2] - products[0]) <= slack


@pytest.mark.parametrize("case", TRANSPOSED_CASES, ids=str)
def test_backward_is_what_forward_convolution_says(case: Case) -> None:
    """backward_input of a transposed convolution is a convolution: to the rounding, the same."""
    _, dy, w = triple(case)
    got = TRANSPOSE_BACKWARD_INPUT(case, dy, w)
    settings = {k: v for k, v in case.settings.items() if k != "output_padding"}
    plain = getattr(mioconv, f"conv{case.rank}d_forward")(dy, w, **settings)
    cropped = plain[(..., *(slice(0, size) for size in case.spatial))]
    assert_close(got, cropped, 2 * TRANSPOSE_BACKWARD_INPUT.expected(case, dy, w).bound)


@pytest.mark.parametrize("case", [c for c in TRANSPOSED_CASES if c.rank > 1], ids=str)
def test_backward_against_torch(case: Case) -> None:
    torch = import_torch()
    x, dy, w = triple(case)
    leaves = [torch.from_numpy(a).requires_grad_(True) for a in (x, w)]
    function = getattr(torch.nn.functional, f"conv_transpose{case.rank}d")
    y = function(*leaves, None, **case.settings)
    y.backward(torch.from_numpy(dy))
    bound = TRANSPOSE_FORWARD.expected(case, x, w).bound
    assert_close(TRANSPOSE_FORWARD(case, x, w), y.detach().numpy(), 2 * bound)
    got = backward(case, x, dy, w)
    for gradient, leaf, op, pair in zip(
        got[:2], leaves, TRANSPOSE_BACKWARD, ((dy, w), (dy, x)), strict=True
    ):
        assert_close(gradient, leaf.grad.numpy(), 2 * op.expected(case, *pair).bound)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "exception", "words"),
        [
            ({"stride": 0}, ValueError, ["stride"]),
            ({"padding": -1}, ValueError, ["padding", "negative"]),
            ({"dilation": 0}, ValueError, ["dilation"]),
            ({"output_padding": 2}, ValueError, ["output_padding|output padding", "stride", "2"]),
            ({"output_padding": (0, 5)}, ValueError, ["output_padding|output padding", "5"]),
            ({"output_padding": -1}, ValueError, ["output_padding|output padding"]),
            ({"output_padding": (0, 0, 0)}, ValueError, ["output_padding|output padding"]),
            ({"output_padding": 0.5}, TypeError, ["output_padding|output padding"]),
            ({"groups": 0}, ValueError, ["groups"]),
            ({"groups": 3}, ValueError, ["3"]),
            ({"padding": "same"}, (ValueError, TypeError), ["padding", "same"]),
            ({"padding": 9}, ValueError, ["output", "small|size|padding"]),
        ],
    )
    def test_settings(self, arguments: Any, exception: Any, words: Any) -> None:
        x, w = operands(TRANSPOSE_FORWARD, PLAIN)
        out = np.full(PLAIN.output_shape, 3, np.float32)
        with refuses(exception, *words):
            TRANSPOSE_FORWARD(PLAIN, x, w, out=out, **arguments)
        assert (out == 3).all()

    def test_valid_padding_by_name(self) -> None:
        x, w = operands(TRANSPOSE_FORWARD, PLAIN)
        named = TRANSPOSE_FORWARD(PLAIN, x, w, padding="valid")
        assert_same_bits(named, TRANSPOSE_FORWARD(PLAIN, x, w, padding=0))

    def test_channels_and_bias(self) -> None:
        """The weight's first dimension counts the input's channels, its second the output's."""
        x, w = operands(TRANSPOSE_FORWARD, PLAIN)
        function = mioconv.conv_transpose2d_forward
        with refuses(ValueError, "input", "4", "3", "channels"):
            function(x[:, :3].copy(), w)
        with refuses(ValueError, "bias", "6", "4"):
            function(x, w, np.zeros(4, "f4"))
        with refuses(ValueError, "weight"):
            function(x, w[:, :, 0])
        with refuses(TypeError, "float64", "float32"):
            function(x.astype(float), w)

    def test_out(self) -> None:
        check_bad_out(TRANSPOSE_FORWARD, PLAIN)
        check_overlapping_out(TRANSPOSE_FORWARD, PLAIN)


class TestBackwardBadInput:
    @each_gradient
    def test_out(self, op: Operator) -> None:
        check_bad_out(op, PLAIN)
        check_overlapping_out(op, PLAIN)

    def test_shapes(self) -> None:
        x, dy, w = triple(PLAIN)
        function = mioconv.conv_transpose2d_backward_weight
        settings = PLAIN.settings
        for shape in [w.shape[:3], (5, *w.shape[1:]), (*w.shape[:2], 4, 3)]:
            with refuses(ValueError, "weight_shape|grad_output|channels"):
                function(shape, dy, x, **settings)
        wrong = np.zeros((*dy.shape[:3], dy.shape[3] + 1), np.float32)
        with refuses(ValueError, "grad_output"):
            function(w.shape, wrong, x, **settings)
        with refuses(ValueError, "grad_output"):
            backward(PLAIN, x, wrong, w)
        with refuses(ValueError, "output_mask"):
            backward(PLAIN, x, dy, w, output_mask=(True,))

    @each_gradient
    def test_output_padding(self, op: Operator) -> None:
        a, b = operands(op, PLAIN)
        with refuses(ValueError, "output_padding|output padding"):
            op(PLAIN, a, b, output_padding=2)


def test_backward_signatures() -> None:
    tail = ["stride", "padding", "output_padding", "groups", "dilation"]
    for rank in (1, 2, 3):
        for name, expected in {
            "backward_input": ["grad_output", "weight", *tail],
            "backward_weight": ["weight_shape", "grad_output", "input", *tail],
            "backward": ["input", "grad_output", "weight", *tail, "output_mask"],
        }.items():
            function = getattr(mioconv, f"conv_transpose{rank}d_{name}")
            parameters = inspect.signature(function).parameters
            assert [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY] == expected


def test_forward_signature() -> None:
    expected = [
        "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
    ]  # fmt: skip
    for rank in (1, 2, 3):
        parameters = inspect.signature(TRANSPOSE_FORWARD.function(rank)).parameters
        assert [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY] == expected
        defaults = [parameters[name].default for name in expected[2:]]
        assert defaults == [None, 1, 0, 0, 1, 1]
