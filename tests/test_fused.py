"""convNd_relu_forward and convNd_add_relu_forward, fused and by every fallback."""

from __future__ import annotations

import inspect
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mioconv
from helpers import reference, winograd
from helpers.checks import operands, random_bias, refuses
from helpers.native import fault, object_counts
from helpers.operators import FORWARD
from helpers.problems import CASES, FEW, Case, valid_cases
from helpers.tensors import (
    DTYPES,
    KINDS,
    LAYOUTS,
    import_torch,
    is_channels_last,
    random_array,
    to_numpy,
    to_torch,
)
from helpers.tolerances import assert_close, assert_same_bits, error_bound, gamma
from mioconv._borrow import second_ways

PLAIN = next(case for case in CASES if case.name == "2d-same")
NOT_IMPLEMENTED, UNKNOWN, UNSUPPORTED = 6, 7, 8

# Each breaks one way; the result must come by another. Releases differ in where they refuse.
FAULTS = [
    {},
    {"miopenCreateFusionPlan": NOT_IMPLEMENTED},
    {"miopenCreateOpConvForward": UNSUPPORTED},
    {"miopenCreateOpBiasForward": UNSUPPORTED},
    {"miopenCreateOpActivationForward": UNSUPPORTED},
    {"miopenCompileFusionPlan": UNKNOWN},
    {"miopenCompileFusionPlan": UNSUPPORTED},
    {"miopenExecuteFusionPlan": UNKNOWN},
    {"miopenConvolutionBiasActivationForward": NOT_IMPLEMENTED},
]


def relu(case: Case, x: Any, w: Any, bias: Any = None, **more: Any) -> Any:
    function = getattr(mioconv, f"conv{case.rank}d_relu_forward")
    return function(x, w, bias, **{**case.settings, **more})


def add_relu(
    case: Case, x: Any, w: Any, z: Any, alpha: float, bias: Any = None, **more: Any
) -> Any:
    function = getattr(mioconv, f"conv{case.rank}d_add_relu_forward")
    return function(x, w, z, alpha, bias, **{**case.settings, **more})


def expected(
    case: Case, x: Any, w: Any, bias: Any, z: Any = None, alpha: float = 0.0, steps: int = 1
) -> tuple[Any, Any]:
    """Exact result and bound; ReLU never makes an error larger.

    `steps` kernels store their result, all but the last as intermediate values.
    """
    value = reference.conv_forward(x, w, bias, **case.settings)
    wide = [None if a is None else np.abs(a.astype(np.float64)) for a in (x, w, bias)]
    magnitude = reference.conv_forward(*wide, **case.settings)
    if alpha != 0:
        value = value + alpha * z.astype(np.float64)
        magnitude = magnitude + abs(alpha) * np.abs(z.astype(np.float64))
    # Bias adds one rounding; alpha * z two.
    length = case.forward_length + 3
    bound = error_bound(x.dtype, np.abs(value), magnitude, length, stored_between=steps - 1)
    return reference.relu(value), bound


def tensors(case: Case, dtype: Any = np.float32, layout: str = "packed") -> tuple[Any, Any, Any]:
    """x, w, z."""
    x, w = (LAYOUTS[layout](a) for a in operands(FORWARD, case, dtype))
    return x, w, LAYOUTS[layout](random_array(case.output_shape, dtype, 11) * dtype_one(dtype, 3))


def assert_steps_have_its_bits(case: Case, x: Any, w: Any, z: Any, plain: Any) -> None:
    """Fused calls give what NumPy's steps make of `plain`, the convolution by one solution: each
    step rounds as NumPy's does, so that this also shows which solution was run."""
    bias = random_bias(case)
    wide = bias.reshape(-1, *[1] * case.rank)
    zero = np.float32(0)
    assert_same_bits(relu(case, x, w), np.maximum(plain, zero) + zero)
    assert mioconv.last_call().way == "fused"
    assert_same_bits(relu(case, x, w, bias), np.maximum(plain + wide, zero) + zero)
    with_z = np.maximum(plain + wide + z, zero) + zero
    before = z.copy()
    assert_same_bits(add_relu(case, x, w, z, 1.0, bias), with_z)
    assert mioconv.last_call().way == "fused"
    assert_same_bits(z, before)
    assert add_relu(case, x, w, z, 1.0, bias, out=z) is z
    assert_same_bits(z, with_z)


