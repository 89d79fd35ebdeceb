"""`use` and `convert`: what is routed, what falls back and why, and where they end."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest

from helpers.checks import refuses
from helpers.native import fault, native_calls, no_native_calls

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

import mioconv  # noqa: E402
import mioconv.torch  # noqa: E402
from mioconv.torch import convert, switch, use  # noqa: E402
from pytorch.networks import NETWORKS, network  # noqa: E402

F = torch.nn.functional


def tensors(dtype: Any = None) -> tuple[Any, Any]:
    torch.manual_seed(1)
    return torch.randn(2, 4, 6, 6, dtype=dtype), torch.randn(4, 2, 3, 3, dtype=dtype)


def test_every_function_is_routed() -> None:
    """All of them, by position and by keyword, from wherever they were imported."""
    from torch.nn.functional import conv2d as imported

    shapes = {1: (6,), 2: (6, 5), 3: (4, 3, 4)}
    for rank, sizes in shapes.items():
        x, w = torch.randn(2, 4, *sizes), torch.randn(4, 2, *(3,) * rank)
        b = torch.randn(4)
        for name, more in ((f"conv{rank}d", {}), (f"conv_transpose{rank}d", {"output_padding": 0})):
            theirs = getattr(F, name)
            arguments = {"stride": 1, "padding": 1, "groups": 2, "dilation": 1, **more}
            with use(strict=True) as routing:
                found = theirs(input=x, weight=w, bias=b, **arguments)
            assert routing.calls == {name: 1}
            torch.testing.assert_close(found, theirs(x, w, b, **arguments))
    x, w = tensors()
    with use() as routing:
        imported(x, w, None, 1, "same", 1, 2)
        torch.conv2d(x, w, groups=2)
        F.relu(x)
        x @ x
    assert routing.calls == {"conv2d": 2}
    assert not routing.fallbacks


def test_what_computes_it() -> None:
    """Inside the block mioconv's core runs, outside PyTorch alone does."""
    x, w = tensors()
    F.conv2d(x, w, groups=2)
    with no_native_calls():
        F.conv2d(x, w, groups=2)
    before = native_calls()
    with use():
        F.conv2d(x, w, groups=2)
    assert native_calls() > before
    with no_native_calls():
        F.conv2d(x, w, groups=2)


UNSUPPORTED: dict[str, tuple[Any, str]] = {
    "float64": (lambda x, w: F.conv2d(x.double(), w.double(), groups=2), "dtype torch.float64"),
    "complex": (
        lambda x, w: F.conv2d(torch.complex(x, x), torch.complex(w, w), groups=2),
        "dtype torch.complex64",
    ),
    "integers": (lambda x, w: F.conv2d(x.long(), w.long(), groups=2), "dtype torch.int64"),
    "tbc": (
        lambda x, w: torch.conv_tbc(x[0], w[:, :, 0, 0].new_ones(3, 6, 2), torch.ones(2)),
        "no",
    ),
    "no channels": (
        lambda x, w: F.conv2d(x[:, :0], w[:, :0], torch.ones(4)),
        "a dimension of size 0",
    ),
    "forward mode": (
        lambda x, w: torch.func.jvp(lambda t: F.conv2d(t, w, groups=2), (x,), (x,))[0],
        "forward-mode gradients",
    ),
    "negated": (
        lambda x, w: F.conv2d(torch.complex(x, x).conj().imag, w, groups=2),
        "lazily negated",
    ),
}


# torch.func.jvp imports modules that use what PyTorch has deprecated.
@pytest.mark.filterwarnings(r"ignore:.*torch\.jit.*:DeprecationWarning")
@pytest.mark.parametrize("name", UNSUPPORTED)
def test_fallbacks(name: str) -> None:
    """PyTorch computes what mioconv does not, and each such call can be read back."""
    call, words = UNSUPPORTED[name]
    arguments = tensors()
    exact = call(*arguments)
    with use() as routing, no_native_calls():
        found = call(*arguments)
    assert torch.equal(found, exact)
    assert not routing.calls
    ((function, reason),) = routing.fallbacks
    assert function.startswith("conv")
    assert words in reason
    assert f"1 x {function} by PyTorch: {reason}" in str(routing)
    with use(strict=True) as routing, refuses(mioconv.UnsupportedError, function, words, "strict"):
        call(*arguments)
    assert not routing.fallbacks
    assert torch.equal(call(*arguments), exact)  # the block has ended all the same


@pytest.mark.parametrize(
    "error",
    [mioconv.NoSolutionError, mioconv.UnsupportedError, mioconv.ProviderNotFoundError],
)
def test_what_mioconv_cannot_run_goes_to_torch(error: Any, monkeypatch: Any) -> None:
    """Found out by the call itself: no solution, not in this release, no libraries."""
    x, w = tensors()
    exact = F.conv2d(x, w, groups=2)

    def refuse(*_: Any, **__: Any) -> Any:
        raise error("first line\nand more")

    monkeypatch.setitem(switch._FUNCTIONS, torch.conv2d, refuse)
    with use() as routing:
        assert torch.equal(F.conv2d(x, w, groups=2), exact)
    assert routing.fallbacks == {("conv2d", "first line"): 1}
    with use(strict=True), refuses(mioconv.UnsupportedError, "conv2d", "first line"):
        F.conv2d(x, w, groups=2)


