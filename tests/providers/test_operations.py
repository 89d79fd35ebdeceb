"""Bias, activation, tensor operations and fused convolutions."""

from __future__ import annotations

import ctypes as c
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from . import abi
from .abi import scalar
from .cases import SHAPES, make_case
from .test_convolution import DTYPES, by_dtype, by_layout

SHAPE = (3, 21, 7, 5)
VOLUME = (2, 5, 3, 4, 6)


def make(shape: tuple[int, ...], dtype: Any, last: bool, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    return abi.channels_last(values) if last else values


def rounded(values: np.ndarray, dtype: Any) -> np.ndarray:
    return values.astype(np.float32).astype(dtype)


def assert_equal(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(actual.astype(np.float32), expected.astype(np.float32))


def per_channel(bias: np.ndarray, rank: int) -> np.ndarray:
    return bias.reshape(1, -1, *[1] * (rank - 2))


@by_dtype
@by_layout
@pytest.mark.parametrize("shape", [SHAPE, VOLUME, (1, 1, 4, 4), (2, 300, 1, 1)], ids=str)
def test_bias(library: abi.Library, handle: Any, shape: Any, dtype: Any, last: bool) -> None:
    y, bias = make(shape, dtype, last), make((shape[1],), dtype, False, 1)
    expected = rounded(
        y.astype(np.float32) + per_channel(bias, len(shape)).astype(np.float32), dtype
    )
    with library.tensor(y) as yd, library.tensor(per_channel(bias, len(shape))) as bd:
        library.call(
            "miopenConvolutionForwardBias", handle, scalar(1), bd, abi.pointer(bias), scalar(0),
            yd, abi.pointer(y),
        )  # fmt: skip
        assert_equal(y, expected)
        status = library.status(
            "miopenConvolutionForwardBias", handle, scalar(2), bd, abi.pointer(bias), scalar(0),
            yd, abi.pointer(y),
        )  # fmt: skip
        assert status == abi.NOT_IMPLEMENTED

        gradient = np.full(shape[1], np.nan, np.float32).astype(dtype)
        library.call(
            "miopenConvolutionBackwardBias", handle, scalar(1), yd, abi.pointer(y), scalar(0), bd,
            abi.pointer(gradient),
        )  # fmt: skip
    axes = (0, *range(2, len(shape)))
    exact = y.astype(np.float64).sum(axes)
    unit = {"float32": 2.0**-22, "float16": 2.0**-11, "bfloat16": 2.0**-8}[np.dtype(dtype).name]
    slack = 1e-6 * np.abs(y.astype(np.float64)).sum(axes)
    assert (np.abs(gradient.astype(np.float64) - exact) <= unit * np.abs(exact) + slack).all()


def test_bias_gradient_of_many_elements(library: abi.Library, handle: Any) -> None:
    """A long sum of equal signs: naive float accumulation would drift."""
    for last in (False, True):
        dy = abi.channels_last(np.full((8, 4, 200, 200), 0.1, np.float32))
        dy = dy if last else np.ascontiguousarray(dy)
        db = np.zeros(4, np.float32)
        with library.tensor(dy) as yd, library.tensor(per_channel(db, 4)) as bd:
            library.call(
                "miopenConvolutionBackwardBias", handle, scalar(1), yd, abi.pointer(dy), scalar(0),
                bd, abi.pointer(db),
            )  # fmt: skip
        np.testing.assert_allclose(db, float(np.float32(0.1)) * 8 * 200 * 200, rtol=1e-6)


@by_dtype
@by_layout
@pytest.mark.parametrize("op", range(4), ids=["add", "mul", "min", "max"])
def test_op_tensor(library: abi.Library, handle: Any, op: int, dtype: Any, last: bool) -> None:
    function = (np.add, np.multiply, np.minimum, np.maximum)[op]
    a = make(SHAPE, dtype, last)
    for small in ((1, 21, 1, 1), (1, 1, 1, 1), (3, 1, 7, 1), SHAPE):
        b, out = make(small, dtype, False, 1), make(SHAPE, dtype, last, 2)
        before = out.astype(np.float32)
        wide_a, wide_b = np.float32(0.5) * a.astype(np.float32), 2 * b.astype(np.float32)
        for beta in (0.0, 1.0):
            out[...] = before.astype(dtype)
            if beta == 0:
                out[...] = np.nan
            with library.tensor(a) as ad, library.tensor(b) as bd, library.tensor(out) as cd:
                library.call(
                    "miopenOpTensor", handle, op, scalar(0.5), ad, abi.pointer(a), scalar(2), bd,
                    abi.pointer(b), scalar(beta), cd, abi.pointer(out),
                )  # fmt: skip
            expected = function(wide_a, wide_b) + (before if beta else 0)
            unit = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}[np.dtype(dtype).name]
            np.testing.assert_allclose(out.astype(np.float32), expected, rtol=unit, atol=unit)


@by_dtype
def test_set_and_scale(library: abi.Library, handle: Any, dtype: Any) -> None:
    """The scalar has the tensor's own type, and gaps are left alone."""
    wide = np.full((2, 3, 4, 8), 9, np.float32).astype(dtype)
    view = wide[..., :5]
    value = np.array([1.5], np.float32).astype(dtype)
    with library.tensor(view) as desc:
        scalar_of_the_type = c.c_void_p(value.ctypes.data)  # the host's, whatever the device
        library.call("miopenSetTensor", handle, desc, abi.pointer(view), scalar_of_the_type)
        assert (view.astype(np.float32) == 1.5).all()
        library.call("miopenScaleTensor", handle, desc, abi.pointer(view), scalar_of_the_type)
    assert (view.astype(np.float32) == 2.25).all()
    assert (wide[..., 5:].astype(np.float32) == 9).all()


@pytest.mark.parametrize("to", DTYPES, ids=lambda d: f"to_{d}")
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: f"from_{d}")
@pytest.mark.parametrize("shape", [SHAPE, VOLUME, (2, 64, 56, 3)], ids=str)
def test_transform(library: abi.Library, handle: Any, shape: Any, dtype: Any, to: Any) -> None:
    x = make(shape, dtype, False)
    for last in (False, True):
        y = abi.empty_like_layout(shape, to, last)
        with library.tensor(x) as xd, library.tensor(y) as yd:
            library.call(
                "miopenTransformTensor", handle, scalar(1), xd, abi.pointer(x), scalar(0), yd,
                abi.pointer(y),
            )  # fmt: skip
        assert_equal(y, rounded(x, to))


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-6, -1e-6, 2, -2, 7, -7, 100.0]