def dtype_one(dtype: Any, value: float) -> Any:
    return np.asarray(value, dtype)


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_relu_against_reference(case: Case, dtype: Any, bias: bool) -> None:
    x, w, _ = tensors(case, dtype)
    b = random_bias(case, dtype) if bias else None
    got = relu(case, x, w, b)
    assert type(got) is np.ndarray
    assert got.dtype == dtype
    assert_close(got, *expected(case, x, w, b))


@pytest.mark.parametrize("alpha", [1.0, 0.5, -2.0, 0.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_add_relu_against_reference(case: Case, dtype: Any, alpha: float) -> None:
    x, w, z = tensors(case, dtype)
    before = z.tobytes()
    for bias in (None, random_bias(case, dtype)):
        got = add_relu(case, x, w, z, alpha, bias)
        assert got.dtype == dtype
        assert_close(got, *expected(case, x, w, bias, z, alpha))
    assert z.tobytes() == before, "z was written"


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"broadcast"}))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", FEW, ids=str)
def test_layouts(case: Case, dtype: Any, layout: str) -> None:
    x, w, z = tensors(case, dtype, layout)
    bias = random_bias(case, dtype)
    got = relu(case, x, w, bias)
    assert_close(got, *expected(case, x, w, bias))
    # In 1-D, swapping the last two dimensions makes channels-last.
    assert is_channels_last(got) == is_channels_last(x)
    plain = np.ascontiguousarray(z)
    for addend in (z, plain, LAYOUTS["channels_last"](z)):
        assert_close(add_relu(case, x, w, addend, 0.5, bias), *expected(case, x, w, bias, z, 0.5))


@given(case=valid_cases(), alpha=st.sampled_from([0.0, 1.0, -1.0, 0.25]), data=st.data())
def test_drawn(case: Case, alpha: float, data: st.DataObject) -> None:
    x, w, z = tensors(case, np.float32, data.draw(st.sampled_from(sorted(LAYOUTS))))
    bias = random_bias(case) if data.draw(st.booleans()) else None
    assert_close(relu(case, x, w, bias), *expected(case, x, w, bias))
    assert_close(add_relu(case, x, w, z, alpha, bias), *expected(case, x, w, bias, z, alpha))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", FEW, ids=str)
def test_equal_to_separate_steps(case: Case, dtype: Any) -> None:
    """Against mioconv's own conv, then NumPy: within the rounding of both."""
    x, w, z = tensors(case, dtype)
    bias = random_bias(case, dtype)
    plain = FORWARD(case, x, w, bias=bias).astype(np.float64)
    plain_bound = FORWARD.expected(case, x, w, bias).bound
    _, bound = expected(case, x, w, bias)
    assert_close(relu(case, x, w, bias), np.maximum(plain, 0), bound + plain_bound)
    _, bound = expected(case, x, w, bias, z, 1.0)
    right = np.maximum(plain + z.astype(np.float64), 0)
    assert_close(add_relu(case, x, w, z, 1.0, bias), right, bound + plain_bound)


class TestAlphaZero:
    """BLAS's convention: what is multiplied by zero is not read."""

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_z_is_not_read(self, case: Case, dtype: Any, value: float) -> None:
        x, w, _ = tensors(case, dtype)
        z = np.full(case.output_shape, value, dtype)
        bias = random_bias(case, dtype)
        for b in (None, bias):
            assert_close(add_relu(case, x, w, z, 0.0, b), *expected(case, x, w, b))
            assert_close(add_relu(case, x, w, z, 0.0, b, out=z), *expected(case, x, w, b))
            z[...] = value

    @pytest.mark.parametrize("faults", FAULTS, ids=lambda f: "+".join(f) or "none")
    def test_by_every_fallback(self, faults: dict[str, int]) -> None:
        x, w, _ = tensors(PLAIN)
        z = np.full(PLAIN.output_shape, np.nan, np.float32)
        mioconv.cache_clear()
        with broken(faults):
            assert_close(add_relu(PLAIN, x, w, z, 0.0), *expected(PLAIN, x, w, None, steps=3))

    def test_relu_reads_no_output(self) -> None:
        """The seed computes 0 * output where the output was never written."""
        for dtype in (np.float32, np.float16):
            x, w, _ = tensors(PLAIN, dtype)
            out = np.full(PLAIN.output_shape, np.nan, dtype)
            assert relu(PLAIN, x, w, out=out) is out
            assert_close(out, *expected(PLAIN, x, w, None))


