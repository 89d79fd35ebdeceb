"""mioconv.aten: the operators of torch.miopen_* under their names and in their argument order."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import reference
from helpers.operators import (
    BACKWARD_INPUT,
    BACKWARD_WEIGHT,
    DEPTHWISE_FORWARD,
    FORWARD,
    TRANSPOSE_BACKWARD_INPUT,
    TRANSPOSE_BACKWARD_WEIGHT,
    TRANSPOSE_FORWARD,
)
from helpers.problems import CASES, TRANSPOSED_CASES, Case
from helpers.tensors import import_torch, random_array, to_numpy, to_torch
from helpers.tolerances import assert_close, assert_same_bits
from mioconv import aten

PLACE = ["padding", "stride", "dilation", "groups"]
FLAGS = ["benchmark", "deterministic"]

# The seed's public operators. The fused ones have the stride before the padding.
SIGNATURES = {
    "miopen_convolution": ["input", "weight", "bias", *PLACE, *FLAGS],
    "miopen_convolution_backward_input": ["input_size", "grad_output", "weight", *PLACE, *FLAGS],
    "miopen_convolution_backward_weight": ["weight_size", "grad_output", "input", *PLACE, *FLAGS],
    "miopen_convolution_backward_bias": ["grad_output"],
    "miopen_convolution_backward": [
        "input", "grad_output", "weight", *PLACE, *FLAGS, "output_mask",
    ],
    "miopen_convolution_transpose": [
        "input", "weight", "bias", "padding", "output_padding", "stride", "dilation", "groups",
        *FLAGS,
    ],
    "miopen_convolution_transpose_backward_input": ["grad_output", "weight", *PLACE, *FLAGS],
    "miopen_convolution_transpose_backward_weight": [
        "weight_size", "grad_output", "input", *PLACE, *FLAGS,
    ],
    "miopen_convolution_transpose_backward": [
        "input", "grad_output", "weight", "padding", "output_padding", "stride", "dilation",
        "groups", *FLAGS, "output_mask",
    ],
    "miopen_depthwise_convolution": ["input", "weight", "bias", *PLACE, *FLAGS],
    "miopen_depthwise_convolution_backward_input": [
        "input_size", "grad_output", "weight", *PLACE, *FLAGS,
    ],
    "miopen_depthwise_convolution_backward_weight": [
        "weight_size", "grad_output", "input", *PLACE, *FLAGS,
    ],
    "miopen_depthwise_convolution_backward": [
        "input", "grad_output", "weight", *PLACE, *FLAGS, "output_mask",
    ],
    "miopen_convolution_add_relu": [
        "input", "weight", "z", "alpha", "bias", "stride", "padding", "dilation", "groups",
    ],
    "miopen_convolution_relu": [
        "input", "weight", "bias", "stride", "padding", "dilation", "groups",
    ],
}  # fmt: skip


def case_of(cases: list[Case], name: str) -> Case:
    return next(case for case in cases if case.name == name)


PLAIN = [case_of(CASES, name) for name in ("1d-groups", "2d-uneven", "2d-groups", "3d-uneven")]
DEPTHWISE = case_of(CASES, "2d-depthwise-multiplier")
TRANSPOSED = [
    case_of(TRANSPOSED_CASES, name) for name in ("t1d", "t2d-uneven", "t2d-groups", "t3d-groups")
]


def place(case: Case) -> tuple[Any, ...]:
    """padding, stride, dilation as lists, groups, benchmark, deterministic."""
    lists = [
        list(reference.per_dimension(value, case.rank))
        for value in (case.padding, case.stride, case.dilation)
    ]
    return (*lists, case.groups, False, False)


def triple(case: Case) -> tuple[Any, Any, Any]:
    """input, grad_output, weight."""
    shapes = (case.input_shape, case.output_shape, case.weight_shape)
    x, dy, w = (random_array(shape, seed=i) for i, shape in enumerate(shapes))
    return x, dy, w


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    parameters = inspect.signature(getattr(aten, name)).parameters
    positional = [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
    assert positional == SIGNATURES[name]


def test_nothing_is_missing() -> None:
    assert set(SIGNATURES) <= set(aten.__all__)
    assert all(name.startswith("miopen_") for name in aten.__all__)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_convolution(case: Case, with_bias: bool) -> None:
    x, _, w = triple(case)
    bias = random_array((case.k,), seed=5) if with_bias else None
    got = aten.miopen_convolution(x, w, bias, *place(case))
    assert_close(got, *FORWARD.expected(case, x, w, bias))


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_convolution_backward(case: Case) -> None:
    x, dy, w = triple(case)
    expected_x, expected_w = (
        BACKWARD_INPUT.expected(case, dy, w), BACKWARD_WEIGHT.expected(case, dy, x),
    )  # fmt: skip
    dx = aten.miopen_convolution_backward_input(list(x.shape), dy, w, *place(case))
    assert_close(dx, *expected_x)
    dw = aten.miopen_convolution_backward_weight(list(w.shape), dy, x, *place(case))
    assert_close(dw, *expected_w)
    db = aten.miopen_convolution_backward_bias(dy)
    got = aten.miopen_convolution_backward(x, dy, w, *place(case), [True, True, True])
    for one, other in zip(got, (dx, dw, db), strict=True):
        assert_same_bits(one, other)
    masked = aten.miopen_convolution_backward(x, dy, w, *place(case), [False, True, False])
    assert masked[0] is None
    assert masked[2] is None
    assert_same_bits(masked[1], dw)


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transpose(case: Case) -> None:
    x, _, w = triple(case)
    bias = random_array((case.k,), seed=5)
    padding, *rest = place(case)
    extra = list(reference.per_dimension(case.output_padding, case.rank))
    got = aten.miopen_convolution_transpose(x, w, bias, padding, extra, *rest)
    assert_close(got, *TRANSPOSE_FORWARD.expected(case, x, w, bias))


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
def test_transpose_backward(case: Case) -> None:
    """The single gradients have no output_padding: grad_output's size says it."""
    x, dy, w = triple(case)
    dx = aten.miopen_convolution_transpose_backward_input(dy, w, *place(case))
    assert_close(dx, *TRANSPOSE_BACKWARD_INPUT.expected(case, dy, w))
    dw = aten.miopen_convolution_transpose_backward_weight(list(w.shape), dy, x, *place(case))
    assert_close(dw, *TRANSPOSE_BACKWARD_WEIGHT.expected(case, dy, x))
    padding, *rest = place(case)
    extra = list(reference.per_dimension(case.output_padding, case.rank))
    got = aten.miopen_convolution_transpose_backward(
        x, dy, w, padding, extra, *rest, [True, True, True]
    )
    db = aten.miopen_convolution_backward_bias(dy)
    for one, other in zip(got, (dx, dw, db), strict=True):
        assert_same_bits(one, other)


