"""The operators of mioconv.torch: values, gradients, strides, tracing, batching, errors."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import refuses
from helpers.native import native_calls, no_native_calls
from helpers.problems import CASES, FEW, TRANSPOSED_CASES, Case, depthwise
from helpers.tensors import is_channels_last, random_array, to_numpy
from helpers.tolerances import assert_close, error_bound, gamma

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mioconv.torch  # noqa: E402
from pytorch.exact import expected, leaves, operands, run, settings, theirs  # noqa: E402

OPS = torch.ops.mioconv
ALL = [*CASES, *TRANSPOSED_CASES]
BY_NAME = {case.name: case for case in ALL}
FEW_OF_ALL = [*FEW, *(BY_NAME[name] for name in ("t1d", "t2d-uneven", "t2d-groups", "t3d"))]
DEPTHWISE = [case for case in CASES if depthwise(case)]
SMALL = Case("small", 2, 2, (4, 3), 4, (3, 2), (2, 1), (1, 0), 1, 2)
SMALL_OF_ALL = [
    SMALL,
    Case("small-1d", 2, 2, (5,), 3, (3,), 1, 1, 2),
    Case("small-3d", 1, 2, (2, 3, 2), 2, (2, 2, 1)),
    Case("small-t", 2, 2, (3, 2), 4, (2, 3), 2, 1, 1, 2, 1, True),
]


def ours(case: Case, suffix: str = "") -> Any:
    """mioconv.torch's function for a case."""
    name = f"conv{'_transpose' if case.transposed else ''}{case.rank}d{suffix}"
    return getattr(mioconv.torch, name)


def channels_last(tensor: Any) -> Any:
    """For all ranks: PyTorch has a name for two of them only."""
    order = (0, *range(2, tensor.dim()), 1)
    back = (0, tensor.dim() - 1, *range(1, tensor.dim() - 1))
    return tensor.permute(order).contiguous().permute(back)


LAYOUTS = {
    "packed": lambda t: t,
    "channels_last": channels_last,
    "sliced": lambda t: torch.stack([t, t + 1], dim=-1)[..., 0],
    "expanded": lambda t: t[:1].expand_as(t),
}


def settings_list(case: Case) -> list[Any]:
    """The settings of an operator in its order."""

    def each(value: Any) -> list[int]:
        return [value] * case.rank if isinstance(value, int) else list(value)

    stride, padding, dilation = map(each, (case.stride, case.padding, case.dilation))
    if case.transposed:
        return [stride, padding, each(case.output_padding), case.groups, dilation]
    return [stride, padding, dilation, case.groups]


def overloads(case: Case) -> tuple[Any, Any]:
    name = "convolution_transpose" if case.transposed else "convolution"
    return getattr(OPS, name).default, getattr(OPS, f"{name}_backward").default


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


# --- strides of results, as traced and as made ----------------------------------------------------


def _same_as_traced(op: Any, arguments: tuple[Any, ...]) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        traced = op(*fakes)
    meta = op(*(a.to("meta") if isinstance(a, torch.Tensor) else a for a in arguments))
    made = op(*arguments)
    as_tuple = lambda r: r if isinstance(r, tuple) else (r,)  # noqa: E731
    for real, *others in zip(as_tuple(made), as_tuple(traced), as_tuple(meta), strict=True):
        for other in others:
            assert other.shape == real.shape
            assert other.stride() == real.stride()
            assert other.dtype == real.dtype
        assert others[0].device == real.device


@pytest.mark.parametrize("case", ALL, ids=str)
def test_traced_shapes_and_strides_backward(case: Case) -> None:
    forward, backward = overloads(case)
    x, w, b, grad = operands(case)
    choices = [LAYOUTS["packed"], LAYOUTS["channels_last"]]
    for first, second in product(choices, choices):
        _same_as_traced(forward, (first(x), second(w), b, *settings_list(case)))
        for third in choices:
            for mask in ((True, True, True), (False, True, False)):
                given = (first(x), third(grad), second(w), *settings_list(case), mask)
                _same_as_traced(backward, given)
        if not case.transposed:
            _same_as_traced(
                OPS.convolution_relu.default, (first(x), second(w), b, *settings_list(case))
            )
    empty = (x[:0], w, b, *settings_list(case))
    _same_as_traced(forward, empty)


def test_channels_last_backward() -> None:
    """Channels-last in, channels-last out, and so are the gradients."""
    x, w, b, grad = operands(BY_NAME["2d"])
    found = run(mioconv.torch.conv2d, [channels_last(x), w, b], grad)
    assert is_channels_last(found[0])
    # The gradient of a leaf is kept as the leaf lies.
    assert is_channels_last(found[1])


# --- opcheck --------------------------------------------------------------------------------------