class TestOutIsZ:
    @pytest.mark.parametrize("alpha", [1.0, -0.5])
    @pytest.mark.parametrize("layout", ["packed", "channels_last", "sliced", "negative_stride"])
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_in_place(self, case: Case, dtype: Any, layout: str, alpha: float) -> None:
        x, w, z = tensors(case, dtype)
        z = LAYOUTS[layout](z)
        bias = random_bias(case, dtype)
        value, bound = expected(case, x, w, bias, z, alpha)
        assert add_relu(case, x, w, z, alpha, bias, out=z) is z
        assert_close(z, value, bound)

    def test_by_every_fallback(self) -> None:
        for faults in FAULTS:
            x, w, z = tensors(PLAIN)
            value, bound = expected(PLAIN, x, w, None, z, 1.0, steps=3)
            mioconv.cache_clear()
            with broken(faults):
                add_relu(PLAIN, x, w, z, 1.0, out=z)
            assert_close(z, value, bound)

    def test_copied_only_for_separate_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One fused operation reads z where it lies; steps need its values after they have written
        the convolution."""
        copies: list[Any] = []
        copy = second_ways.copy
        monkeypatch.setattr(second_ways, "copy", lambda *a: copies.append(a) or copy(*a))
        for faults, way in [({}, "fused"), (FAULTS[-1], "separate")]:
            for alpha in (1.0, 0.0):  # 0: nothing of z is read
                x, w, z = tensors(PLAIN)
                value, bound = expected(PLAIN, x, w, None, z, alpha, steps=3)
                mioconv.cache_clear()
                copies.clear()
                with broken(faults):
                    add_relu(PLAIN, x, w, z, alpha, out=z)
                assert len(copies) == (way == "separate" and alpha != 0)
                assert_close(z, value, bound)
                if alpha != 0:
                    assert mioconv.last_call().way == way

    def test_another_alpha_is_no_other_problem(self) -> None:
        """In float32, where fusing saves little: nothing is listed or compiled for it."""
        x, w, z = tensors(PLAIN)
        mioconv.cache_clear()
        add_relu(PLAIN, x, w, z, 0.5)
        assert mioconv.last_call().way == "separate"
        misses = mioconv.cache_info().misses
        for i in range(20):
            alpha = 0.75 + i / 7
            value, bound = expected(PLAIN, x, w, None, z, alpha, steps=3)
            assert_close(add_relu(PLAIN, x, w, z, alpha), value, bound)
        assert mioconv.cache_info().misses == misses

    def test_kept_for_a_second_way(self) -> None:
        """Where the library does not add z, NumPy does, after the convolution has been written."""
        faults = {"miopenConvolutionBiasActivationForward": NOT_IMPLEMENTED,
                  "miopenOpTensor": NOT_IMPLEMENTED}  # fmt: skip
        for wrap in (np.asarray, to_torch):
            x, w, z = tensors(PLAIN)
            value, bound = expected(PLAIN, x, w, None, z, 1.0, steps=3)
            x, w, given = (wrap(a) for a in (x, w, z.copy()))
            mioconv.cache_clear()
            with broken(faults):
                add_relu(PLAIN, x, w, given, 1.0, out=given)
            assert_close(given, value, bound)

    def test_with_a_pinned_solution(self) -> None:
        """Which means separate steps, with every kind of tensor."""
        problem = mioconv.Problem("forward", PLAIN.input_shape, PLAIN.weight_shape,
                                  **PLAIN.settings)  # fmt: skip
        solution = mioconv.find_solutions(problem)[0]
        for wrap in KINDS.values():
            x, w, z = tensors(PLAIN)
            value, bound = expected(PLAIN, x, w, None, z, -2.0, steps=3)
            x, w, given = (wrap(a) for a in (x, w, z))
            add_relu(PLAIN, x, w, given, -2.0, out=given, solution=solution)
            assert_close(to_numpy(given), value, bound)

    def test_another_view_of_the_same_memory(self) -> None:
        """The same elements through another object are z itself; shifted by one they overlap."""
        x, w, z = tensors(PLAIN)
        value, bound = expected(PLAIN, x, w, None, z, 1.0)
        add_relu(PLAIN, x, w, z, 1.0, out=z[...])
        assert_close(z, value, bound)
        memory = np.zeros(z.size + 1, np.float32)
        first, second = memory[:-1].reshape(z.shape), memory[1:].reshape(z.shape)
        with refuses(ValueError, "out", "z"):
            add_relu(PLAIN, x, w, first, 1.0, out=second)


def broken(faults: dict[str, int]) -> ExitStack:
    stack = ExitStack()
    for function, status in faults.items():
        stack.enter_context(fault(function, nth=0, status=status))
    return stack


class TestFallbacks:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    @pytest.mark.parametrize("faults", FAULTS, ids=lambda f: "+".join(f) or "none")
    def test_right_by_every_way(self, faults: dict[str, int], layout: str, dtype: Any) -> None:
        for case in (PLAIN, *FEW[:2]):
            x, w, z = tensors(case, dtype, layout)
            bias = random_bias(case, dtype)
            mioconv.cache_clear()
            with broken(faults):
                for b in (None, bias):
                    assert_close(relu(case, x, w, b), *expected(case, x, w, b, steps=3))
                    got = add_relu(case, x, w, z, 0.5, b)
                    assert_close(got, *expected(case, x, w, b, z, 0.5, steps=3))
        mioconv.cache_clear()

    @pytest.mark.parametrize(
        "function", ["miopenActivationForward", "miopenOpTensor", "miopenConvolutionForwardBias"]
    )
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_second_ways_of_separate_steps(self, function: str, dtype: Any) -> None:
        """Nothing fuses and the library refuses one of the steps too."""
        every = {"miopenCreateFusionPlan": NOT_IMPLEMENTED,
                 "miopenConvolutionBiasActivationForward": NOT_IMPLEMENTED}  # fmt: skip
        x, w, z = tensors(PLAIN, dtype)
        bias = random_bias(PLAIN, dtype)
        for last in ({}, {function: NOT_IMPLEMENTED}):
            mioconv.cache_clear()
            with broken({**every, **last}):
                assert_close(relu(PLAIN, x, w, bias), *expected(PLAIN, x, w, bias, steps=3))
                got = add_relu(PLAIN, x, w, z, 0.5, bias)
                assert_close(got, *expected(PLAIN, x, w, bias, z, 0.5, steps=3))
        mioconv.cache_clear()

    @pytest.mark.parametrize("kind", ["numpy", "torch"])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_torch_second_way_of_a_bias(self, dtype: Any, kind: str) -> None:
        """MIOpen refuses bfloat16's bias, and some layouts: the sum is done elsewhere."""
        if kind == "torch":
            import_torch()
        for layout in ("packed", "channels_last"):
            x, w, _ = tensors(PLAIN, dtype, layout)
            bias = random_bias(PLAIN, dtype)
            value, bound = FORWARD.expected(PLAIN, x, w, bias)
            for function in ("miopenConvolutionForwardBias", "miopenOpTensor"):
                with broken({function: NOT_IMPLEMENTED}):
                    got = FORWARD(PLAIN, KINDS[kind](x), KINDS[kind](w), bias=KINDS[kind](bias))
                assert_close(got, value, bound)

    @pytest.mark.parametrize("case", FEW, ids=str)
    def test_pinned_solution(self, case: Case) -> None:
        """Fused calls have no solution ids: a pinned one runs as separate steps."""
        x, w, z = tensors(case)
        bias = random_bias(case)
        problem = mioconv.Problem.from_tensors("forward", x, w, **case.settings)
        for solution in mioconv.find_solutions(problem):
            got = relu(case, x, w, bias, solution=solution.id)
            assert_close(got, *expected(case, x, w, bias, steps=3))
            got = add_relu(case, x, w, z, 0.5, bias, solution=solution.id)
            assert_close(got, *expected(case, x, w, bias, z, 0.5, steps=3))
            assert mioconv.last_call().solution_id == solution.id

    def test_really_fused(self) -> None:
        """A cached fused call is fewer native calls than its steps, and says that it was fused."""
        x, w, _ = tensors(PLAIN)
        bias = random_bias(PLAIN)
        relu(PLAIN, x, w, bias)
        fused = mioconv.last_call()
        problem = mioconv.Problem.from_tensors("forward", x, w, **PLAIN.settings)
        relu(PLAIN, x, w, bias, solution=mioconv.find_solutions(problem)[0].id)
        assert mioconv.last_call() != fused

    def test_benchmark(self) -> None:
        mioconv.cache_clear()
        x, w, z = tensors(PLAIN)
        for _ in range(2):
            got = add_relu(PLAIN, x, w, z, 1.0, benchmark=True)
            assert_close(got, *expected(PLAIN, x, w, None, z, 1.0, steps=3))