def activated(values: np.ndarray, mode: int, alpha: float) -> np.ndarray:
    if mode == abi.RELU:
        return np.maximum(values, 0)
    if mode == abi.CLIPPED_RELU:
        return np.minimum(np.maximum(values, 0), alpha)
    return np.where(values > 0, values, alpha * values) if mode == abi.LEAKY_RELU else values


MODES = [
    (abi.PASSTHRU, 0.0),
    (abi.RELU, 0.0),
    (abi.CLIPPED_RELU, 6.0),
    (abi.LEAKY_RELU, 0.25),
]


@by_dtype
@pytest.mark.parametrize(("mode", "alpha"), MODES)
def test_activation(library: abi.Library, handle: Any, mode: int, alpha: float, dtype: Any) -> None:
    x = np.array(SPECIAL * 3, np.float32).astype(dtype).reshape(1, 3, 3, 4)
    y = np.empty_like(x)
    with library.tensor(x) as desc, library.activation(mode, alpha) as act:
        library.call(
            "miopenActivationForward", handle, act, scalar(1), desc, abi.pointer(x), scalar(0),
            desc, abi.pointer(y),
        )  # fmt: skip
    assert_equal(y, rounded(activated(x.astype(np.float32), mode, alpha), dtype))


def test_unknown_activation(library: abi.Library, handle: Any) -> None:
    x = np.zeros((1, 1, 2, 2), np.float32)
    with library.tensor(x) as desc, library.activation(abi.LOGISTIC) as act:
        status = library.status(
            "miopenActivationForward", handle, act, scalar(1), desc, abi.pointer(x), scalar(0),
            desc, abi.pointer(x),
        )  # fmt: skip
    assert status == abi.UNSUPPORTED


# ---- fused convolutions

FUSABLE = [s for s in SHAPES if not s.transposed]


