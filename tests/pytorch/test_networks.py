"""Real networks, unchanged, through `mioconv.torch.use` and through PyTorch."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.native import live_objects

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mioconv  # noqa: E402
import mioconv.torch  # noqa: E402
from pytorch.networks import NETWORKS, network  # noqa: E402

STEPS, RATE = 10, 0.02


def train(model: Any, x: Any, steps: int = STEPS) -> tuple[list[Any], dict[str, Any]]:
    """Losses and outputs of each step, and the parameters' gradients of the first."""
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=0.9)
    seen: list[Any] = []
    first: dict[str, Any] = {}
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(x)
        output.square().mean().backward()
        if not first:
            first = {name: p.grad.detach().clone() for name, p in model.named_parameters()}
        seen.append(output.detach().clone())
        optimizer.step()
    return seen, first


def distance(a: Any, b: Any) -> float:
    """Largest difference over the largest value."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


def rounding(model: Any, x: Any) -> tuple[list[Any], dict[str, Any], list[Any], dict[str, Any]]:
    """PyTorch's training in float32 and float64: their distance is what float32 costs here."""
    plain = train(copy.deepcopy(model), x)
    wide = train(copy.deepcopy(model).double(), x.double())
    return (*plain, *wide)


# Two right computations in float32 are each about as far from the exact one as PyTorch's is.
# Another order of summation costs a few times more or less; an error would be thousands of times.
FACTOR = 8
ROUNDOFF = 2.0**-24


def together(found: Any, plain: Any, wide: Any) -> None:
    """As near to float64 as PyTorch's float32 is, up to the factor."""
    allowed = FACTOR * max(distance(plain, wide), 8 * ROUNDOFF)
    assert distance(found, wide) <= allowed


def through_use(model: Any, x: Any) -> tuple[list[Any], dict[str, Any], Any]:
    with mioconv.torch.use(strict=True) as routing:
        return (*train(model, x), routing)


def through_convert(model: Any, x: Any) -> tuple[list[Any], dict[str, Any], Any]:
    model = mioconv.torch.convert(model, strict=True)
    return (*train(model, x), model.mioconv)


@pytest.mark.parametrize("way", [through_use, through_convert])
@pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
@pytest.mark.parametrize("name", NETWORKS)
def test_training_stays_together_backward(name: str, last: bool, way: Callable[..., Any]) -> None:
    """Outputs and every gradient agree; ten steps of SGD do not drift apart."""
    model, x = network(name)
    if last:
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        memory_format = formats[x.dim()]
        x = x.to(memory_format=memory_format)
        if name != "volume":  # which has parameters of several ranks
            model = model.to(memory_format=memory_format)
    outputs, gradients, wide_outputs, wide_gradients = rounding(model, x)
    found_outputs, found_gradients, routing = way(copy.deepcopy(model), x)
    for found, plain, wide in zip(found_outputs, outputs, wide_outputs, strict=True):
        together(found, plain, wide)
    largest = max(float(g.abs().max()) for g in wide_gradients.values())
    for key, wide in wide_gradients.items():
        if float(wide.abs().max()) < 1e-9 * largest:
            # Zero but for rounding: a bias that the normalisation after it takes away.
            assert float(found_gradients[key].abs().max()) < 1e-5 * largest
        else:
            together(found_gradients[key], gradients[key], wide)
    assert routing.calls == {key: STEPS * count for key, count in NETWORKS[name][2].items()}
    assert not routing.fallbacks


@pytest.mark.parametrize("name", ["resnet", "unet"])
def test_autocast_networks_backward(name: str) -> None:
    """In bfloat16 with float32 parameters: as near as PyTorch's own autocast."""
    model, x = network(name)
    wide_outputs, wide_gradients = train(copy.deepcopy(model).double(), x.double(), 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, gradients = train(copy.deepcopy(model), x, 1)
        with mioconv.torch.use(strict=True):
            found_outputs, found_gradients = train(copy.deepcopy(model), x, 1)
    assert found_outputs[0].dtype == outputs[0].dtype
    half = 2.0**-8
    for found, plain, wide in [
        (found_outputs[0], outputs[0], wide_outputs[0]),
        *((found_gradients[k], gradients[k], w) for k, w in wide_gradients.items()),
    ]:
        assert distance(found, wide) <= 2 * max(distance(plain, wide), 8 * half)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm")
def test_memory_returns_after_training_backward() -> None:
    """A thousand steps: nothing native left behind, no tensor, and no growth."""
    model = torch.nn.Sequential(
        mioconv.torch.Conv2d(2, 4, 3, padding=1),
        mioconv.torch.ConvReLU2d(4, 4, 3, padding="same", groups=2),
        mioconv.torch.ConvTranspose2d(4, 2, 2, 2),
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x = torch.randn(2, 2, 8, 8)

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            with mioconv.torch.use():
                torch.conv2d(model(x), torch.ones(1, 2, 1, 1)).sum().backward()
            optimizer.step()

    def state() -> tuple[Any, Any, int]:
        gc.collect()
        tensors = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
        return live_objects(), mioconv.memory_stats(), tensors

    steps(200)
    *native, tensors = state()
    growth = []
    for _ in range(4):
        memory = resident()
        steps(1000)
        growth.append(resident() - memory)
        *native_after, tensors_after = state()
        assert native_after == native
        assert tensors_after <= tensors  # other tests' may have gone
    # One leaked tensor a step, the smallest of them, would be half a megabyte each time; the heap
    # that earlier tests have left in pieces grows now and then.
    assert min(growth) < 400_000, growth