# Wide 3x3 layers; channels that leave a remainder.
WINOGRAD = [
    Case("wide", 1, 64, (56, 56), 64, (3, 3), 1, 1),
    Case("wide-remainder", 2, 40, (43, 41), 72, (3, 3), 1, 1),
    Case("wide-frames", 1, 48, (4, 30, 30), 40, (1, 3, 3), 1, (0, 1, 1)),
]


class TestWinograd:
    """The `cpu` provider's fused operation picks Winograd where the convolution alone does."""

    @staticmethod
    def prepared(case: Case, layout: str) -> tuple[Case, Any, Any, Any, Any, int]:
        """The case with as many channels as it takes for Winograd to be well ahead of all others;
        x, w, z, the convolution by the Winograd solution that ranks first, and its tile."""
        mioconv.cache_clear()
        for factor in (1, 2, 4):
            wider = replace(case, c=factor * case.c, k=factor * case.k)
            x, w, z = tensors(wider, np.float32, layout)
            problem = mioconv.Problem.from_tensors("forward", x, w, **wider.settings)
            listed = mioconv.find_solutions(problem)
            others = min(s.time_ms for s in listed if s.algorithm != "Winograd")
            if others > 1.25 * listed[0].time_ms:
                break
        first = listed[0]
        assert first.algorithm == "Winograd"
        plain = FORWARD(wider, x, w, solution=first.id)
        return wider, x, w, z, plain, winograd.output_tile(first.name)

    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    @pytest.mark.parametrize("case", WINOGRAD, ids=str)
    def test_same_bits_as_its_steps(self, case: Case, layout: str) -> None:
        case, x, w, z, plain, _ = self.prepared(case, layout)
        assert_steps_have_its_bits(case, x, w, z, plain)

    @pytest.mark.parametrize("alpha", [1.0, -2.0])
    @pytest.mark.parametrize("layout", ["packed", "channels_last"])
    @pytest.mark.parametrize("case", WINOGRAD, ids=str)
    def test_bound(self, case: Case, layout: str, alpha: float) -> None:
        """Winograd's bound, and three roundings more of what is added."""
        case, x, w, z, _, m = self.prepared(case, layout)
        bias = random_bias(case)
        value, _ = expected(case, x, w, bias, z, alpha)
        padding = case.padding if isinstance(case.padding, tuple) else (case.padding,) * case.rank
        bound = winograd.error_bound("forward", x, w, z, padding, m)
        exact = reference.conv_forward(x, w, **case.settings)
        size = np.abs(exact) + bound + np.abs(bias).reshape(-1, *[1] * case.rank)
        bound = bound + gamma(3) * (size + abs(alpha) * np.abs(z))
        assert_close(add_relu(case, x, w, z, alpha, bias), value, bound)

    def test_strict_accuracy(self) -> None:
        """The bound of a plain sum holds then, in separate steps."""
        case = WINOGRAD[0]
        case, x, w, z, _, _ = self.prepared(case, "packed")
        with mioconv.flags(strict_accuracy=True):
            got = add_relu(case, x, w, z, 1.0)
            assert mioconv.last_call().way == "separate"
            assert_close(got, *expected(case, x, w, None, z, 1.0, steps=3))
            narrow = operands(FORWARD, PLAIN)
            relu(PLAIN, *narrow)
            assert mioconv.last_call().way == "fused"

    def test_nan_comes_through(self) -> None:
        case = WINOGRAD[1]
        case, x, w, z, _, _ = self.prepared(case, "channels_last")
        z[0, 3, 5, 7] = np.nan
        got = add_relu(case, x, w, z, 1.0)
        assert np.array_equal(np.isnan(got), np.isnan(z))

    @pytest.mark.parametrize("slow", ["fused", "separate"])
    def test_benchmark(self, slow: str) -> None:
        """The faster way is chosen, and stays; an allocator that sleeps makes one slower."""
        case = WINOGRAD[1]
        case, x, w, z, _, _ = self.prepared(case, "packed")
        value, bound = expected(case, x, w, None, z, 1.0, steps=3)
        bound = bound + winograd.error_bound("forward", x, w, z, (1, 1), 4)

        def allocate(nbytes: int, *_: Any) -> None:
            # The fused operation asks for a bias of zeros, separate steps for their workspace.
            # Longer than other work on the machine may hold up the other way.
            if (nbytes == 4 * case.k) == (slow == "fused"):
                time.sleep(0.2 if slow == "fused" else 0.05)

        fast = {"fused": "separate", "separate": "fused"}[slow]
        mioconv.set_allocator(allocate)
        try:
            for benchmark in (True, True, False):
                assert_close(add_relu(case, x, w, z, 1.0, benchmark=benchmark), value, bound)
                assert mioconv.last_call().way == fast
        finally:
            mioconv.set_allocator(None)

    def test_deterministic_calls_keep_to_one_way(self) -> None:
        """Which is not timed: while one thread did that, others would run the other way."""
        case = WINOGRAD[1]
        case, x, w, z, _, _ = self.prepared(case, "packed")
        mioconv.set_allocator(lambda nbytes, *_: time.sleep(0.02 * (nbytes == 4 * case.k)))
        try:
            for _ in range(2):
                add_relu(case, x, w, z, 1.0, benchmark=True, deterministic=True)
                assert mioconv.last_call().way == "fused"
        finally:
            mioconv.set_allocator(None)


