"""The answers that MIOpen is known to give (docs/rocm.md lists them), and what comes of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import operators
from helpers.checks import operands
from helpers.operators import Operator
from helpers.problems import Case
from helpers.rocm import CupyArray, Tensor, read
from helpers.standin import Standin
from helpers.tensors import BFLOAT16, random_array
from helpers.tolerances import assert_close

CASE = Case("answer", 2, 8, (9, 9), 8, (3, 3))
DIRECTIONS = [operators.FORWARD, operators.BACKWARD_INPUT, operators.BACKWARD_WEIGHT]
each_direction = pytest.mark.parametrize("op", DIRECTIONS, ids=str)


def run(op: Operator, **more: Any) -> None:
    a, b = operands(op, CASE)
    assert_close(read(op(CASE, Tensor(a), Tensor(b), **more)), *op.expected(CASE, a, b))


def problem(op: Operator) -> mioconv.Problem:
    return mioconv.Problem(
        op.name, CASE.input_shape, CASE.weight_shape, "float32", device="rocm:0")  # fmt: skip


@each_direction
@pytest.mark.parametrize("count", [1, 2, 10, 11, 200])
@pytest.mark.parametrize("above", [0, 3])
def test_any_number_of_solutions(standin: Standin, op: Operator, count: int, above: int) -> None:
    """What GetSolution returns is the list; the count before it is an upper bound."""
    standin.set(solutions=count, count_above=above)
    assert len(mioconv.find_solutions(problem(op))) == count
    run(op)
    (asked,) = standin.calls("GetSolution$")
    assert asked["args"]["maxSolutionCount"] == count + above


@each_direction
@pytest.mark.parametrize("options", [{"solutions": 0}, {"unsupported": 1}], ids=str)
def test_no_solution(standin: Standin, op: Operator, options: dict[str, int]) -> None:
    """Zero, or status 6 with the count unwritten; nothing is asked for with a maximum of 0."""
    standin.set(**options)
    assert mioconv.find_solutions(problem(op)) == []
    with pytest.raises(mioconv.NoSolutionError, match=r"lists no solution.*MIOpenDriver conv"):
        run(op)
    assert not [c for c in standin.calls("GetSolution$") if c["args"]["maxSolutionCount"] == 0]
    assert not standin.names("Immediate")
    # It may know better later.
    standin.set(solutions=-1, unsupported=0)
    run(op)


@each_direction
@pytest.mark.parametrize("answer", ["zero", "find fails", "find says status 5"])
def test_benchmark_goes_on(standin: Standin, op: Operator, answer: str) -> None:
    """The workspace query may say 0, Find may fail altogether: the list is still measured."""
    standin.set(workspace_says_zero=answer == "zero")
    family = {"forward": "Forward", "backward_input": "BackwardData",
              "backward_weight": "BackwardWeights"}[op.name]  # fmt: skip
    if answer != "zero":
        status = 5 if "5" in answer else 7
        standin.fail(f"miopenFindConvolution{family}Algorithm", miopen=status)
    run(op, benchmark=True)
    assert standin.end_fault() == (answer != "zero")
    found = mioconv.find_solutions(problem(op))
    assert any(s.source == "measured" for s in found)
    needs = [s for s in found if s.workspace_bytes and s.source == "measured"]
    assert needs, "solutions with a workspace took part"


@pytest.mark.parametrize("fusion", [1, 2], ids=["6.2.2", "5.4.3"])
@pytest.mark.parametrize("add", [False, True])
def test_fusion_that_is_refused(standin: Standin, fusion: int, add: bool) -> None:
    """Only at the compilation of the plan, or at each operation: separate steps, asked once."""
    standin.set(fusion=fusion)
    x, w, b, z = map(random_array, ((2, 4, 7, 6), (6, 4, 3, 2), (6,), (2, 6, 5, 5)))
    wrapped = list(map(Tensor, (x, w, z, b)))
    for _ in range(2):
        standin.clear()
        if add:
            got = mioconv.conv2d_add_relu_forward(*wrapped[:3], 0.5, wrapped[3])
            expected = mioconv.conv2d_add_relu_forward(x, w, z, 0.5, b)
        else:
            got = mioconv.conv2d_relu_forward(wrapped[0], wrapped[1], wrapped[3])
            expected = mioconv.conv2d_relu_forward(x, w, b)
        np.testing.assert_allclose(read(got), expected, atol=1e-5)
        assert "miopenActivationForward" in standin.names()
        standin.set(fusion=fusion)
    assert not standin.names("Fusion", "CreateOp", "BiasActivation"), "it was asked again"
    mioconv.cache_clear()


def test_fusion_runs(standin: Standin) -> None:
    """A compiled plan is kept, arguments are made and destroyed for each execution."""
    x, w, b = map(random_array, ((2, 4, 7, 6), (6, 4, 3, 2), (6,)))
    wrapped = list(map(Tensor, (x, w, b)))
    expected = mioconv.conv2d_relu_forward(x, w, b)
    for repeat in range(3):
        standin.clear()
        got = mioconv.conv2d_relu_forward(*wrapped)
        np.testing.assert_allclose(read(got), expected, atol=1e-5)
        assert mioconv.last_call().way == "fused"
        names = standin.names("Fusion", "CreateOp", "OperatorArgs", "OpArgs")
        if repeat:
            assert names == [
                "miopenCreateOperatorArgs", "miopenSetOpArgsConvForward",
                "miopenSetOpArgsBiasForward", "miopenSetOpArgsActivForward",
                "miopenExecuteFusionPlan", "miopenDestroyOperatorArgs"]  # fmt: skip


@pytest.mark.skipif(BFLOAT16 is None, reason="NumPy's bfloat16 needs ml_dtypes")
def test_bfloat16_without_bias(standin: Standin, cupy: Any) -> None:
    """Status 6 (bias, activation) and 7 (OpTensor): the array library does it, or it is refused."""
    standin.set(refuse_bfloat16=1, fusion=1)
    x, w, b, z = (
        random_array(s, BFLOAT16) for s in ((2, 4, 7, 6), (6, 4, 3, 2), (6,), (2, 6, 5, 5))
    )
    got = mioconv.conv2d_add_relu_forward(*map(CupyArray, (x, w, z)), 0.5, CupyArray(b))
    expected = mioconv.conv2d_add_relu_forward(x, w, z, 0.5, b)
    np.testing.assert_allclose(got.host.astype("f4"), expected.astype("f4"), rtol=0.02, atol=0.05)
    for call in (
        lambda: mioconv.conv2d_forward(*map(Tensor, (x, w, b))),
        lambda: mioconv.conv2d_relu_forward(*map(Tensor, (x, w))),
        lambda: mioconv.conv2d_backward_bias(Tensor(z)),
    ):
        with pytest.raises(mioconv.UnsupportedError, match="PyTorch or CuPy"):
            call()
    mioconv.conv2d_forward(*map(Tensor, (x, w)))


def test_backward_bias_not_implemented(standin: Standin, cupy: Any) -> None:
    """Newer releases dropped it (rocm-libraries#6384)."""
    standin.set(no_bias=1)
    g = random_array((2, 6, 5, 5))
    got = mioconv.conv2d_backward_bias(CupyArray(g))
    np.testing.assert_allclose(got.host, g.sum((0, 2, 3)), rtol=1e-5)


def test_no_transform(standin: Standin, cupy: Any) -> None:
    """MIOpen's own copy needs its compiler; the array library's does not."""
    standin.set(no_transform=1)
    x, w = random_array((2, 4, 14, 12))[:, :, ::2, ::2], random_array((6, 4, 3, 2))
    with pytest.raises(mioconv.UnsupportedError, match="miopenTransformTensor answered 7"):
        mioconv.conv2d_forward(Tensor(x), Tensor(w))
    got = mioconv.conv2d_forward(CupyArray(x), CupyArray(w))
    np.testing.assert_allclose(got.host, mioconv.conv2d_forward(x, w), atol=1e-5)


@each_direction
def test_no_device_compiler(standin: Standin, op: Operator) -> None:
    """Every solution fails at its compilation: an error with the problem, no crash."""
    standin.set(no_compiler=1)
    with pytest.raises(mioconv.StatusError) as error:
        run(op)
    assert "Immediate returned status 7" in str(error.value)
    assert error.value.driver_line.startswith("MIOpenDriver conv")
    with pytest.raises(mioconv.MioconvError):
        run(op, benchmark=True)
    standin.set(no_compiler=0)
    mioconv.cache_clear()
    run(op)


@each_direction
def test_a_solution_that_fails(standin: Standin, op: Operator) -> None:
    """The next one runs; the first is not tried again."""
    family = {"forward": "Forward", "backward_input": "BackwardData",
              "backward_weight": "BackwardWeights"}[op.name]  # fmt: skip
    standin.set(solutions=3)
    standin.fail(f"miopenConvolution{family}Immediate", miopen=5)
    run(op)
    assert standin.end_fault()
    ids = [c["args"]["solution_id"] for c in standin.calls("Immediate")]
    assert len(set(ids)) == len(ids) == 2
    standin.clear()
    run(op)
    assert [c["args"]["solution_id"] for c in standin.calls("Immediate")] == ids[1:]
