"""The operators of mioconv.torch: gradients of gradients, and autograd's modes."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import refuses
from helpers.problems import Case
from helpers.tensors import random_array
from helpers.tolerances import assert_close, error_bound, gamma

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mioconv.torch  # noqa: E402
from pytorch.exact import expected, leaves, operands, run, settings, theirs  # noqa: E402
from pytorch.samples import (  # noqa: E402
    BY_NAME,
    FEW_OF_ALL,
    SMALL,
    SMALL_OF_ALL,
    ours,
)

# --- gradients of gradients -----------------------------------------------------------------------


def _plain_inputs(case: Case) -> list[Any]:
    return [t.requires_grad_(True) for t in operands(case)[:3]]


def _tolerance(case: Case) -> float:
    """Central differences of a multilinear function are exact but for rounding: with a step of 1
    two results within gamma(K) of their magnitude, halved."""
    length = max(case.forward_length, case.backward_input_length, case.backward_weight_length) + 1
    terms = 4 * length  # of magnitude 1 and, where the step enters, up to 2
    return 4 * gamma(terms) * terms


@pytest.mark.parametrize("case", SMALL_OF_ALL, ids=str)
def test_gradcheck_backward(case: Case) -> None:
    """PyTorch's own checks, in float32: a step of 1 is as good as any here (see `_tolerance`)."""
    function = ours(case)
    inputs = _plain_inputs(case)
    with warnings.catch_warnings():
        # They recommend float64, which mioconv does not have; the step makes up for it.
        warnings.filterwarnings("ignore", message=".*double precision floating point.*")
        how = {"eps": 1.0, "atol": _tolerance(case), "rtol": 0.0}
        call = lambda *t: function(*t, **settings(case))  # noqa: E731
        assert torch.autograd.gradcheck(call, inputs, check_batched_grad=True, **how)
        assert torch.autograd.gradgradcheck(call, inputs, **how)


@pytest.mark.parametrize("mask", list(product([True, False], repeat=3))[:-1], ids=str)
@pytest.mark.parametrize("case", FEW_OF_ALL, ids=str)
def test_double_backward(case: Case, mask: tuple[bool, bool, bool]) -> None:
    """Derivatives of all gradients together, by input, weight and incoming gradient."""

    def derive(function: Any, tensors: list[Any], grad: Any, directions: list[Any]) -> list[Any]:
        x, w, b = leaves(tensors)
        dy = grad.detach().requires_grad_(True)
        output = function(x, w, b, **settings(case))
        chosen = [t for t, flag in zip((x, w, b), mask, strict=True) if flag]
        found = torch.autograd.grad(output, chosen, dy, create_graph=True)
        ways = [d for d, flag in zip(directions, mask, strict=True) if flag]
        again = torch.autograd.grad(found, (x, w, dy), ways, allow_unused=True)
        return [None if g is None else g.detach() for g in again]

    *tensors, grad = operands(case)
    directions = [
        torch.from_numpy(random_array(t.shape, seed=20 + i)) for i, t in enumerate(tensors)
    ]
    found = derive(ours(case), tensors, grad, directions)
    wide = [[t.double() for t in group] for group in (tensors, [grad], directions)]
    exact = derive(theirs(case), wide[0], wide[1][0], wide[2])
    sizes = derive(
        theirs(case), [t.abs() for t in wide[0]], wide[1][0].abs(), [t.abs() for t in wide[2]]
    )
    terms = (
        case.backward_input_length,
        case.backward_weight_length,
        2 * case.forward_length + 3,
    )
    for got, value, size, length in zip(found, exact, sizes, terms, strict=True):
        if value is None or not size.any():
            assert got is None or not got.any()
            continue
        bound = error_bound(np.float32, value.abs().numpy(), size.numpy(), length)
        assert_close(got, value.numpy(), bound)


