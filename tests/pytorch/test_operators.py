"""The operators of mioconv.torch: values, first gradients, errors."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import refuses
from helpers.native import native_calls, no_native_calls
from helpers.problems import FEW, Case
from helpers.tensors import random_array, to_numpy
from helpers.tolerances import assert_close, error_bound, gamma

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mioconv.torch  # noqa: E402
from pytorch.exact import expected, leaves, operands, run, settings  # noqa: E402
from pytorch.samples import (  # noqa: E402
    ALL,
    BY_NAME,
    DEPTHWISE,
    FEW_OF_ALL,
    LAYOUTS,
    OPS,
    SMALL,
    ours,
    settings_list,
)

# --- values and gradients -------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_forward_and_backward(case: Case, bias: bool) -> None:
    *tensors, grad = operands(case, bias=bias)
    found = run(ours(case), tensors, grad, **settings(case))
    for got, exact in zip(found, expected(case, tensors, grad), strict=True):
        assert (got is None) == (exact is None)
        if got is not None:
            assert_close(got, *exact)


@pytest.mark.parametrize(
    "layouts", list(product(LAYOUTS, ["packed", "channels_last"])), ids="-".join
)
@pytest.mark.parametrize("case", FEW_OF_ALL, ids=str)
def test_layouts_forward_and_backward(case: Case, layouts: tuple[str, str]) -> None:
    """Any strides of input, weight and incoming gradient."""
    x, w, b, grad = operands(case)
    first, second = (LAYOUTS[name] for name in layouts)
    tensors, grad = [first(x), second(w), b], first(grad)
    found = run(ours(case), tensors, grad, **settings(case))
    for got, exact in zip(found, expected(case, tensors, grad), strict=True):
        assert_close(got, *exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", FEW_OF_ALL, ids=str)
def test_half_forward_and_backward(case: Case, dtype: Any) -> None:
    if dtype is torch.bfloat16:
        pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16 needs ml_dtypes")
    *tensors, grad = operands(case, dtype)
    found = run(ours(case), tensors, grad, **settings(case))
    for got, exact in zip(found, expected(case, tensors, grad), strict=True):
        assert got.dtype == dtype
        assert_close(got, *exact)


@pytest.mark.parametrize("case", DEPTHWISE, ids=str)
def test_depthwise_forward_and_backward(case: Case) -> None:
    *tensors, grad = operands(case)
    function = getattr(mioconv.torch, f"depthwise_conv{case.rank}d")
    found = run(function, tensors, grad, **settings(case, depthwise=True))
    for got, exact in zip(found, expected(case, tensors, grad), strict=True):
        assert_close(got, *exact)


@pytest.mark.parametrize("z", [False, True], ids=["relu", "add-relu"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_relu_forward_and_backward(case: Case, bias: bool, z: bool) -> None:
    """The gradient is the plain convolution's, where the output is positive."""
    alpha = 0.75
    *tensors, grad = operands(case, bias=bias)
    given = leaves(tensors)
    if z:
        added = torch.from_numpy(random_array(case.output_shape, seed=9)).requires_grad_(True)
        function = ours(case, "_add_relu")
        output = function(given[0], given[1], added, alpha, given[2], **settings(case))
    else:
        output = ours(case, "_relu")(*given, **settings(case))
    output.backward(grad)
    passed = grad * (output.detach() > 0)
    exact = expected(case, tensors, passed)
    value, bound = exact[0]
    if z:
        term = alpha * added.detach().double().numpy()
        value, bound = value + term, bound * 2 + 4 * gamma(2) * np.abs(term)
        assert_close(added.grad, alpha * passed.double().numpy(), gamma(2) * np.abs(passed.numpy()))
    # ReLU moves no two numbers further apart.
    assert_close(output.detach(), np.maximum(value, 0), bound)
    for leaf, gradient in zip(given, exact[1:], strict=True):
        if leaf is not None:
            assert_close(leaf.grad, *gradient)