def _opcheck_samples() -> list[Any]:
    found = []
    for case in (SMALL, SMALL_OF_ALL[1], SMALL_OF_ALL[3]):
        forward, backward = overloads(case)
        x, w, b, grad = operands(case)
        tail = settings_list(case)
        found.append((forward, (x, w, b, *tail)))
        found.append((forward, (channels_last(x), w, None, *tail)))
        found.append((backward, (x, grad, w, *tail, (True, False, True))))
        if not case.transposed:
            found.append((OPS.convolution_relu.default, (x, w, b, *tail)))
            added = (x, w, torch.ones_like(grad), 0.5, b, *tail)
            found.append((OPS.convolution_add_relu.default, added))
    case = DEPTHWISE[0]
    x, w, b, grad = operands(case)
    tail = settings_list(case)[:3]
    found.append((OPS.depthwise_convolution.default, (x, w, b, *tail)))
    found.append((OPS.depthwise_convolution_backward.default, (x, grad, w, *tail, (True,) * 3)))
    return found


SAMPLES = _opcheck_samples()


@pytest.mark.parametrize(
    "sample", range(len(SAMPLES)), ids=lambda i: f"{i}-{SAMPLES[i][0].__name__}"
)
def test_opcheck(sample: int) -> None:
    op, arguments = SAMPLES[sample]
    given = tuple(
        a.detach().requires_grad_(True) if isinstance(a, torch.Tensor) else a for a in arguments
    )
    torch.library.opcheck(op, given)


# --- vmap -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True], ids=["function", "operator"])
@pytest.mark.parametrize(
    "in_dims",
    [d for d in product([0, 1, None], [0, 2, None], [1, None]) if any(x is not None for x in d)],
    ids=str,
)
@pytest.mark.parametrize("case", [SMALL, SMALL_OF_ALL[3]], ids=str)
def test_vmap(case: Case, in_dims: tuple[Any, ...], wrapped: bool) -> None:
    """Any operand mapped over any dimension: as in a loop."""
    size = 3
    plain = operands(case)[:3]
    mapped, slices = [], []
    for i, (t, dim) in enumerate(zip(plain, in_dims, strict=True)):
        if dim is None:
            mapped.append(t)
            slices.append([t] * size)
        else:
            many = torch.from_numpy(random_array((size, *t.shape), seed=30 + i))
            mapped.append(many.movedim(0, dim))
            slices.append(list(many))
    forward = overloads(case)[0]
    if wrapped:
        call = lambda *t: forward(*t, *settings_list(case))  # noqa: E731
    else:
        call = lambda *t: ours(case)(*t, **settings(case))  # noqa: E731
    found = torch.func.vmap(call, in_dims)(*mapped)
    assert found.shape == (size, *case.output_shape)
    for got, given in zip(found, zip(*slices, strict=True), strict=True):
        exact = expected(case, list(given), torch.ones(case.output_shape))
        assert_close(got, *exact[0])


@pytest.mark.parametrize("case", [SMALL, SMALL_OF_ALL[3], DEPTHWISE[0]], ids=str)
def test_vmap_of_backward(case: Case) -> None:
    """A gradient for each sample of a batch: torch.func.grad inside torch.func.vmap."""
    size = 3
    function = ours(case)
    _, w, b, _ = operands(case)
    xs = torch.from_numpy(random_array((size, *case.input_shape), seed=40))
    grads = torch.from_numpy(random_array((size, *case.output_shape), seed=41))

    def loss(x: Any, w: Any, b: Any, grad: Any) -> Any:
        return (function(x, w, b, **settings(case)) * grad).sum()

    each = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1, 2)), (0, None, None, 0))
    found = each(xs, w, b, grads)
    for i in range(size):
        exact = expected(case, [xs[i], w, b], grads[i])[1:]
        for got, one in zip(found, exact, strict=True):
            assert_close(got[i], *one)


def test_vmap_depthwise_and_fused() -> None:
    case = DEPTHWISE[0]
    x, w, b, _ = operands(case)
    xs, ws = (torch.stack([t, 2 * t, -t]) for t in (x, w))
    name = f"depthwise_conv{case.rank}d"
    function = lambda x, w: getattr(mioconv.torch, name)(  # noqa: E731
        x, w, b, **settings(case, depthwise=True)
    )
    found = torch.func.vmap(function)(xs, ws)
    for got, x_, w_ in zip(found, xs, ws, strict=True):
        assert_close(got, *expected(case, [x_, w_, b], torch.ones(case.output_shape))[0])
    z = torch.from_numpy(random_array((3, *case.output_shape), seed=5))
    fused = lambda x, z: ours(case, "_add_relu")(x, w, z, 2.0, b, **settings(case))  # noqa: E731
    found = torch.func.vmap(fused, (0, 0))(xs, z)
    for got, x_, z_ in zip(found, xs, z, strict=True):
        torch.testing.assert_close(got, fused(x_, z_))


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