# Rows in one piece and in several, the last vector not full.
LONG_KERNELS = [
    Case("positions", 1, 96, (49,), 96, (128,), 1, 64, 1, 4),
    Case("long-row", 2, 24, (170,), 20, (64,), 1, 32),
    Case("long-rows", 1, 16, (5, 40), 14, (3, 64), 1, (1, 32), 1, 2),
]


class TestLongKernels:
    """The `cpu` provider's fused operation takes the kernel for them, which ends sums itself."""

    @pytest.mark.parametrize("case", LONG_KERNELS, ids=str)
    def test_same_bits_as_its_steps(self, case: Case) -> None:
        mioconv.cache_clear()
        x, w, z = tensors(case)
        problem = mioconv.Problem.from_tensors("forward", x, w, **case.settings)
        first = mioconv.find_solutions(problem)[0]
        assert first.name == "direct_rows|asis"
        plain = FORWARD(case, x, w, solution=first.id)
        assert_steps_have_its_bits(case, x, w, z, plain)

    @pytest.mark.parametrize("case", LONG_KERNELS, ids=str)
    def test_nan_comes_through(self, case: Case) -> None:
        x, w, z = tensors(case)
        z[..., -1] = np.nan
        assert np.array_equal(np.isnan(add_relu(case, x, w, z, 1.0)), np.isnan(z))