def test_depthwise() -> None:
    x, _, w = triple(DEPTHWISE)
    got = aten.miopen_depthwise_convolution(x, w, None, *place(DEPTHWISE))
    assert_same_bits(got, DEPTHWISE_FORWARD(DEPTHWISE, x, w))


def test_depthwise_backward() -> None:
    x, dy, w = triple(DEPTHWISE)
    where = place(DEPTHWISE)
    dx = aten.miopen_depthwise_convolution_backward_input(list(x.shape), dy, w, *where)
    assert_close(dx, *BACKWARD_INPUT.expected(DEPTHWISE, dy, w))
    dw = aten.miopen_depthwise_convolution_backward_weight(list(w.shape), dy, x, *where)
    assert_close(dw, *BACKWARD_WEIGHT.expected(DEPTHWISE, dy, x))
    got = aten.miopen_depthwise_convolution_backward(x, dy, w, *where, [True, True, False])
    assert_same_bits(got[0], dx)
    assert_same_bits(got[1], dw)
    assert got[2] is None


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_fused(case: Case) -> None:
    """Stride before padding; alpha=None is 1."""
    x, z, w = triple(case)
    bias = random_array((case.k,), seed=5)
    padding, stride, dilation, groups, *_ = place(case)
    where = (stride, padding, dilation, groups)
    function = getattr(mioconv, f"conv{case.rank}d_relu_forward")
    got = aten.miopen_convolution_relu(x, w, bias, *where)
    assert_same_bits(got, function(x, w, bias, **case.settings))
    function = getattr(mioconv, f"conv{case.rank}d_add_relu_forward")
    for alpha in (None, 1.0, 0.5, 0):
        got = aten.miopen_convolution_add_relu(x, w, z, alpha, bias, *where)
        right = function(x, w, z, 1.0 if alpha is None else alpha, bias, **case.settings)
        assert_same_bits(got, right)
    assert_same_bits(
        aten.miopen_convolution_add_relu(x, w, z, None, None, *where),
        function(x, w, z, **case.settings),
    )


def test_flags_are_those_given() -> None:
    """benchmark and deterministic of the call decide, whatever is in force."""
    case = PLAIN[1]
    x, _, w = triple(case)
    mioconv.cache_clear()
    with mioconv.flags(benchmark=True):
        aten.miopen_convolution(x, w, None, *place(case)[:4], False, False)
        assert mioconv.cache_info().finds == 0
    aten.miopen_convolution(x, w, None, *place(case)[:4], True, False)
    assert mioconv.cache_info().finds == 1


def test_torch() -> None:
    torch = import_torch()
    case = PLAIN[1]
    x, _, w = triple(case)
    got = aten.miopen_convolution(to_torch(x), to_torch(w), None, *place(case))
    assert isinstance(got, torch.Tensor)
    assert_same_bits(got, aten.miopen_convolution(x, w, None, *place(case)))


def test_torch_backward() -> None:
    """A torch.Size is a size."""
    import_torch()
    case = PLAIN[1]
    x, dy, w = triple(case)
    got = aten.miopen_convolution_backward_input(
        to_torch(x).shape, to_torch(dy), to_torch(w), *place(case)
    )
    assert_close(to_numpy(got), *BACKWARD_INPUT.expected(case, dy, w))


def test_same_order_as_torch() -> None:
    """PyTorch declares these operators on every build: the argument names are the schema's."""
    torch = import_torch()
    for name, expected in SIGNATURES.items():
        if not hasattr(torch.ops.aten, name):
            continue
        schema = getattr(torch.ops.aten, name).default._schema
        ours = ["self" if n == "input" else n for n in expected]
        assert [a.name for a in schema.arguments] == ours


def test_empty_batch() -> None:
    case = PLAIN[1]
    x, _, w = triple(case)
    got = aten.miopen_convolution(x[:0], w, None, *place(case))
    assert got.shape == (0, *case.output_shape[1:])
    assert got.dtype == np.float32
