"""Every operator through the rocm provider, compared with the reference."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import operators
from helpers.checks import operands
from helpers.operators import Expected, Operator
from helpers.problems import Case
from helpers.rocm import CupyArray, Tensor, read
from helpers.standin import Standin
from helpers.tensors import DTYPES, LAYOUTS, is_channels_last, random_array
from helpers.tolerances import assert_close
from mioconv._core import execute as _execute

OPERATORS = [
    operators.FORWARD, operators.BACKWARD_INPUT, operators.BACKWARD_WEIGHT,
    operators.TRANSPOSE_FORWARD, operators.TRANSPOSE_BACKWARD_INPUT,
    operators.TRANSPOSE_BACKWARD_WEIGHT, operators.DEPTHWISE_FORWARD,
    *operators.DEPTHWISE_BACKWARD,
]  # fmt: skip
NAMES = {"1d-strided-dilated", "2d-uneven", "2d-groups", "3d-uneven", "2d-depthwise", "t1d",
         "t2d-uneven", "t2d-padding-over-stride", "t3d-groups"}  # fmt: skip


def pairs() -> list[Any]:
    return [
        pytest.param(op, case, id=f"{op}-{case}")
        for op in OPERATORS for case in op.cases if case.name in NAMES
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("op", "case"), pairs())
def test_operators(
    standin: Standin, expect: Callable[..., Expected], op: Operator, case: Case, dtype: Any
) -> None:
    a, b = operands(op, case, dtype)
    got = op(case, Tensor(a), Tensor(b))
    assert got.device == "rocm:0"
    expected = expect(op, case, a, b)
    assert_close(read(got), *expected)


# Strides of zero and backwards have no descriptor: MIOpen cannot copy them.
COPIED = ["sliced", "fortran", "byte_offset", "transposed_spatial", "channels_last"]


@pytest.mark.parametrize("layout", COPIED)
@pytest.mark.parametrize(("op", "case"), pairs())
def test_layouts(standin: Standin, op: Operator, case: Case, layout: str) -> None:
    a, b = operands(op, case)
    given = LAYOUTS[layout]
    expected = op.expected(case, a, b)
    assert_close(read(op(case, Tensor(given(a)), Tensor(b))), *expected)
    assert_close(read(op(case, Tensor(a), Tensor(given(b)))), *expected)
    out = given(np.zeros(op.result_shape(case), np.float32))
    assert op(case, Tensor(a), Tensor(b), out=Tensor(out)) is not None
    assert_close(out, *expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPERATORS[:6], ids=str)
def test_channels_last(
    standin: Standin, expect: Callable[..., Expected], op: Operator, dtype: Any
) -> None:
    case = next(c for c in op.cases if c.name in ("2d-groups", "t2d-groups"))
    a, b = (LAYOUTS["channels_last"](t) for t in operands(op, case, dtype))
    got = read(op(case, Tensor(a), Tensor(b)))
    assert is_channels_last(got)
    assert_close(got, *expect(op, case, a, b))


# Of x and w, and the groups: an operand or the result has one channel, and is one wide.
THIN_VOLUMES = [
    ((2, 4, 6, 5, 6), (4, 1, 3, 1, 1), 4), ((2, 4, 6, 5, 6), (4, 1, 1, 1, 1), 4),
    ((2, 4, 6, 5, 6), (4, 1, 3, 3, 1), 4), ((2, 4, 6, 5, 6), (4, 1, 3, 3, 3), 4),
    ((2, 8, 6, 6, 6), (1, 8, 3, 3, 6), 1), ((2, 1, 6, 5, 6), (8, 1, 3, 1, 1), 1),
    ((2, 1, 6, 5, 1), (8, 1, 3, 3, 1), 1), ((2, 1, 6, 1, 1), (8, 1, 3, 1, 1), 1),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPERATORS[:6], ids=str)
@pytest.mark.parametrize(("x", "w", "groups"), THIN_VOLUMES, ids=str)
def test_thin_volumes_in_channels_last(
    standin: Standin, expect: Callable[..., Expected], cupy: Any, op: Operator, x: Any, w: Any,
    groups: int, dtype: Any,
) -> None:  # fmt: skip
    """MIOpen up to 3.4 cannot tell their layout by the strides; by bare DLPack and by CuPy."""
    case = Case("thin", x[0], x[1], x[2:], w[0], w[2:], groups=groups)
    if op.family == "conv_transpose":
        y = tuple(n - k + 1 for n, k in zip(x[2:], w[2:], strict=True))
        case = Case("thin", x[0], w[0], y, x[1], w[2:], groups=groups, transposed=True)
    a, b = (LAYOUTS["channels_last"](t) for t in operands(op, case, dtype))
    for wrap in (Tensor, CupyArray):
        got = read(op(case, wrap(a), wrap(b)))
        assert_close(got, *expect(op, case, a, b))


def test_a_plan_says_that_it_cannot_tell_the_layout(standin: Standin) -> None:
    """Its calls take tensors as they are; newer releases go by more than the strides."""
    x, w, groups = THIN_VOLUMES[0]
    problem = mioconv.Problem(
        "forward", x, w, groups=groups, layout="channels_last", device="rocm:0"
    )
    assert mioconv.find_solutions(problem)
    if os.environ["FAKE_ROCM_CONFIG"] == "hip7":
        assert mioconv.plan(problem)
        return
    with pytest.raises(mioconv.UnsupportedError, match="channels and width are one"):
        mioconv.plan(problem)


def test_layout_of_the_result(standin: Standin) -> None:
    x, w = random_array((2, 4, 6, 6)), random_array((5, 4, 3, 3), seed=1)
    last = LAYOUTS["channels_last"]
    assert is_channels_last(read(mioconv.conv2d_forward(Tensor(last(x)), Tensor(w))))
    # Operands of different layouts are brought into one: MIOpen wants them alike.
    for call in standin.calls("SetTensorDescriptor"):
        strides = call["args"]["stridesA"]
        assert len(strides) == 4


@pytest.mark.parametrize("layout", ["negative_stride", "broadcast"])
def test_what_miopen_cannot_copy(standin: Standin, cupy: Any, layout: str) -> None:
    x, w = random_array((2, 4, 6, 6)), random_array((5, 4, 3, 3), seed=1)
    given = LAYOUTS[layout](x)
    with pytest.raises(mioconv.UnsupportedError, match=r"rocm:0 is not packed.*make it contiguous"):
        mioconv.conv2d_forward(Tensor(given), Tensor(w))
    got = mioconv.conv2d_forward(CupyArray(given), CupyArray(w))
    assert isinstance(got, CupyArray)
    assert_close(got.host, *operators.FORWARD.expected(_plain(x, w), np.array(given), w))


def _plain(x: Any, w: Any) -> Case:
    return Case("plain", x.shape[0], x.shape[1], x.shape[2:], w.shape[0], w.shape[2:])


@pytest.mark.parametrize("wrap", [Tensor, CupyArray])
def test_same_with_an_even_kernel(standin: Standin, cupy: Any, wrap: Any) -> None:
    x, w = random_array((2, 3, 7, 6)), random_array((4, 3, 2, 4), seed=1)
    expected = mioconv.conv2d_forward(x, w, padding="same")
    np.testing.assert_allclose(
        read(mioconv.conv2d_forward(wrap(x), wrap(w), padding="same")), expected, atol=1e-5
    )
    g = random_array(expected.shape, seed=2)
    got = mioconv.conv2d_backward(wrap(x), wrap(g), wrap(w), padding="same")
    for mine, theirs in zip(got, mioconv.conv2d_backward(x, g, w, padding="same"), strict=True):
        assert np.shape(read(mine)) == theirs.shape
        np.testing.assert_allclose(read(mine), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("refuse", [0, 1])
def test_epilogues(standin: Standin, cupy: Any, dtype: Any, refuse: int) -> None:
    """Bias, sum and ReLU by the library, or by the array library where it refuses bfloat16."""
    standin.set(refuse_bfloat16=refuse, fusion=refuse)
    x, w = random_array((2, 4, 6, 6), dtype), random_array((5, 4, 3, 3), dtype, 1)
    b, z = random_array((5,), dtype, 2), random_array((2, 5, 4, 4), dtype, 3)
    wrapped = [CupyArray(a) for a in (x, w, b, z)]
    tolerance = {"float32": 1e-5}.get(str(dtype), 0.05)
    for got, expected in [
        (mioconv.conv2d_forward(*wrapped[:3]), mioconv.conv2d_forward(x, w, b)),
        (mioconv.conv2d_relu_forward(*wrapped[:3]), mioconv.conv2d_relu_forward(x, w, b)),
        (mioconv.conv2d_add_relu_forward(wrapped[0], wrapped[1], wrapped[3], 0.5, wrapped[2]),
         mioconv.conv2d_add_relu_forward(x, w, z, 0.5, b)),
        (mioconv.conv2d_backward_bias(wrapped[3]), mioconv.conv2d_backward_bias(z)),
    ]:  # fmt: skip
        np.testing.assert_allclose(
            got.host.astype(np.float32), expected.astype(np.float32), rtol=tolerance,
            atol=tolerance)  # fmt: skip


def test_z_is_out(standin: Standin) -> None:
    x, w = random_array((2, 4, 6, 6)), random_array((5, 4, 3, 3), seed=1)
    z = random_array((2, 5, 4, 4), seed=3)
    expected = mioconv.conv2d_add_relu_forward(x, w, z, 0.5)
    shared = Tensor(z)
    mioconv.conv2d_add_relu_forward(Tensor(x), Tensor(w), shared, 0.5, out=shared)
    np.testing.assert_allclose(z, expected, atol=1e-5)


def test_no_batch_and_empty_batch(standin: Standin) -> None:
    x, w = random_array((3, 6, 6)), random_array((5, 3, 3, 3), seed=1)
    got = mioconv.conv2d_forward(Tensor(x), Tensor(w))
    np.testing.assert_allclose(read(got), mioconv.conv2d_forward(x, w), atol=1e-5)
    none = np.zeros((0, 3, 6, 6), np.float32)
    assert mioconv.conv2d_forward(Tensor(none), Tensor(w)).shape == (0, 5, 4, 4)
    grad = np.zeros((0, 5, 4, 4), np.float32)
    zero = mioconv.conv2d_backward_weight((5, 3, 3, 3), Tensor(grad), Tensor(none))
    assert not read(zero).any()
    out = np.ones((5, 3, 6, 3), np.float32)[:, :, ::2]
    mioconv.conv2d_backward_weight((5, 3, 3, 3), Tensor(grad), Tensor(none), out=Tensor(out))
    assert not out.any()


# --- tensors that 32-bit descriptors cannot describe ----------------------------------------------


@pytest.fixture
def limit(standin: Standin) -> Any:
    """Set how many elements a descriptor may have, where the release has the narrow ones only."""
    before = _execute.limit_elements(2**31 - 1)
    yield _execute.limit_elements
    _execute.limit_elements(before)


has_wide = "miopenSetTensorDescriptorV2" not in mioconv.providers()["rocm"].missing


@pytest.mark.skipif(has_wide, reason="this release has 64-bit descriptors")
class TestSplit:
    @pytest.mark.parametrize("wrap", [Tensor, CupyArray])
    @pytest.mark.parametrize(("op", "case"), pairs())
    def test_parts_of_the_batch(
        self, standin: Standin, cupy: Any, limit: Any, op: Operator, case: Case, wrap: Any
    ) -> None:
        case = Case(**{**case.__dict__, "n": 5})
        a, b = operands(op, case)
        expected = op.expected(case, a, b)
        # Room for two samples of the larger tensor, padding included.
        largest = max(np.prod(case.input_shape[1:]), np.prod(case.output_shape[1:]))
        room = int(2.9 * largest) if case.name != "t2d-padding-over-stride" else 400
        limit(max(room, int(np.prod(case.weight_shape))))
        got = op(case, wrap(a), wrap(b))
        runs = standin.calls("Immediate")
        assert len(runs) > 1
        assert_close(read(got), *expected)

    @pytest.mark.parametrize("dtype", DTYPES[1:])
    @pytest.mark.parametrize("wrap", [Tensor, CupyArray])
    def test_half_sums(
        self, standin: Standin, cupy: Any, limit: Any, wrap: Any, dtype: Any
    ) -> None:
        """Ones that a half type would lose beside a large number; summed in float32, they count."""
        large = {"float16": 2048, "bfloat16": 256}[dtype.name]
        x = np.ones((101, 1, 2, 2), dtype)
        x[0] = large
        g = np.zeros((101, 1, 2, 2), dtype)
        g[:, :, 0, 0] = 1
        limit(4)
        for out in (None, np.zeros((1, 1, 1, 2), dtype)[..., ::2]):
            more = {} if out is None else {"out": wrap(out)}
            got = mioconv.conv2d_backward_weight((1, 1, 1, 1), wrap(g), wrap(x), **more)
            values = read(got if out is None else more["out"]).astype("f8")
            assert values.item() == float(np.asarray(large + 100, dtype)), values
        assert len(standin.calls("Immediate")) == 202

    def test_epilogue_is_the_array_librarys(self, standin: Standin, cupy: Any, limit: Any) -> None:
        x, w = random_array((5, 4, 6, 6)), random_array((5, 4, 3, 3), seed=1)
        b = random_array((5,), seed=2)
        limit(400)
        got = mioconv.conv2d_relu_forward(*map(CupyArray, (x, w, b)))
        np.testing.assert_allclose(got.host, mioconv.conv2d_relu_forward(x, w, b), atol=1e-5)
        g = random_array((5, 4, 6, 6))
        got = mioconv.conv2d_backward_bias(CupyArray(g))
        np.testing.assert_allclose(got.host, g.sum((0, 2, 3)), rtol=1e-5)
        with pytest.raises(mioconv.UnsupportedError, match="miopenSetTensorDescriptorV2"):
            mioconv.conv2d_relu_forward(*map(Tensor, (x, w, b)))

    def test_a_sample_that_is_too_large(self, standin: Standin, limit: Any) -> None:
        x, w = random_array((2, 4, 6, 6)), random_array((5, 4, 3, 3), seed=1)
        limit(100)
        with pytest.raises(mioconv.UnsupportedError, match=r"144 elements.*at most 100 elements"):
            mioconv.conv2d_forward(Tensor(x), Tensor(w))

    def test_real_limit(self, standin: Standin) -> None:
        """More than 2^31 - 1 elements, in memory that is never touched."""
        standin.set(skip_run=1, invent=1)
        x = np.lib.stride_tricks.as_strided(
            np.zeros(1, np.float16), (3, 1, 2**15, 2**15), (2**31, 2**31, 2**16, 2)
        )
        w = np.zeros((1, 1, 1, 1), np.float16)
        out = np.lib.stride_tricks.as_strided(np.zeros(1, np.float16), x.shape, x.strides)
        out = np.lib.stride_tricks.as_strided(out, x.shape, x.strides)
        far = _elsewhere(out, x)
        mioconv.conv2d_forward(Tensor(x), Tensor(w), out=Tensor(far))
        runs = standin.calls("Immediate")
        assert [r["args"]["x"] - runs[0]["args"]["x"] for r in runs] == [0, 2**31, 2**32]
        sizes = [c["args"]["dimsA"][0] for c in standin.calls("SetTensorDescriptor")]
        assert max(sizes) == 1


def _elsewhere(array: Any, other: Any) -> Any:
    """The same shape at an address that does not overlap `other`'s extent; never touched."""
    from types import SimpleNamespace

    interface = dict(array.__array_interface__)
    interface["data"] = (other.ctypes.data + 2**34, False)
    interface["strides"] = array.strides
    return np.asarray(SimpleNamespace(__array_interface__=interface))
