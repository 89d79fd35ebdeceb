"""The operators of mioconv.torch as traced, checked by opcheck and batched by vmap."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

import mioconv
from helpers.problems import Case
from helpers.tensors import is_channels_last, random_array
from helpers.tolerances import assert_close

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mioconv.torch  # noqa: E402
from pytorch.exact import expected, operands, run, settings  # noqa: E402
from pytorch.samples import (  # noqa: E402
    ALL,
    BY_NAME,
    DEPTHWISE,
    LAYOUTS,
    OPS,
    SMALL,
    SMALL_OF_ALL,
    channels_last,
    ours,
    overloads,
    settings_list,
)

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