class Fusion:
    """A fusion plan: convolution, and what is asked for behind it."""

    def __init__(self, library: abi.Library, stack: ExitStack, x: np.ndarray, w: np.ndarray,
                 shape: Any, bias: np.ndarray | None, mode: int | None) -> None:  # fmt: skip
        self.library = library
        xd, wd = (stack.enter_context(library.tensor(a)) for a in (x, w))
        conv = stack.enter_context(library.convolution(**shape.settings()))
        self.plan = library.create("miopenCreateFusionPlan", 0, xd)
        stack.callback(library.call, "miopenDestroyFusionPlan", self.plan)
        self.ops: dict[str, Any] = {}
        self._add("conv", "miopenCreateOpConvForward", conv, wd)
        if bias is not None:
            bd = stack.enter_context(library.tensor(per_channel(bias, x.ndim)))
            self._add("bias", "miopenCreateOpBiasForward", bd)
        if mode is not None:
            self._add("activation", "miopenCreateOpActivationForward", mode)

    def _add(self, name: str, function: str, *arguments: Any) -> None:
        op = c.c_void_p()
        self.library.call(function, self.plan, c.byref(op), *arguments)
        self.ops[name] = op


@by_dtype
@by_layout
@pytest.mark.parametrize("with_bias", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("mode", [None, abi.RELU, abi.LEAKY_RELU])
@pytest.mark.parametrize("shape", FUSABLE, ids=lambda s: s.name)
def test_fusion_plan(
    library: abi.Library, handle: Any, shape: Any, mode: int | None, with_bias: bool, last: bool,
    dtype: Any,
) -> None:  # fmt: skip
    case = make_case(shape, dtype)
    x, w, y = case.arrays(abi.FORWARD, last)
    bias = make((shape.w[0],), dtype, False, 5) if with_bias else None
    with ExitStack() as stack:
        stack.enter_context(library.resident(w, bias))
        fusion = Fusion(library, stack, x, w, shape, bias, mode)
        status = library.status("miopenCompileFusionPlan", handle, fusion.plan)
        if status == abi.UNSUPPORTED and library.provider == "cuda":
            pytest.skip("cuDNN computes no such graph: the caller takes separate steps")
        assert status == 0
        args = library.create("miopenCreateOperatorArgs")
        stack.callback(library.call, "miopenDestroyOperatorArgs", args)
        library.call(
            "miopenSetOpArgsConvForward", args, fusion.ops["conv"], scalar(1), scalar(0),
            abi.pointer(w),
        )  # fmt: skip
        if bias is not None:
            library.call(
                "miopenSetOpArgsBiasForward", args, fusion.ops["bias"], scalar(1), scalar(0),
                abi.pointer(bias),
            )  # fmt: skip
        if mode is not None:
            library.call(
                "miopenSetOpArgsActivForward", args, fusion.ops["activation"], scalar(1),
                scalar(0), c.c_double(0.25), c.c_double(0), c.c_double(0),
            )  # fmt: skip
        xd, yd = (stack.enter_context(library.tensor(a)) for a in (x, y))
        library.call(
            "miopenExecuteFusionPlan", handle, fusion.plan, xd, abi.pointer(x), yd,
            abi.pointer(y), args,
        )  # fmt: skip
    exact = case.exact[abi.FORWARD]
    if bias is not None:
        exact = exact + per_channel(bias, x.ndim).astype(np.float64)
    expected = activated(exact, mode or 0, 0.25)
    slack = case.bound[abi.FORWARD] + {4: 1e-6, 2: 1e-2}[x.itemsize] * (1 + np.abs(expected))
    assert (np.abs(y.astype(np.float64) - expected) <= slack).all()


@pytest.mark.parametrize("mode", [abi.LOGISTIC, abi.CLIPPED_RELU])
def test_unsupported_plans_fail_to_compile(library: abi.Library, handle: Any, mode: int) -> None:
    case = make_case(FUSABLE[1], np.float32)
    x, w, y = case.arrays(abi.FORWARD, False)
    with ExitStack() as stack:
        fusion = Fusion(library, stack, x, w, FUSABLE[1], None, mode)
        assert library.status("miopenCompileFusionPlan", handle, fusion.plan) == abi.UNSUPPORTED
        args = library.create("miopenCreateOperatorArgs")
        stack.callback(library.call, "miopenDestroyOperatorArgs", args)
        xd, yd = (stack.enter_context(library.tensor(a)) for a in (x, y))
        status = library.status(
            "miopenExecuteFusionPlan", handle, fusion.plan, xd, abi.pointer(x), yd,
            abi.pointer(y), args,
        )  # fmt: skip
        assert status == abi.BAD_PARM


def fused_call(
    library: abi.Library, handle: Any, shape: Any, x: Any, w: Any, y: Any, z: Any, alpha2: float,
    bias: Any, mode: int, slope: float = 0,
) -> int:  # fmt: skip
    with ExitStack() as stack:
        xd, wd, yd = (stack.enter_context(library.tensor(a)) for a in (x, w, y))
        zd = None if z is None else stack.enter_context(library.tensor(z))
        bd = None
        if bias is not None:
            bd = stack.enter_context(library.tensor(per_channel(bias, x.ndim)))
        conv = stack.enter_context(library.convolution(**shape.settings()))
        act = stack.enter_context(library.activation(mode, slope))
        status = library.status(
            "miopenConvolutionBiasActivationForward", handle, scalar(1), xd, abi.pointer(x), wd,
            abi.pointer(w), conv, 1, None, c.c_size_t(0), scalar(alpha2), zd, abi.pointer(z), bd,
            abi.pointer(bias), act, yd, abi.pointer(y),
        )  # fmt: skip
        if status == abi.UNSUPPORTED and library.provider == "cuda":
            pytest.skip("cuDNN computes no such graph: the caller takes separate steps")
        return status


@by_dtype
@by_layout
@pytest.mark.parametrize("aliased", [False, True], ids=["z", "z_is_y"])
@pytest.mark.parametrize("alpha2", [1.0, 0.5])
@pytest.mark.parametrize("shape", FUSABLE, ids=lambda s: s.name)
def test_add_and_activate(
    library: abi.Library,
    handle: Any,
    shape: Any,
    alpha2: float,
    aliased: bool,
    last: bool,
    dtype: Any,
) -> None:
    case = make_case(shape, dtype)
    x, w, y = case.arrays(abi.FORWARD, last)
    z = make(shape.y, dtype, last, 9)
    addend = z.astype(np.float64)
    bias = make((shape.w[0],), dtype, False, 5)
    out = z if aliased else y
    assert fused_call(library, handle, shape, x, w, out, z, alpha2, bias, abi.RELU) == 0
    exact = case.exact[abi.FORWARD] + alpha2 * addend
    expected = np.maximum(exact + per_channel(bias, x.ndim).astype(np.float64), 0)
    slack = case.bound[abi.FORWARD] + {4: 1e-6, 2: 1e-2}[x.itemsize] * (1 + np.abs(expected))
    assert (np.abs(out.astype(np.float64) - expected) <= slack).all()
    if not aliased:
        np.testing.assert_array_equal(z.astype(np.float64), addend)


@by_dtype
@by_layout
def test_zero_alpha_does_not_read_z(
    library: abi.Library, handle: Any, last: bool, dtype: Any
) -> None:
    shape = FUSABLE[1]
    case = make_case(shape, dtype)
    x, w, y = case.arrays(abi.FORWARD, last)
    z = np.full_like(y, np.nan)
    for given in (z, None, y):
        y[...] = np.nan
        assert fused_call(library, handle, shape, x, w, y, given, 0.0, None, abi.PASSTHRU) == 0
        case.check(abi.FORWARD, y)


@by_dtype
@pytest.mark.parametrize("shape", FUSABLE, ids=lambda s: s.name)
def test_fused_relu_keeps_nan_and_gives_positive_zero(
    library: abi.Library, handle: Any, shape: Any, dtype: Any
) -> None:
    case = make_case(shape, dtype)
    x, w, y = case.arrays(abi.FORWARD, True)
    for value in (np.nan, np.inf, -np.inf):
        bias = np.zeros(shape.w[0], np.float32)
        bias[0] = value
        assert (
            fused_call(library, handle, shape, x, w, y, None, 0.0, bias.astype(dtype), abi.RELU)
            == 0
        )
        wide = y.astype(np.float32)
        np.testing.assert_array_equal(wide[:, 0], max(value, 0) if value == value else np.nan)
        assert not np.signbit(wide[wide == 0]).any(), "-0 out of a ReLU"
        assert not np.isnan(wide[:, 1:]).any()
