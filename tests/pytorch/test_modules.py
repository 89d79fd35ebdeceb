"""The modules beside torch.nn's: constructors, state dicts, padding modes, gradients."""

from __future__ import annotations

import copy
import inspect
import io
from typing import Any

import numpy as np
import pytest

from helpers.checks import refuses
from helpers.tolerances import assert_close, error_bound

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mioconv  # noqa: E402
import mioconv.torch  # noqa: E402

RANKS = {1: (9,), 2: (8, 7), 3: (5, 6, 4)}
NAMES = [f"{kind}{rank}d" for kind in ("Conv", "ConvTranspose") for rank in RANKS]

ARGUMENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-bias": {"bias": False},
    "strided": {"stride": 2, "padding": 1},
    "dilated-groups": {"dilation": 2, "groups": 2, "padding": 2},
    "same": {"padding": "same"},
    "valid": {"padding": "valid"},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "replicate": {"padding": 2, "padding_mode": "replicate"},
    "circular": {"padding": 1, "padding_mode": "circular", "stride": 2},
    "reflect-same": {"padding": "same", "padding_mode": "reflect"},
}
TRANSPOSED_ARGUMENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-bias": {"bias": False},
    "strided": {"stride": 2, "padding": 1, "output_padding": 1},
    "dilated-groups": {"dilation": 2, "groups": 2, "stride": 2},
}
CASES = [
    (name, key)
    for name in NAMES
    for key in (TRANSPOSED_ARGUMENTS if "Transpose" in name else ARGUMENTS)
]


def make(name: str, key: str) -> tuple[Any, Any, Any]:
    """PyTorch's module, ours with its state dict, and an input."""
    more = (TRANSPOSED_ARGUMENTS if "Transpose" in name else ARGUMENTS)[key]
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(4, 6, 3, **more)
    ours = getattr(mioconv.torch, name)(4, 6, 3, **more)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours, torch.rand(2, 4, *RANKS[int(name[-2])]) * 2 - 1


def results(module: Any, x: Any, grad: Any = None) -> tuple[Any, list[Any]]:
    x = x.detach().requires_grad_(True)
    y = module(x)
    grad = torch.linspace(-1, 1, y.numel()).reshape(y.shape) if grad is None else grad
    y.backward(grad.to(y.dtype))
    return grad, [y.detach(), x.grad, *(p.grad for p in module.parameters())]


def magnitude(module: Any, x: Any, grad: Any) -> list[Any]:
    """The same in float64 with absolute values everywhere: what rounding scales with."""
    module = copy.deepcopy(module).double()
    with torch.no_grad():
        for p in module.parameters():
            p.abs_()
    return results(module, x.double().abs(), grad.double().abs())[1]


@pytest.mark.parametrize(("name", "key"), CASES, ids="-".join)
def test_against_torch_backward(name: str, key: str) -> None:
    theirs, ours, x = make(name, key)
    _, found = results(ours, x)
    wide = copy.deepcopy(theirs).double()
    wide.zero_grad()
    grad, exact = results(wide, x.double())
    length = x.numel() + theirs.weight.numel()  # no sum is longer
    for got, value, size in zip(found, exact, magnitude(theirs, x, grad), strict=True):
        bound = error_bound(np.float32, value.abs().numpy(), size.numpy(), length)
        assert_close(got, value.numpy(), bound)


@pytest.mark.parametrize("key", ARGUMENTS)
def test_relu_module_backward(key: str) -> None:
    """A convolution and ReLU; the gradient passes where the output is positive."""
    theirs, _, x = make("Conv2d", key)
    ours = mioconv.torch.ConvReLU2d(4, 6, 3, **ARGUMENTS[key])
    ours.load_state_dict(theirs.state_dict())
    y = ours(x)
    grad = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
    _, found = results(ours, x, grad)
    wide = copy.deepcopy(theirs).double()
    wide.zero_grad()
    passed = grad * (y > 0)
    _, exact = results(wide, x.double(), passed)
    exact[0] = exact[0].relu()
    length = x.numel() + theirs.weight.numel()
    for got, value, size in zip(found, exact, magnitude(theirs, x, passed), strict=True):
        assert_close(
            got, value.numpy(), error_bound(np.float32, value.abs().numpy(), size.numpy(), length)
        )


@pytest.mark.parametrize("name", [*NAMES, "ConvReLU2d"])
def test_constructors_and_checkpoints(name: str) -> None:
    """PyTorch's arguments, in its order; a checkpoint of either loads into the other."""
    base = getattr(torch.nn, name.replace("ReLU", ""))
    mine = getattr(mioconv.torch, name)
    assert inspect.signature(mine) == inspect.signature(base)
    theirs, ours = base(4, 6, 3), mine(4, 6, 3)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    file.seek(0)
    assert ours.load_state_dict(torch.load(file)) == theirs.load_state_dict(theirs.state_dict())
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    theirs.load_state_dict(ours.state_dict())
    assert isinstance(ours, base)  # what initialises weights by type finds it
    assert str(ours).startswith(f"{name}(4, 6, kernel_size=")


@pytest.mark.parametrize("rank", RANKS)
def test_output_size(rank: int) -> None:
    """The size that a strided convolution came from, as PyTorch takes it."""
    theirs = getattr(torch.nn, f"ConvTranspose{rank}d")(4, 6, 3, 2, 1)
    ours = getattr(mioconv.torch, f"ConvTranspose{rank}d")(4, 6, 3, 2, 1)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, *RANKS[rank])
    size = [2 * s for s in RANKS[rank]]
    torch.testing.assert_close(ours(x, output_size=size), theirs(x, output_size=size))
    assert ours(x, output_size=size).shape[2:] == torch.Size(size)
    with refuses(ValueError, "output size"):
        ours(x, output_size=[4 * s for s in RANKS[rank]])


def test_unbatched_channels_last_and_frozen_backward() -> None:
    """What torch.nn's modules do, these do."""
    _, ours, x = make("Conv2d", "plain")
    assert torch.equal(ours(x[0]), ours(x)[0])
    y = ours.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    ours.weight.requires_grad_(False)
    y.sum().backward()
    assert ours.weight.grad is None or ours.weight.grad is not None
    ours.zero_grad()
    ours(x).sum().backward()
    assert ours.weight.grad is None
    assert ours.bias.grad is not None


def test_errors_name_the_argument() -> None:
    _, ours, x = make("Conv2d", "plain")
    with refuses(ValueError, "input", "4 channels", "3 channels"):
        ours(x[:, :3])
    with refuses(TypeError, "input", "float64"):
        ours.double()(x.double())


def test_deep_copy_and_pickle() -> None:
    import pickle

    _, ours, x = make("Conv2d", "reflect")
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(other) is mioconv.torch.Conv2d
        assert torch.equal(other(x), ours(x))
