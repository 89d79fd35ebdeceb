"""The float64 reference, before anything is compared with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import reference
from helpers.problems import CASES, TRANSPOSED_CASES, Case, valid_cases
from helpers.tensors import import_torch, randoms
from helpers.tolerances import assert_close, error_bound, gamma, tolerance

ALL = CASES + TRANSPOSED_CASES


def draw(case: Case, seed: int = 0) -> tuple[Any, Any, Any]:
    """x, w, dy in float64."""
    rng = randoms(seed)
    shapes = (case.input_shape, case.weight_shape, case.output_shape)
    x, w, dy = (rng.uniform(-1, 1, shape) for shape in shapes)
    return x, w, dy


def operators(case: Case) -> tuple[Any, Any, Any]:
    """forward, backward input, backward weight of one call form."""
    if case.transposed:
        return (
            lambda x, w: reference.conv_transpose_forward(x, w, **case.settings),
            lambda dy, w: reference.conv_transpose_backward_input(dy, w, **case.settings),
            lambda dy, x: reference.conv_transpose_backward_weight(
                case.weight_shape, dy, x, **case.settings
            ),
        )
    return (
        lambda x, w: reference.conv_forward(x, w, **case.settings),
        lambda dy, w: reference.conv_backward_input(case.input_shape, dy, w, **case.settings),
        lambda dy, x: reference.conv_backward_weight(case.weight_shape, dy, x, **case.settings),
    )


class TestByHand:
    """Cases small enough for paper."""

    def test_1d(self) -> None:
        x, w = [[[1, 2, 3, 4]]], [[[1, 10]]]
        assert reference.conv_forward(x, w).tolist() == [[[21, 32, 43]]]
        assert reference.conv_forward(x, w, padding=1).tolist() == [[[10, 21, 32, 43, 4]]]
        assert reference.conv_forward(x, w, stride=2).tolist() == [[[21, 43]]]
        assert reference.conv_forward(x, w, dilation=2).tolist() == [[[31, 42]]]
        assert reference.conv_forward(x, w, [5]).tolist() == [[[26, 37, 48]]]
        assert reference.conv_forward(x, w, padding=((0, 1),)).tolist() == [[[21, 32, 43, 4]]]

    def test_is_a_correlation(self) -> None:
        """The kernel is not flipped."""
        x = np.zeros((1, 1, 3, 3))
        x[0, 0, 1, 1] = 1
        w = np.arange(9.0).reshape(1, 1, 3, 3)
        y = reference.conv_forward(x, w, padding=1)
        assert np.array_equal(y[0, 0], w[0, 0, ::-1, ::-1])

    def test_groups(self) -> None:
        x = np.array([1, 2, 3, 4.0]).reshape(1, 4, 1)
        w = np.array([[1, 10], [2, 20], [3, 30], [4, 40.0]]).reshape(4, 2, 1)
        assert reference.conv_forward(x, w, groups=2).ravel().tolist() == [21, 42, 129, 172]

    def test_depthwise_multiplier(self) -> None:
        """Output channels 0 and 1 read input channel 0."""
        x = np.array([1, 2.0]).reshape(1, 2, 1)
        w = np.array([1, 10, 100, 1000.0]).reshape(4, 1, 1)
        assert reference.conv_forward(x, w, groups=2).ravel().tolist() == [1, 10, 200, 2000]

    def test_asymmetric_dimensions(self) -> None:
        x = np.arange(6.0).reshape(1, 1, 2, 3)
        w = np.array([[1.0, 1.0]]).reshape(1, 1, 1, 2)
        y = reference.conv_forward(x, w, stride=(1, 2), padding=(0, 1))
        assert y.tolist() == [[[[0, 3], [3, 9]]]]

    def test_backward(self) -> None:
        x, w, dy = [[[1, 2, 3, 4]]], [[[1, 10]]], [[[1, 0, 2]]]
        assert reference.conv_backward_input((1, 1, 4), dy, w).tolist() == [[[1, 10, 2, 20]]]
        assert reference.conv_backward_weight((1, 1, 2), dy, x).tolist() == [[[7, 10]]]
        assert reference.conv_backward_bias([[[1, 2], [3, 4]], [[10, 20], [30, 40]]]).tolist() == [
            33,
            77,
        ]

    def test_transposed(self) -> None:
        x, w = [[[1, 2]]], [[[1, 10, 100]]]
        forward = reference.conv_transpose_forward
        assert forward(x, w).tolist() == [[[1, 12, 120, 200]]]
        assert forward(x, w, stride=2).tolist() == [[[1, 10, 102, 20, 200]]]
        assert forward(x, w, stride=2, padding=1).tolist() == [[[10, 102, 20]]]
        assert forward(x, w, stride=2, padding=1, output_padding=1).tolist() == [
            [[10, 102, 20, 200]]
        ]
        assert forward(x, w, dilation=2, stride=3).tolist() == [[[1, 0, 10, 2, 100, 20, 0, 200]]]

    def test_transposed_groups(self) -> None:
        x = np.array([1, 2.0]).reshape(1, 2, 1)
        w = np.array([[1, 10], [100, 1000.0]]).reshape(2, 2, 1)
        y = reference.conv_transpose_forward(x, w, groups=2)
        assert y.ravel().tolist() == [1, 10, 200, 2000]

    def test_same_padding(self) -> None:
        assert reference.same_padding((3, 4), (2, 1)) == ((2, 2), (1, 2))
        assert reference.output_size((5, 6), (3, 4), 1, ((2, 2), (1, 2)), (2, 1)) == (5, 6)

    def test_fused(self) -> None:
        x, w = [[[1, -2]]], [[[1]]]
        assert reference.conv_relu_forward(x, w, [1]).tolist() == [[[2, 0]]]
        z = [[[np.nan, np.nan]]]
        assert reference.conv_add_relu_forward(x, w, z, 0.0).tolist() == [[[1, 0]]]
        assert reference.conv_add_relu_forward(x, w, [[[2, 8]]], 0.5, [1]).tolist() == [[[3, 3]]]
        assert np.isnan(reference.relu([np.nan]))


@pytest.mark.parametrize("case", ALL, ids=str)
def test_adjoint(case: Case) -> None:
    """<y(x, w), dy> is linear in each argument: three ways to compute one number."""
    x, w, dy = draw(case)
    forward, backward_input, backward_weight = operators(case)
    y = forward(x, w)
    assert y.shape == case.output_shape
    expected = np.vdot(y, dy)
    assert np.isclose(np.vdot(x, backward_input(dy, w)), expected, rtol=1e-12, atol=1e-11)
    assert np.isclose(np.vdot(w, backward_weight(dy, x)), expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("transposed", [False, True])
@given(data=st.data())
def test_adjoint_of_drawn(transposed: bool, data: st.DataObject) -> None:
    test_adjoint(data.draw(valid_cases(transposed=transposed)))


@pytest.mark.parametrize("case", [c for c in ALL if c.rank < 3], ids=str)
def test_finite_differences(case: Case) -> None:
    """The operators are linear, so central differences are exact but for rounding."""
    x, w, dy = draw(case)
    forward, backward_input, backward_weight = operators(case)
    rng = randoms(1)
    step_x, step_w = rng.uniform(-1, 1, x.shape), rng.uniform(-1, 1, w.shape)
    h = 1e-3
    slope_x = np.vdot(forward(x + h * step_x, w) - forward(x - h * step_x, w), dy) / (2 * h)
    slope_w = np.vdot(forward(x, w + h * step_w) - forward(x, w - h * step_w), dy) / (2 * h)
    assert np.isclose(np.vdot(backward_input(dy, w), step_x), slope_x, rtol=1e-9, atol=1e-8)
    assert np.isclose(np.vdot(backward_weight(dy, x), step_w), slope_w, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_against_torch(case: Case) -> None:
    torch = import_torch()
    x, w, dy = (torch.from_numpy(a).requires_grad_(True) for a in draw(case))
    bias = torch.arange(case.k, dtype=torch.float64, requires_grad=True)
    name = f"conv_transpose{case.rank}d" if case.transposed else f"conv{case.rank}d"
    y = getattr(torch.nn.functional, name)(x, w, bias, **case.settings)
    y.backward(dy.detach())
    forward, backward_input, backward_weight = operators(case)
    nx, nw, ndy = (t.detach().numpy() for t in (x, w, dy))
    got = [
        forward(nx, nw) + np.arange(case.k, dtype=float).reshape(-1, *(1,) * case.rank),
        backward_input(ndy, nw),
        backward_weight(ndy, nx),
        reference.conv_backward_bias(ndy),
    ]
    for ours, theirs in zip(got, (y.detach(), x.grad, w.grad, bias.grad), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-11, atol=1e-11)


class TestTolerances:
    """The bound holds for honest arithmetic and catches dishonest arithmetic."""

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    @pytest.mark.parametrize("length", [1, 9, 1000])
    def test_bounds_float32_sums(self, dtype: str, length: int) -> None:
        rng = randoms(length)
        a, b = (rng.uniform(-1, 1, (500, length)).astype(dtype) for _ in range(2))
        total = np.zeros(500, np.float32)
        for i in range(length):  # one after the other: the worst order
            total += a[:, i].astype(np.float32) * b[:, i].astype(np.float32)
        exact = (a.astype(np.float64) * b.astype(np.float64)).sum(1)
        magnitude = np.abs(a.astype(np.float64) * b.astype(np.float64)).sum(1)
        assert_close(
            total.astype(dtype), exact, error_bound(dtype, np.abs(exact), magnitude, length)
        )

    def test_refuses_half_accumulation(self) -> None:
        """A sum kept in float16 is not what design.md promises; the bound must notice."""
        rng = randoms(0)
        a, b = (rng.uniform(0, 1, (200, 500)).astype(np.float16) for _ in range(2))
        total = np.zeros(200, np.float16)
        for i in range(500):
            total += a[:, i] * b[:, i]
        exact = (a.astype(np.float64) * b.astype(np.float64)).sum(1)
        with pytest.raises(AssertionError, match="outside their bound"):
            assert_close(total, exact, error_bound(np.float16, exact, exact, 500))

    def test_message_names_the_worst(self) -> None:
        with pytest.raises(AssertionError, match=r"2 of 3 .* worst at \(2,\).* ratio 3"):
            assert_close(np.array([1.0, 3.0, 6.0]), [1.0, 1.0, 3.0], [1.0, 1.0, 1.0])

    def test_nan_must_match(self) -> None:
        assert_close(np.array([np.nan, np.inf]), [np.nan, np.inf], 0.0)
        for got, expected in [([np.nan], [1.0]), ([1.0], [np.nan]), ([np.inf], [-np.inf])]:
            with pytest.raises(AssertionError):
                assert_close(np.array(got), expected, 1e9)

    def test_other_algorithms(self) -> None:
        """Norm-wise and TF32 bounds only ever widen the plain one."""
        magnitude = np.array([1.0, 100.0])
        plain = error_bound("float32", magnitude, magnitude, 9)
        assert (error_bound("float32", magnitude, magnitude, 9, amplification=1.0) >= plain).all()
        tf32 = error_bound("float32", magnitude, magnitude, 9, operand_roundoff=2.0**-11)
        assert tf32[0] == pytest.approx(2 * 2.0**-11, rel=1e-2)
        assert tolerance("float32", 9, 100.0) == pytest.approx(plain[1])
        assert gamma(1) == pytest.approx(2.0**-24)