def test_plans_are_cached_and_arguments_destroyed() -> None:
    x, w, z = tensors(PLAIN)
    bias = random_bias(PLAIN)
    relu(PLAIN, x, w, bias)
    add_relu(PLAIN, x, w, z, 1.0, bias)
    before = object_counts()
    for _ in range(50):
        relu(PLAIN, x, w, bias)
        add_relu(PLAIN, x, w, z, 1.0, bias)
    after = object_counts()
    assert after["fusion_plans"] == before["fusion_plans"]
    arguments = after["operator_args"]
    live_before = before["operator_args"]["created"] - before["operator_args"]["destroyed"]
    assert arguments["created"] - arguments["destroyed"] == live_before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", ["x", "w", "bias", "z"])
def test_nan_comes_through(source: str, dtype: Any) -> None:
    """ReLU is not a way to lose a NaN."""
    given_ = dict(zip(("x", "w", "z"), tensors(PLAIN, dtype), strict=True))
    given_["bias"] = random_bias(PLAIN, dtype)
    # The middle of the kernel, which meets no padding: whether 0 * NaN is added there is open.
    where = {"w": (0, 0, 1, 1), "bias": (0,)}.get(source, (0, 0, 0, 0))
    given_[source][where] = np.nan
    x, w, z, bias = (given_[name] for name in ("x", "w", "z", "bias"))
    with np.errstate(invalid="ignore"):
        right = np.isnan(expected(PLAIN, x, w, bias, z, 1.0)[0])
        assert np.array_equal(np.isnan(add_relu(PLAIN, x, w, z, 1.0, bias).astype("f4")), right)
        assert right.any()
        if source != "z":
            right = np.isnan(expected(PLAIN, x, w, bias)[0])
            assert np.array_equal(np.isnan(relu(PLAIN, x, w, bias).astype("f4")), right)