def test_third_derivative_backward() -> None:
    """To any order: the sum of squares of second derivatives, against float64."""

    def third(function: Any, x: Any, w: Any) -> Any:
        x, w = x.detach().requires_grad_(True), w.detach().requires_grad_(True)
        y = function(x, w, **settings(SMALL))
        (gx,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
        (gw,) = torch.autograd.grad((gx**2).sum(), w, create_graph=True)
        (last,) = torch.autograd.grad((gw**2).sum(), x)
        return last

    x, w, _, _ = operands(SMALL)
    exact = third(theirs(SMALL), x.double(), w.double()).numpy()
    size = third(theirs(SMALL), x.double().abs(), w.double().abs()).numpy()
    # Seven convolutions one after the other, each of at most this many terms.
    length = 7 * max(SMALL.forward_length, SMALL.backward_weight_length, 12)
    bound = error_bound(np.float32, np.abs(exact), size, 2 * length)
    assert_close(third(ours(SMALL), x, w), exact, bound)


# --- autograd's modes -----------------------------------------------------------------------------


def test_no_grad_and_inference_mode() -> None:
    x, w, b, _ = operands(SMALL)
    for t in (x, w, b):
        t.requires_grad_(True)
    recorded = mioconv.torch.conv2d(x, w, b, **settings(SMALL))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            y = mioconv.torch.conv2d(x, w, b, **settings(SMALL))
        assert not y.requires_grad
        assert torch.equal(y, recorded)
    assert y.is_inference()
    with torch.inference_mode():
        born = x * 1
        assert torch.equal(mioconv.torch.conv2d(born, w, b, **settings(SMALL)), recorded)


def test_hooks_backward() -> None:
    """Hooks see and change the gradients that pass."""
    x, w, b, grad = operands(SMALL)
    x.requires_grad_(True)
    w.requires_grad_(True)
    seen = []
    x.register_hook(lambda g: seen.append(g.clone()))
    w.register_hook(lambda g: 2 * g)
    y = mioconv.torch.conv2d(x, w, b, **settings(SMALL))
    y.register_hook(lambda g: 3 * g)
    y.backward(grad)
    exact = expected(SMALL, [x, w, b], 3 * grad)
    assert_close(seen[0], *exact[1])
    assert_close(w.grad / 2, *exact[2])


def test_saved_tensors_are_watched_backward() -> None:
    """A weight that was changed in place after the forward pass is an error, not a wrong number."""
    x, w, b, grad = operands(SMALL)
    w.requires_grad_(True)
    x.requires_grad_(True)
    y = mioconv.torch.conv2d(x, w, b, **settings(SMALL))
    with torch.no_grad():
        w.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_backward(dtype: Any) -> None:
    """Convolutions in the region's element type, gradients in the leaves' own."""
    x, w, b, grad = operands(BY_NAME["2d-groups"])
    case = BY_NAME["2d-groups"]
    given = leaves([x, w, b])
    with torch.autocast("cpu", dtype=dtype):
        y = mioconv.torch.conv2d(*given, **settings(case))
        z = mioconv.torch.conv2d_relu(*given, **settings(case))
        t = mioconv.torch.conv_transpose2d(x, torch.ones(12, 2, 1, 1))
    assert (y.dtype, z.dtype, t.dtype) == (dtype,) * 3
    plain = [tensor.to(dtype) for tensor in (x, w, b)]
    assert torch.equal(y, mioconv.torch.conv2d(*plain, **settings(case)))
    y.backward(grad.to(dtype))
    found = run(mioconv.torch.conv2d, plain, grad.to(dtype), **settings(case))
    for leaf, gradient in zip(given, found[1:], strict=True):
        assert leaf.grad.dtype == torch.float32
        assert torch.equal(leaf.grad, gradient.float())
    with torch.autocast("cpu", dtype=dtype), refuses(TypeError, "float64"):
        mioconv.torch.conv2d(x.double(), w.double(), b.double(), **settings(case))


@pytest.mark.parametrize("suffix", ["", "_relu"])
def test_double_backward_of_a_penalty(suffix: str) -> None:
    """What a gradient penalty does: the norm of a gradient, differentiated by the weight."""
    x, w, b, _ = operands(SMALL)
    results = []

    def plain(*tensors: Any, **more: Any) -> Any:
        y = theirs(SMALL)(*tensors, **more)
        return y.relu() if suffix else y

    for function, dtype in ((ours(SMALL, suffix), torch.float32), (plain, torch.float64)):
        leaf, weight, _ = leaves([x.to(dtype), w.to(dtype), None])
        y = torch.tanh(function(leaf, weight, b.to(dtype), **settings(SMALL)))
        (g,) = torch.autograd.grad(y.sum(), leaf, create_graph=True)
        (g.norm() - 1).square().backward()
        results.append(weight.grad.double())
    scale = results[1].abs().max().item()
    terms = 4 * SMALL.backward_weight_length * SMALL.forward_length
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=scale * gamma(terms))