def test_failures_are_not_hidden() -> None:
    """A native call that failed is an error, not a reason to leave."""
    x, w = tensors()
    mioconv.cache_clear()
    refused = fault("miopenConvolutionForwardGetSolution", nth=0, status=7)
    with use() as routing, refused, pytest.raises(mioconv.MioconvError) as found:
        F.conv2d(x, w, groups=2)
    assert found.type is mioconv.StatusError
    mioconv.cache_clear()
    assert not routing.fallbacks


def test_errors_of_the_caller_are_errors() -> None:
    """A wrong call is not PyTorch's business either."""
    x, w = tensors()
    with use() as routing:
        with refuses(ValueError, "input", "channels"):
            F.conv2d(x, w)
        with pytest.raises(TypeError, match=r"missing|argument"):
            F.conv2d(x)
    assert not routing.calls


class TestScope:
    def test_exceptions_end_the_block(self) -> None:
        x, w = tensors()
        with pytest.raises(ZeroDivisionError), use():
            _ = 1 / 0
        with no_native_calls():
            F.conv2d(x, w, groups=2)

    def test_nesting(self) -> None:
        """The innermost block decides, and keeps the record."""
        x, w = tensors()
        with use(strict=True) as outer:
            F.conv2d(x, w, groups=2)
            with use() as inner:
                F.conv2d(x, w, groups=2)
            F.conv2d(x, w, groups=2)
        assert (outer.calls, inner.calls) == ({"conv2d": 2}, {"conv2d": 1})

    def test_entered_again(self) -> None:
        x, w = tensors()
        routing = use()
        for _ in range(3):
            with routing, routing:
                F.conv2d(x, w, groups=2)
        assert routing.calls == {"conv2d": 3}

    def test_threads_are_apart(self) -> None:
        """A block is its thread's; one record may serve several threads."""
        x, w = tensors()
        routing, elsewhere = use(), []
        start = threading.Barrier(3)

        def inside() -> None:
            with routing:
                start.wait()
                for _ in range(50):
                    F.conv2d(x, w, groups=2)

        def outside() -> None:
            start.wait()
            with use() as own:
                pass
            elsewhere.append(own.calls)
            F.conv2d(x, w, groups=2)

        threads = [threading.Thread(target=f) for f in (inside, inside, outside)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert routing.calls == {"conv2d": 100}
        assert elsewhere == [{}]

    def test_backward_after_the_block(self) -> None:
        """A forward pass that was routed is differentiated by mioconv, wherever that happens."""
        x, w = tensors()
        w.requires_grad_(True)
        with use():
            y = F.conv2d(x, w, groups=2)
        before = native_calls()
        y.sum().backward()
        assert native_calls() > before

    def test_vmap_inside(self) -> None:
        x, w = tensors()
        with use(strict=True) as routing:
            found = torch.func.vmap(lambda t: F.conv2d(t, w, groups=2))(torch.stack([x, -x]))
        torch.testing.assert_close(found[1], F.conv2d(-x, w, groups=2))
        assert routing.calls == {"conv2d": 1}


class TestConvert:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_same_model(self, name: str) -> None:
        """In place: parameters, state dict, type and text are the model's own."""
        model, x = network(name)
        model.eval()
        exact, text, keys = model(x), str(model), list(model.state_dict())
        parameters = list(model.parameters())
        assert convert(model) is model
        torch.testing.assert_close(model(x), exact)
        assert str(model) == text
        assert list(model.state_dict()) == keys
        assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
        assert isinstance(model, NETWORKS[name][0])
        assert model.mioconv.calls == NETWORKS[name][2]
        with no_native_calls():
            F.conv2d(*tensors(), groups=2)  # nothing else is routed

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_copies(self, copied: Any) -> None:
        """A copy is converted as well, with parameters and a record of its own."""
        model, x = network("unet")
        convert(model, strict=True)(x)
        other = copied(model)
        assert not other.mioconv.calls
        assert other.mioconv.strict
        assert torch.equal(other(x), model(x))
        assert other.mioconv.calls == NETWORKS["unet"][2]
        with torch.no_grad():
            other.first.weight.zero_()
        assert model.first.weight.any()

    def test_strict_and_again(self) -> None:
        model, x = network("unet")
        convert(model, strict=True).double()
        with refuses(mioconv.UnsupportedError, "float64"):
            model(x.double())
        convert(model)(x.double())
        assert model.mioconv.fallbacks.total() == 5

    def test_hooks(self) -> None:
        model, x = network("unet")
        seen = []
        model.register_forward_hook(lambda *_: seen.append("after"))
        model.first.register_forward_pre_hook(lambda *_: seen.append("before"))
        convert(model)(x)
        assert seen == ["before", "after"]

    def test_replaced_forward(self) -> None:
        """What the class's forward does not run, a subclass cannot route: said, not ignored."""
        model, _ = network("unet")
        model.forward = lambda x: x
        with refuses(ValueError, "model", "forward", "use"):
            convert(model)

    @pytest.mark.parametrize("what", ["function", "script"])
    def test_wrong_models(self, what: str) -> None:
        import warnings

        if what == "function":
            model: Any = F.relu
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = torch.jit.script(torch.nn.Conv2d(2, 2, 1))
        with refuses(TypeError, "model", "torch.nn.Module"):
            convert(model)