def test_add_relu_without_z() -> None:
    """With alpha 0 neither the sum nor the gradient sees z, whatever it holds."""
    x, w, b, _ = operands(SMALL)
    z = torch.full(SMALL.output_shape, torch.nan, requires_grad=True)
    x.requires_grad_(True)
    y = mioconv.torch.conv2d_add_relu(x, w, z, 0.0, b, **settings(SMALL))
    y.sum().backward()
    assert torch.equal(y, mioconv.torch.conv2d_relu(x, w, b, **settings(SMALL)))
    assert z.grad is None
    assert not x.grad.isnan().any()


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(3,), (4,), (3, 2), (2, 3, 4)], ids=str)
def test_padding_in_words_backward(kernel: tuple[int, ...], padding: str) -> None:
    """An even kernel takes a zero more behind the input, which its gradient does not see."""
    rank = len(kernel)
    shapes = ((2, 3, *(6, 5, 7)[:rank]), (4, 3, *kernel))
    x, w = (torch.from_numpy(random_array(shape, seed=i)) for i, shape in enumerate(shapes))
    theirs_, ours_ = (getattr(m, f"conv{rank}d") for m in (torch.nn.functional, mioconv.torch))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel")
        shape = theirs_(x, w, padding=padding, dilation=1).shape
        grad = torch.from_numpy(random_array(shape, seed=2))
        wide = run(theirs_, [x.double(), w.double()], grad.double(), padding=padding)
        sizes = run(
            theirs_, [x.double().abs(), w.double().abs()], grad.double().abs(), padding=padding
        )
    found = run(ours_, [x, w], grad, padding=padding)
    length = int(np.prod(shape)) + int(np.prod(shapes[1]))
    for got, exact, size in zip(found, wide, sizes, strict=True):
        bound = error_bound(np.float32, exact.abs().numpy(), size.numpy(), length)
        assert_close(got, exact.numpy(), bound)


@pytest.mark.parametrize("case", FEW_OF_ALL, ids=str)
def test_unbatched_backward(case: Case) -> None:
    """Without a batch dimension, in and out."""
    *tensors, grad = operands(case)
    tensors[0], grad = tensors[0][0], grad[0]
    found = run(ours(case), tensors, grad, **settings(case))
    assert found[0].shape == case.output_shape[1:]
    for got, exact in zip(found, expected(case, tensors, grad), strict=True):
        assert_close(got, *exact)


@pytest.mark.parametrize("case", FEW_OF_ALL, ids=str)
def test_empty_batch_backward(case: Case) -> None:
    x, w, b, grad = operands(case)
    found = run(ours(case), [x[:0], w, b], grad[:0], **settings(case))
    assert found[0].shape == (0, *case.output_shape[1:])
    assert found[1].shape == (0, *case.input_shape[1:])
    assert found[2].shape == w.shape
    assert not found[2].any()
    assert not found[3].any()


@pytest.mark.parametrize("wanted", list(product([True, False], repeat=3)), ids=str)
@pytest.mark.parametrize("case", [BY_NAME["2d-groups"], BY_NAME["t2d-groups"]], ids=str)
def test_backward_of_a_subset(case: Case, wanted: tuple[bool, bool, bool]) -> None:
    """Only what requires a gradient has one; a bias alone needs no convolution backwards."""
    *tensors, grad = operands(case)
    given = [t.requires_grad_(flag) for t, flag in zip(tensors, wanted, strict=True)]
    output = ours(case)(*given, **settings(case))
    assert output.requires_grad == any(wanted)
    if not any(wanted):
        return
    before = native_calls()
    output.backward(grad)
    assert native_calls() > before
    for tensor, exact, flag in zip(given, expected(case, tensors, grad)[1:], wanted, strict=True):
        assert (tensor.grad is not None) == flag
        if flag:
            assert_close(tensor.grad, *exact)
    if wanted == (False, False, True):
        # The sum over a gradient, and nothing else: the last convolution is still the forward one.
        assert mioconv.last_call().direction in ("forward", "backward_input")


def test_placeholders_of_masked_gradients_backward() -> None:
    x, w, _, grad = operands(SMALL)
    arguments = (x, grad, w, *settings_list(SMALL))
    found = OPS.convolution_backward(*arguments, (False, True, False))
    assert [tuple(t.shape) for t in found] == [(0,), SMALL.weight_shape, (0,)]


