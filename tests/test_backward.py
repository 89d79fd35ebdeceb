"""convNd_backward_input, _backward_weight, _backward_bias and _backward."""

from __future__ import annotations

import inspect
from itertools import product
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
    check_strided_equal_packed,
    draw_check,
    draw_check_solutions,
    operands,
    random_bias,
    refuses,
)
from helpers.native import fault, native_calls
from helpers.operators import BACKWARD, BACKWARD_INPUT, BACKWARD_WEIGHT, FORWARD, Operator
from helpers.problems import CASES, FEW, Case, valid_cases
from helpers.tensors import (
    BFLOAT16,
    DTYPES,
    LAYOUTS,
    BareTensor,
    import_torch,
    is_channels_last,
    random_array,
    randoms,
)
from helpers.tolerances import assert_close, assert_same_bits, error_bound, gamma, tolerance

BY_NAME = {case.name: case for case in CASES}
PLAIN = BY_NAME["2d"]
MASKS = list(product([True, False], repeat=3))

each_operator = pytest.mark.parametrize("op", BACKWARD, ids=str)


def backward(case: Case, x: Any, dy: Any, w: Any, **more: Any) -> Any:
    """convNd_backward of the case's rank."""
    function = getattr(mioconv, f"conv{case.rank}d_backward")
    return function(x, dy, w, **{**case.settings, **more})


def triple(case: Case, dtype: Any = np.float32) -> tuple[Any, Any, Any]:
    """input, grad_output, weight."""
    shapes = (case.input_shape, case.output_shape, case.weight_shape)
    x, dy, w = (random_array(shape, dtype, seed) for seed, shape in enumerate(shapes))
    return x, dy, w


@each_operator
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_reference(op: Operator, case: Case, dtype: Any) -> None:
    assert type(check(op, case, dtype)) is np.ndarray


@each_operator
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "packed"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_layouts(op: Operator, case: Case, layout: str, dtype: Any) -> None:
    check(op, case, dtype, (layout, "packed"))
    check(op, case, dtype, ("packed", layout))
    check(op, case, dtype, (layout, layout))


@each_operator
@pytest.mark.parametrize("case", CASES, ids=str)
def test_layout_of_the_gradient(op: Operator, case: Case) -> None:
    """One rule for every operator, 3-D and weight gradients included."""
    check_layout_rule(op, case)


@each_operator
@given(case=valid_cases(), data=st.data())
def test_drawn(op: Operator, case: Case, data: st.DataObject) -> None:
    draw_check(op, case, data)


@each_operator
@given(case=valid_cases(), data=st.data())
def test_drawn_solutions(op: Operator, case: Case, data: st.DataObject) -> None:
    draw_check_solutions(op, case, data)


@each_operator
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", FEW, ids=str)
def test_out(op: Operator, case: Case, dtype: Any) -> None:
    check_out(op, case, dtype)