@pytest.mark.parametrize("case", FEW, ids=str)
def test_empty_and_missing_batch(case: Case) -> None:
    x, w, z = tensors(case)
    assert relu(case, x[:0], w).shape == (0, *case.output_shape[1:])
    assert add_relu(case, x[:0], w, z[:0], 1.0).shape == (0, *case.output_shape[1:])
    assert_same_bits(relu(case, x[0], w), relu(case, x[:1], w)[0])
    assert_same_bits(add_relu(case, x[0], w, z[0], 1.0), add_relu(case, x[:1], w, z[:1], 1.0)[0])


@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)])
def test_same_padding(kernel: Any) -> None:
    x, w = random_array((1, 3, 6, 5)), random_array((4, 3, *kernel), seed=1)
    pairs = reference.same_padding(kernel)
    value = reference.conv_forward(x, w, padding=pairs)
    magnitude = reference.conv_forward(abs(x), abs(w), padding=pairs)
    bound = error_bound(x.dtype, abs(value), magnitude, 3 * kernel[0] * kernel[1] + 1)
    assert_close(mioconv.conv2d_relu_forward(x, w, padding="same"), reference.relu(value), bound)


def test_torch() -> None:
    torch = import_torch()
    for dtype in (np.float32, np.float16):
        x, w, z = tensors(PLAIN, dtype)
        bias = random_bias(PLAIN, dtype)
        got = add_relu(PLAIN, *(to_torch(a) for a in (x, w, z)), 0.5, to_torch(bias))
        assert isinstance(got, torch.Tensor)
        assert_same_bits(to_numpy(got), add_relu(PLAIN, x, w, z, 0.5, bias))
        assert_same_bits(relu(PLAIN, to_torch(x), to_torch(w)), relu(PLAIN, x, w))


class TestBadInput:
    @pytest.mark.parametrize(
        ("z", "exception", "words"),
        [
            (np.zeros((2, 8, 7, 6), "f4"), ValueError, ["z", "7", "6"]),
            (np.zeros((2, 8, 7), "f4"), ValueError, ["z"]),
            (np.zeros((1, 8, 1, 1), "f4"), ValueError, ["z"]),  # no broadcasting
            (np.zeros((2, 8, 7, 7), "f2"), TypeError, ["z", "float16", "float32"]),
            (np.zeros((2, 8, 7, 7), ">f4"), TypeError, ["z", "byte|endian"]),
            (None, TypeError, ["z"]),
        ],
    )
    def test_z(self, z: Any, exception: Any, words: list[str]) -> None:
        x, w, _ = tensors(PLAIN)
        out = np.full(PLAIN.output_shape, 3, np.float32)
        for alpha in (1.0, 0.0):
            with refuses(exception, *words):
                add_relu(PLAIN, x, w, z, alpha, out=out)
        assert (out == 3).all()

    def test_alpha(self) -> None:
        x, w, z = tensors(PLAIN)
        for alpha in ("1", None, 1j):
            with refuses(TypeError, "alpha|float|number"):
                add_relu(PLAIN, x, w, z, alpha)

    def test_out_overlaps_input(self) -> None:
        x = random_array((1, 2, 4, 4))
        w = random_array((2, 2, 1, 1), seed=1)
        with refuses(ValueError, "out"):
            mioconv.conv2d_relu_forward(x, w, out=x)
        z = random_array(x.shape)
        with refuses(ValueError, "out"):
            mioconv.conv2d_add_relu_forward(x, w, z, out=x)

    def test_settings(self) -> None:
        x, w, z = tensors(PLAIN)
        with refuses(ValueError, "stride"):
            relu(PLAIN, x, w, stride=0)
        with refuses(ValueError, "bias", "8", "3"):
            relu(PLAIN, x, w, np.zeros(3, "f4"))
        with refuses(ValueError, "3"):
            add_relu(PLAIN, x, w, z, 1.0, groups=3)


def test_signatures() -> None:
    for rank in (1, 2, 3):
        tail = ["bias", "stride", "padding", "dilation", "groups"]
        for name, expected_names in {
            "relu": ["input", "weight", *tail],
            "add_relu": ["input", "weight", "z", "alpha", *tail],
        }.items():
            function = getattr(mioconv, f"conv{rank}d_{name}_forward")
            parameters = inspect.signature(function).parameters
            names = [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
            assert names == expected_names
            if name == "add_relu":
                assert parameters["alpha"].default == 1.0