# --- errors ---------------------------------------------------------------------------------------


def _bad_calls() -> dict[str, Any]:
    x, w, b, _ = operands(BY_NAME["2d"])
    return {
        "weight in another dtype": ((x, w.half(), b), {}),
        "bias in another dtype": ((x, w, b.bfloat16()), {}),
        "float64": ((x.double(), w.double(), None), {}),
        "integers": ((x.int(), w.int(), None), {}),
        "complex": ((torch.complex(x, x), torch.complex(w, w), None), {}),
        "channels": ((x[:, :2], w, b), {}),
        "bias": ((x, w, b[:-1]), {}),
        "kernel too large": ((x[..., :2], w, b), {}),
        "stride": ((x, w, b), {"stride": 0}),
        "padding": ((x, w, b), {"padding": -1}),
        "groups": ((x, w, b), {"groups": 2}),
        "rank": ((x[0, 0], w, b), {}),
        "sparse": ((x.to_sparse(), w, b), {}),
    }


@pytest.mark.parametrize("name", _bad_calls())
def test_errors_are_the_plain_functions(name: str) -> None:
    arguments, more = _bad_calls()[name]
    with pytest.raises((TypeError, ValueError)) as plain:
        mioconv.conv2d_forward(*arguments, **more)
    with no_native_calls(), pytest.raises(plain.type) as found:
        mioconv.torch.conv2d(*arguments, **more)
    argument = str(plain.value).partition(":")[0]
    assert str(found.value).startswith(f"{argument}:")
    if name not in ("stride", "padding"):  # which have become lists
        assert str(found.value) == str(plain.value)
    leaf = arguments[1]
    if leaf.is_floating_point():
        with pytest.raises(plain.type):
            mioconv.torch.conv2d(arguments[0], leaf.requires_grad_(True), arguments[2], **more)


def test_devices_must_not_be_mixed() -> None:
    x, w, b, grad = operands(BY_NAME["2d"])
    for given in ((x.to("meta"), w, b), (x, w.to("meta"), b), (x, w, b.to("meta"))):
        with refuses(ValueError, "device", "meta", "cpu"):
            mioconv.torch.conv2d(*given)
    y = mioconv.torch.conv2d(*(t.to("meta") for t in (x, w, b)))
    assert (y.device.type, y.shape) == ("meta", grad.shape)


@pytest.mark.parametrize(
    ("arguments", "more", "words"),
    [
        (("x", None), {}, ("input", "torch.Tensor", "str")),
        ((np.zeros((1, 1, 3, 3), np.float32), None), {}, ("input", "torch.Tensor", "ndarray")),
        ((None, None), {"stride": (1, 1, 1)}, ("stride", "1 or 2")),
        ((None, None), {"stride": 1.5}, ("stride", "1.5")),
        ((None, None), {"padding": "full"}, ("padding", "same", "full")),
        ((None, None), {"padding": "same", "stride": 2}, ("padding", "same", "stride")),
    ],
)
def test_bad_arguments(arguments: Any, more: Any, words: Any) -> None:
    x, w, _, _ = operands(BY_NAME["2d"])
    given = [x if a is None else a for a in arguments[:1]] + [w]
    with no_native_calls(), refuses((TypeError, ValueError), *words):
        mioconv.torch.conv2d(*given, **more)


def test_operators_take_a_batch() -> None:
    """While a graph is traced, too."""
    x, w, b, _ = operands(SMALL)
    for device in ("cpu", "meta"):
        arguments = [t.to(device) for t in (x[0], w, b)]
        with refuses(ValueError, "input", "batch"):
            OPS.convolution(*arguments, *settings_list(SMALL))


def test_no_memory_of_an_input_in_a_result() -> None:
    """A result is always new, whatever the problem."""
    x = torch.ones(1, 1, 1, 1)
    y = mioconv.torch.conv2d(x, torch.ones(1, 1, 1, 1))
    y.fill_(5)
    assert x.item() == 1
    assert to_numpy(y).item() == 5