@each_operator
@pytest.mark.parametrize("case", FEW, ids=str)
def test_strides_change_nothing(op: Operator, case: Case) -> None:
    check_strided_equal_packed(op, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("case", FEW, ids=str)
def test_bias_against_reference(case: Case, layout: str, dtype: Any) -> None:
    dy = LAYOUTS[layout](random_array(case.output_shape, dtype))
    function = getattr(mioconv, f"conv{case.rank}d_backward_bias")
    value = reference.conv_backward_bias(dy)
    magnitude = reference.conv_backward_bias(np.abs(dy.astype(np.float64)))
    bound = error_bound(dtype, np.abs(value), magnitude, case.backward_bias_length)
    got = function(dy)
    assert got.dtype == dtype
    assert_close(got, value, bound)
    out = np.full(case.k, np.nan, dtype)
    assert function(dy, out=out) is out
    assert_close(out, value, bound)


@pytest.mark.parametrize("channels", [1, 3])
def test_bias_is_one_dimensional(channels: int) -> None:
    """One channel too; a missing batch too; an empty batch sums to zero."""
    for rank in (1, 2, 3):
        function = getattr(mioconv, f"conv{rank}d_backward_bias")
        dy = np.ones((2, channels, *(3,) * rank), np.float32)
        assert_same_bits(function(dy), np.full(channels, 2 * 3**rank, np.float32))
        assert_same_bits(function(dy[0]), np.full(channels, 3**rank, np.float32))
        assert_same_bits(function(dy[:0]), np.zeros(channels, np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_second_way(dtype: Any) -> None:
    """MIOpen refuses bfloat16 here, and newer releases every type: the sum is then ours."""
    dy = random_array((2, 4, 5, 6), dtype)
    value = reference.conv_backward_bias(dy)
    bound = error_bound(
        dtype, np.abs(value), reference.conv_backward_bias(np.abs(dy.astype(np.float64))), 60
    )
    for layout in ("packed", "channels_last", "sliced"):
        with fault("miopenConvolutionBackwardBias", nth=0, status=6):
            assert_close(mioconv.conv2d_backward_bias(LAYOUTS[layout](dy)), value, bound)


class TestAll:
    """convNd_backward."""

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", ["packed", "channels_last", "sliced"])
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_equals_the_single_ones(self, case: Case, layout: str, dtype: Any) -> None:
        x, dy, w = (LAYOUTS[layout](a) for a in triple(case, dtype))
        dx, dw, db = backward(case, x, dy, w)
        assert_same_bits(dx, BACKWARD_INPUT(case, dy, w))
        assert_same_bits(dw, BACKWARD_WEIGHT(case, dy, x))
        bias = getattr(mioconv, f"conv{case.rank}d_backward_bias")
        assert_same_bits(db, bias(dy))
        for got, op, pair in ((dx, BACKWARD_INPUT, (dy, w)), (dw, BACKWARD_WEIGHT, (dy, x))):
            assert_close(got, *op.expected(case, *pair))

    @pytest.mark.parametrize("mask", MASKS)
    def test_mask(self, mask: tuple[bool, bool, bool]) -> None:
        """A masked gradient is None, and the others are what they are without the mask."""
        x, dy, w = triple(PLAIN)
        whole = backward(PLAIN, x, dy, w)
        got = backward(PLAIN, x, dy, w, output_mask=mask)
        assert isinstance(got, tuple)
        assert len(got) == 3
        for wanted, gradient, expected in zip(mask, got, whole, strict=True):
            if wanted:
                assert_same_bits(gradient, expected)
            else:
                assert gradient is None
        as_list = backward(PLAIN, x, dy, w, output_mask=list(mask))
        assert [gradient is None for gradient in as_list] == [not wanted for wanted in mask]

    def test_masked_gradients_cost_nothing(self) -> None:
        x, dy, w = triple(PLAIN)
        costs = {}
        for mask in MASKS:
            backward(PLAIN, x, dy, w, output_mask=mask)  # plans are made here
            before = native_calls()
            backward(PLAIN, x, dy, w, output_mask=mask)
            costs[mask] = native_calls() - before
        assert costs[False, False, False] == 0
        singles = [costs[True, False, False], costs[False, True, False], costs[False, False, True]]
        assert min(singles) >= 1
        assert costs[True, True, False] <= singles[0] + singles[1]
        assert costs[True, True, True] <= sum(singles)

    @pytest.mark.parametrize("mask", MASKS)
    def test_empty_batch(self, mask: tuple[bool, bool, bool]) -> None:
        for case in FEW:
            x, dy, w = triple(case)
            got = backward(case, x[:0], dy[:0], w, output_mask=mask)
            shapes = ((0, *case.input_shape[1:]), case.weight_shape, (case.k,))
            for wanted, gradient, shape in zip(mask, got, shapes, strict=True):
                assert (gradient is None) != wanted
                if wanted:
                    assert_same_bits(gradient, np.zeros(shape, np.float32))

    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_missing_batch(self, case: Case) -> None:
        x, dy, w = triple(case)
        dx, dw, db = backward(case, x[0], dy[0], w)
        expected = backward(case, x[:1], dy[:1], w)
        assert_same_bits(dx, expected[0][0])
        assert_same_bits(dw, expected[1])
        assert_same_bits(db, expected[2])

    def test_out(self) -> None:
        x, dy, w = triple(PLAIN)
        expected = backward(PLAIN, x, dy, w)
        out = tuple(np.full_like(a, np.nan) for a in expected)
        got = backward(PLAIN, x, dy, w, out=out)
        for given_, result, right in zip(out, got, expected, strict=True):
            assert result is given_
            assert_same_bits(result, right)
        only = np.full_like(expected[1], np.nan)
        got = backward(PLAIN, x, dy, w, out=(None, only, None))
        assert got[1] is only
        for result, right in zip(got, expected, strict=True):
            assert_same_bits(result, right)

    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_layouts_without_a_batch(self, case: Case, layout: str) -> None:
        """As the single gradients lie, and as those of the whole batch do."""
        x, dy, w = triple(case)
        x, dy = (LAYOUTS[layout](a) for a in (x, dy))
        got = backward(case, x[0], dy[0], w)
        expected = backward(case, x[:1], dy[:1], w)
        assert got[0].strides == expected[0].strides[1:]
        assert got[1].strides == expected[1].strides
        for result, right in zip(got, (expected[0][0], *expected[1:]), strict=True):
            assert_same_bits(result, right)
        turned = np.moveaxis(np.moveaxis(x[0], 0, -1).copy(), -1, 0)  # channels lie last
        got = backward(case, turned, dy[0], w)
        expected = backward(case, turned[None], dy[:1], w)
        assert got[0].strides == expected[0].strides[1:]

    def test_out_that_makes_its_items(self) -> None:
        """An array of results, whose rows are new objects whenever they are asked for; and a list
        that another tensor's producer empties."""
        x, dy, w = triple(PLAIN)
        expected = backward(PLAIN, x, dy, w)[0]
        for _ in range(50):
            rows = np.zeros((3, *expected.shape), np.float32)
            backward(PLAIN, x, dy, w, out=rows, output_mask=(True, False, False))
            assert_same_bits(rows[0], expected)
            with pytest.raises(ValueError, match="out: expected size"):
                backward(PLAIN, x, dy, w, out=np.zeros((3, 4, 4, 4), np.float32))

        class Emptying(BareTensor):
            def __dlpack__(self, **arguments: Any) -> Any:
                outs.clear()
                return super().__dlpack__(**arguments)

        for _ in range(50):
            outs = [BareTensor(np.zeros_like(expected)), None, None]
            kept = outs[0].array
            operands = BareTensor(x), Emptying(dy), BareTensor(w)
            backward(PLAIN, *operands, out=outs, output_mask=(True, False, False))
            assert_same_bits(kept, expected)

    def test_solutions(self) -> None:
        x, dy, w = triple(PLAIN)
        expected = backward(PLAIN, x, dy, w)
        ids = []
        for direction in ("backward_input", "backward_weight"):
            problem = mioconv.Problem.from_tensors(direction, x, w, **PLAIN.settings)
            ids.append([solution.id for solution in mioconv.find_solutions(problem)])
        for pair in zip(*ids, strict=False):
            got = backward(PLAIN, x, dy, w, solution=(*pair, None))
            assert_close(got[0], *BACKWARD_INPUT.expected(PLAIN, dy, w))
            assert_close(got[1], *BACKWARD_WEIGHT.expected(PLAIN, dy, x))
            assert_same_bits(got[2], expected[2])


class TestAdjoint:
    """<conv(x, w), dy> = <x, backward_input(dy, w)> = <w, backward_weight(dy, x)>."""

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_cases(self, case: Case) -> None:
        x, dy, w = triple(case)
        products = [
            np.vdot(a.astype(np.float64), b.astype(np.float64))
            for a, b in (
                (FORWARD(case, x, w), dy),
                (BACKWARD_INPUT(case, dy, w), x),
                (BACKWARD_WEIGHT(case, dy, x), w),
            )
        ]
        lengths = case.forward_length, case.backward_input_length, case.backward_weight_length
        # Each result is off by gamma_K of its own magnitudes; met with the third tensor, all three
        # magnitudes are the same number.
        magnitude = np.vdot(reference.conv_forward(abs(x), abs(w), **case.settings), abs(dy))
        slack = sum(map(gamma, lengths)) * magnitude
        assert abs(products[1] - products[0]) <= slack
        assert abs(products[2] - products[0]) <= slack

    @given(case=valid_cases())
    def test_drawn(self, case: Case) -> None:
        self.test_cases(case)


class TestFiniteDifferences:
    """Gradients against differences of the forward operator itself: no reference involved."""

    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    @pytest.mark.parametrize("case", [c for c in CASES if c.forward_length < 400], ids=str)
    def test_directional(self, case: Case, layout: str) -> None:
        """The operator is linear in each operand: a difference over a step of 1 has no error but
        float32's own."""
        x, dy, w = (LAYOUTS[layout](a) for a in triple(case))
        dx, dw, db = backward(case, x, dy, w)
        rng = randoms(5)
        for gradient, position, length in (
            (dx, 0, case.backward_input_length),
            (dw, 1, case.backward_weight_length),
        ):
            pair = [x, w]
            step = rng.uniform(-1, 1, pair[position].shape).astype(np.float32)
            moved = []
            for sign in (-1, 1):
                at = list(pair)
                at[position] = pair[position] + np.float32(sign) * step
                moved.append(FORWARD(case, *at).astype(np.float64))
            slope = np.vdot(moved[1] - moved[0], dy) / 2
            magnitude = np.vdot(
                reference.conv_forward(abs(x) + 1, abs(w) + 1, **case.settings), abs(dy)
            )
            # Two forward results, one gradient, and the rounding of the two moved operands.
            slack = tolerance("float32", 2 * case.forward_length + length + 4, magnitude)
            assert abs(np.vdot(gradient.astype(np.float64), step) - slope) <= slack
        bias = random_bias(case)
        moved_bias = FORWARD(case, x, w, bias=bias).astype(np.float64) - FORWARD(case, x, w)
        slack = tolerance(
            "float32",
            2 * case.forward_length + case.backward_bias_length + 2,
            np.vdot(reference.conv_forward(abs(x), abs(w), **case.settings) + 1, abs(dy)),
        )
        assert abs(np.vdot(db.astype(np.float64), bias) - np.vdot(moved_bias, dy)) <= slack


@pytest.mark.parametrize("case", [c for c in CASES if c.rank > 1], ids=str)
def test_against_torch(case: Case) -> None:
    """PyTorch's own gradients of the same numbers, within twice the derived bound."""
    torch = import_torch()
    x, dy, w = triple(case)
    leaves = [torch.from_numpy(a).requires_grad_(True) for a in (x, w)]
    y = getattr(torch.nn.functional, f"conv{case.rank}d")(*leaves, None, **case.settings)
    y.backward(torch.from_numpy(dy))
    got = backward(case, x, dy, w)
    for gradient, leaf, op, pair in zip(got[:2], leaves, BACKWARD, ((dy, w), (dy, x)), strict=True):
        bound = op.expected(case, *pair).bound
        assert_close(gradient, leaf.grad.numpy(), 2 * bound)


class TestNamedPadding:
    @pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (4, 3), (1, 2)])
    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_same(self, kernel: Any, layout: str, dtype: Any) -> None:
        """With an even kernel the input is padded unevenly and its gradient cropped back."""
        x = LAYOUTS[layout](random_array((2, 4, 6, 7), dtype))
        w = LAYOUTS[layout](random_array((6, 2, *kernel), dtype, 1))
        dy = LAYOUTS[layout](random_array((2, 6, 6, 7), dtype, 2))
        settings = {"padding": reference.same_padding(kernel, (1, 2)), "dilation": (1, 2),
                    "groups": 2}  # fmt: skip
        got = mioconv.conv2d_backward(x, dy, w, 1, "same", (1, 2), 2)
        wide = [np.abs(a.astype(np.float64)) for a in (x, dy, w)]
        for gradient, function, leading, pair, magnitudes, length in (
            (got[0], reference.conv_backward_input, x.shape, (dy, w), (wide[1], wide[2]), 36),
            (got[1], reference.conv_backward_weight, w.shape, (dy, x), (wide[1], wide[0]), 84),
        ):
            value = function(leading, *pair, **settings)
            magnitude = function(leading, *magnitudes, **settings)
            assert gradient.shape == value.shape
            assert_close(gradient, value, error_bound(dtype, np.abs(value), magnitude, length))
            assert is_channels_last(gradient) == (layout == "channels_last") or min(kernel) == 1
        arguments = {"padding": "same", "dilation": (1, 2), "groups": 2}
        assert_same_bits(mioconv.conv2d_backward_input(x.shape, dy, w, **arguments), got[0])
        assert_same_bits(mioconv.conv2d_backward_weight(w.shape, dy, x, **arguments), got[1])

    def test_valid(self) -> None:
        x, dy, w = triple(PLAIN)
        for named, plain in zip(
            backward(PLAIN, x, dy, w, padding="valid"), backward(PLAIN, x, dy, w), strict=True
        ):
            assert_same_bits(named, plain)


@each_operator
@pytest.mark.parametrize("case", FEW, ids=str)
def test_empty_batch(op: Operator, case: Case) -> None:
    """Weight gradients of an empty batch are zeros of the weight's shape."""
    shape = op.result_shape(case)
    check_empty_batch(op, case, (0, *shape[1:]) if op is BACKWARD_INPUT else shape)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_missing_batch(case: Case) -> None:
    x, dy, w = triple(case)
    function = BACKWARD_INPUT.function(case.rank)
    expected = function((1, *case.input_shape[1:]), dy[:1], w, **case.settings)[0]
    assert_same_bits(function(case.input_shape[1:], dy[0], w, **case.settings), expected)
    function = BACKWARD_WEIGHT.function(case.rank)
    expected = function(case.weight_shape, dy[:1], x[:1], **case.settings)
    assert_same_bits(function(case.weight_shape, dy[0], x[0], **case.settings), expected)


@each_operator
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_solutions_are_right(op: Operator, case: Case, layout: str, dtype: Any) -> None:
    assert check_solutions(op, case, dtype, layout) >= 1


@each_operator
@pytest.mark.parametrize("case", FEW, ids=str)
def test_benchmark_and_deterministic(op: Operator, case: Case) -> None:
    mioconv.cache_clear()
    for flag in ({"benchmark": True}, {"deterministic": True}):
        check(op, case, **flag)
        check(op, case, **flag)
    assert mioconv.cache_info().finds == 1


def test_half_weight_gradients_accumulate_in_float32() -> None:
    """A long sum of ones: 4096 additions of 1 stop at 2048 in float16 and at 256 in bfloat16."""
    for dtype in (np.float16, *([BFLOAT16] * (BFLOAT16 is not None))):
        x, dy = np.ones((1, 1, 64, 64), dtype), np.ones((1, 1, 64, 64), dtype)
        dw = mioconv.conv2d_backward_weight((1, 1, 1, 1), dy, x)
        assert float(dw[0, 0, 0, 0]) == 4096
        assert float(mioconv.conv2d_backward_bias(dy)[0]) == 4096


class TestBadInput:
    @each_operator
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_out(self, op: Operator, case: Case) -> None:
        check_bad_out(op, case)

    @each_operator
    def test_overlapping_out(self, op: Operator) -> None:
        check_overlapping_out(op, PLAIN)

    @each_operator
    @pytest.mark.parametrize(
        ("arguments", "exception", "words"),
        [
            ({"stride": 0}, ValueError, ["stride"]),
            ({"dilation": (1, 0)}, ValueError, ["dilation"]),
            ({"padding": -1}, ValueError, ["padding"]),
            ({"padding": (0, 0, 0)}, ValueError, ["padding"]),
            ({"padding": "sane"}, ValueError, ["padding", "same", "valid"]),
            ({"groups": 0}, ValueError, ["groups"]),
            ({"groups": 3}, ValueError, ["3"]),
            ({"stride": 2}, ValueError, ["grad_output"]),  # belongs to another problem
            ({"padding": 1}, ValueError, ["grad_output"]),
            ({"solution": "x"}, TypeError, ["solution"]),
        ],
    )
    def test_settings(self, op: Operator, arguments: Any, exception: Any, words: Any) -> None:
        a, b = operands(op, PLAIN)
        with refuses(exception, *words):
            op(PLAIN, a, b, **arguments)

    def test_shapes_that_do_not_belong(self) -> None:
        x, dy, w = triple(PLAIN)
        n, c, h, width = PLAIN.input_shape
        for shape in [(n, c, h), (n, c, h, width, 1), (n + 1, c, h, width), (n, c, h + 1, width),
                      (n, c + 1, h, width)]:  # fmt: skip
            with refuses(ValueError, "input_shape|grad_output|channels"):
                mioconv.conv2d_backward_input(shape, dy, w)
        with refuses(TypeError, "input_shape"):
            mioconv.conv2d_backward_input(x, dy, w)
        with refuses(TypeError, "input_shape"):
            mioconv.conv2d_backward_input((2, 3, 8.0, 9), dy, w)
        k, c, r, s = PLAIN.weight_shape
        for shape in [(k, c, r), (k + 1, c, r, s), (k, c + 1, r, s), (k, c, r + 1, s)]:
            with refuses(ValueError, "weight_shape|grad_output|channels"):
                mioconv.conv2d_backward_weight(shape, dy, x)
        wrong = np.zeros((3, *dy.shape[1:]), np.float32)
        for call in (
            lambda: mioconv.conv2d_backward_weight(w.shape, wrong, x),
            lambda: mioconv.conv2d_backward(x, wrong, w),
        ):
            with refuses(ValueError, "grad_output", "3"):
                call()
        with refuses(ValueError, "grad_output"):
            mioconv.conv2d_backward_bias(dy[0, 0])

    @pytest.mark.parametrize("mask", [(True, True), (True,) * 4, (), None, True, "yes"])
    def test_mask(self, mask: Any) -> None:
        x, dy, w = triple(PLAIN)
        with refuses((ValueError, TypeError), "output_mask", "3|three"):
            backward(PLAIN, x, dy, w, output_mask=mask)

    def test_triples(self) -> None:
        x, dy, w = triple(PLAIN)
        for name, value in [("out", np.zeros_like(x)), ("out", (None, None)), ("solution", 7),
                            ("solution", (None,) * 4)]:  # fmt: skip
            with refuses((ValueError, TypeError), name):
                backward(PLAIN, x, dy, w, **{name: value})

    def test_dtypes(self) -> None:
        x, dy, w = triple(PLAIN)
        half = dy.astype(np.float16)
        with refuses(TypeError, "float16", "float32"):
            backward(PLAIN, x, half, w)
        with refuses(TypeError, "float64"):
            mioconv.conv2d_backward_bias(dy.astype(float))
        big = dy.astype(">f4")
        with refuses(TypeError, "byte|endian"):
            mioconv.conv2d_backward_weight(w.shape, big, x)


def test_signatures() -> None:
    """Names and order of design.md 3."""
    tail = ["stride", "padding", "dilation", "groups"]
    for rank in (1, 2, 3):
        for name, expected in {
            "backward_input": ["input_shape", "grad_output", "weight", *tail],
            "backward_weight": ["weight_shape", "grad_output", "input", *tail],
            "backward_bias": ["grad_output"],
            "backward": ["input", "grad_output", "weight", *tail, "output_mask"],
        }.items():
            parameters = inspect.signature(getattr(mioconv, f"conv{rank}d_{name}")).parameters
            positional = [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
            assert positional == expected
            assert {"out", "stream"} <= set(parameters)
