"""torch.compile and torch.export: whole graphs, equal results, no recompilation for a new batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.checks import refuses

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mioconv  # noqa: E402
import mioconv.torch  # noqa: E402
from pytorch.networks import network  # noqa: E402


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Model(torch.nn.Module):
    """Every operator once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = mioconv.torch.Conv2d(2, 4, 3, padding="same", padding_mode="circular")
        self.relu = mioconv.torch.ConvReLU2d(4, 4, (2, 3), padding="same", groups=2)
        self.up = mioconv.torch.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1)
        self.deep = torch.nn.Parameter(torch.randn(8, 1, 3, 3))
        self.last = torch.nn.Parameter(torch.randn(4, 8, 1, 1))

    def forward(self, x: Any) -> Any:
        y = self.up(self.relu(torch.tanh(self.conv(x))))
        z = mioconv.torch.depthwise_conv2d(y, self.deep, padding=1)
        return mioconv.torch.conv2d_add_relu(z, self.last, y, 0.5)


def trained(model: Any, x: Any) -> list[Any]:
    model.zero_grad()
    x = x.detach().requires_grad_(True)
    y = model(x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]


def same(first: list[Any], second: list[Any]) -> None:
    """The same kernels ran on the same numbers; what lies between may be fused by inductor."""
    for a, b in zip(first, second, strict=True):
        scale = float(b.abs().max())
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * scale)


def recompiling_is_an_error() -> Any:
    return torch._dynamo.config.patch(error_on_recompile=True)


@pytest.mark.parametrize("last", [False, True], ids=["packed", "channels_last"])
def test_compiled_backward(last: bool) -> None:
    """Eager and compiled agree in the output and all gradients; a new batch compiles nothing."""
    torch.manual_seed(0)
    model = Model()
    compiled = torch.compile(
        copy.deepcopy(model), fullgraph=True, dynamic=True, backend="aot_eager"
    )
    x = torch.randn(3, 2, 6, 6)
    if last:
        x = x.to(memory_format=torch.channels_last)
    same(trained(compiled, x), trained(model, x))
    with recompiling_is_an_error():
        for batch in (2, 5, 8):
            x = torch.randn(batch, 2, 6, 6)
            if last:
                x = x.to(memory_format=torch.channels_last)
            same(trained(compiled, x), trained(model, x))


# PyTorch's own modules use what PyTorch has deprecated, when they are first imported.
@pytest.mark.filterwarnings(r"ignore:.*torch\.jit.*:DeprecationWarning")
def test_inductor_backward() -> None:
    """Generated code calls the operators, and finds their strides as it was promised."""
    torch.manual_seed(0)
    model = Model()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, dynamic=True)
    x = torch.randn(3, 2, 6, 6).to(memory_format=torch.channels_last)
    same(trained(compiled, x), trained(model, x))
    with recompiling_is_an_error():
        x = torch.randn(4, 2, 6, 6).to(memory_format=torch.channels_last)
        same(trained(compiled, x), trained(model, x))


def test_use_around_a_compiled_model_backward() -> None:
    """Calls are counted while they are traced; a new block does not compile again."""
    model, x = network("unet")
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    plain = trained(model, x)
    with mioconv.torch.use(strict=True) as routing:
        same(trained(compiled, x), plain)
    assert routing.calls == {"conv2d": 3, "conv_transpose2d": 2}
    with recompiling_is_an_error(), mioconv.torch.use(strict=True) as routing:
        same(trained(compiled, x), plain)
        trained(compiled, torch.randn(5, 1, 16, 16))
    assert not routing.calls


def test_use_inside_and_converted() -> None:
    model, x = network("unet")
    model.eval()
    exact = model(x)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def inside(x: Any) -> Any:
        with mioconv.torch.use():
            return model(x)

    torch.testing.assert_close(inside(x), exact)
    converted = mioconv.torch.convert(copy.deepcopy(model))
    compiled = torch.compile(converted, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), exact)


def test_autocast_compiled_backward() -> None:
    model = mioconv.torch.Conv2d(2, 4, 3)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(2, 2, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(x)
        y = compiled(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, plain)
    y.sum().backward()
    assert model.weight.grad.dtype == torch.float32


def test_export() -> None:
    """One graph for every batch, with our operators in it."""
    torch.manual_seed(0)
    model, x = Model(), torch.randn(3, 2, 6, 6)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    names = (
        "convolution", "convolution_relu", "convolution_add_relu", "convolution_transpose",
        "depthwise_convolution",
    )  # fmt: skip
    assert {f"mioconv.{name}.default" for name in names} <= called
    run = exported.module()
    for n in (3, 5):
        x = torch.randn(n, 2, 6, 6)
        assert torch.equal(run(x), model(x))


def test_export_of_a_routed_model() -> None:
    model, x = network("unet")
    model.eval()
    with mioconv.torch.use(strict=True):
        exported = torch.export.export(model, (x,))
    called = [str(node.target) for node in exported.graph.nodes]
    assert called.count("mioconv.convolution.default") == 3
    assert called.count("mioconv.convolution_transpose.default") == 2
    torch.testing.assert_close(exported.module()(x), model(x))


@pytest.mark.parametrize("what", ["weight", "bias", "float64", "padding"])
def test_errors_compiled(what: str) -> None:
    """Compiled code refuses element types, devices and settings in the same words."""
    x, w, b = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(4)
    arguments, more = {
        "weight": ((x, w.half(), b), {}),
        "bias": ((x, w, b.bfloat16()), {}),
        "float64": ((x.double(), w.double(), None), {}),
        "padding": ((x, w, b), {"padding": -1}),
    }[what]
    with pytest.raises((TypeError, ValueError)) as eager:
        mioconv.torch.conv2d(*arguments, **more)
    compiled = torch.compile(mioconv.torch.conv2d, fullgraph=True, backend="aot_eager")
    with pytest.raises(eager.type) as found:
        compiled(*arguments, **more)
    assert str(found.value) == str(eager.value)


def test_errors_in_sizes_compiled() -> None:
    """A size that cannot be is found while tracing: PyTorch wraps the text in its own error."""
    compiled = torch.compile(mioconv.torch.conv2d, fullgraph=True, backend="aot_eager")
    with refuses(RuntimeError, "input", "3 channels", "2 channels"):
        compiled(torch.randn(2, 2, 6, 6), torch.randn(4, 3, 3, 3))
