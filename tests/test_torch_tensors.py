"""PyTorch's tensors in plain calls: what they carry beyond memory, and who records operators."""

from __future__ import annotations

from typing import Any

import pytest

import mioconv
from helpers.checks import arguments, refuses
from helpers.operators import FORWARD
from helpers.problems import CASES, Case
from helpers.tensors import import_torch, to_numpy, to_torch
from helpers.tolerances import assert_close, assert_same_bits

PLAIN = next(case for case in CASES if case.name == "2d")


def run(case: Case, x: Any, w: Any, bias: Any, **more: Any) -> Any:
    return FORWARD(case, x, w, bias=bias, **more)


@pytest.fixture
def pair() -> Any:
    import_torch()
    x, w, _ = arguments(PLAIN)
    return to_torch(x), to_torch(w)


class TestTorch:
    """What PyTorch's tensors carry beyond memory."""

    def test_requires_grad(self, pair: Any) -> None:
        torch = import_torch()
        x, w = pair
        tracked = x.clone().requires_grad_(True)
        for call in (
            lambda: mioconv.conv2d_forward(tracked, w),
            lambda: mioconv.conv2d_forward(x, w.clone().requires_grad_(True)),
            lambda: mioconv.conv2d_forward(x, w, torch.zeros(4, requires_grad=True)),
        ):
            with refuses(TypeError, r"detach\(\)", r"mioconv\.torch", "grad"):
                call()
        expected = mioconv.conv2d_forward(x, w)
        assert_same_bits(mioconv.conv2d_forward(tracked.detach(), w), expected)
        with torch.no_grad():
            assert_same_bits(mioconv.conv2d_forward(tracked, w), expected)
        with torch.inference_mode():
            assert_same_bits(mioconv.conv2d_forward(tracked, w), expected)

    def test_inference_tensor(self, pair: Any) -> None:
        torch = import_torch()
        with torch.inference_mode():
            x = pair[0].clone()
        assert_same_bits(mioconv.conv2d_forward(x, pair[1]), mioconv.conv2d_forward(*pair))

    def test_parameter(self, pair: Any) -> None:
        torch = import_torch()
        x, w = pair
        frozen = torch.nn.Parameter(w, requires_grad=False)
        assert_same_bits(mioconv.conv2d_forward(x, frozen), mioconv.conv2d_forward(x, w))

    def test_autograd_is_told_of_what_is_written(self, pair: Any) -> None:
        """By the version of each tensor that was passed as a result."""
        torch = import_torch()
        x, w = pair
        y = mioconv.conv2d_forward(x, w)
        results = torch.zeros_like(x), torch.zeros_like(w), torch.zeros(w.shape[0])
        for mask in ((True, True, True), (False, True, False)):
            before = [result._version for result in results]
            mioconv.conv2d_backward(x, y, w, output_mask=mask, out=results)
            after = [result._version for result in results]
            assert [b > a for a, b in zip(before, after, strict=True)] == list(mask)
        for call in (
            lambda: mioconv.conv2d_forward(x, w, out=y),
            lambda: mioconv.conv2d_backward_bias(y, out=results[2]),
            lambda: mioconv.plan(mioconv.Problem.from_tensors("forward", x, w))(x, w, out=y),
        ):
            before = [y._version, results[2]._version]
            call()
            assert [y._version, results[2]._version] != before

    def test_lazy_negation(self, pair: Any) -> None:
        """A view with the negative bit: its memory holds the opposite sign."""
        torch = import_torch()
        x, w = pair
        lazy = torch._neg_view(x)
        assert lazy.is_neg()
        with refuses(TypeError, "input", "neg"):
            mioconv.conv2d_forward(lazy, w)
        imaginary = torch.complex(x, x).conj().imag
        assert imaginary.is_neg()
        with refuses(TypeError, "input", "neg"):
            mioconv.conv2d_forward(imaginary, w)

    def test_conjugate_and_complex(self, pair: Any) -> None:
        torch = import_torch()
        x, w = pair
        values = torch.complex(x, x)
        with refuses(TypeError, "input", "complex|conj"):
            mioconv.conv2d_forward(values, w)
        with refuses(TypeError, "input", "conj"):
            mioconv.conv2d_forward(values.conj(), w)

    def test_sparse(self, pair: Any) -> None:
        x, w = pair
        for given in (x.to_sparse(), x.to_mkldnn()):
            with refuses(TypeError, "input", "dense"):
                mioconv.conv2d_forward(given, w)

    def test_other_types(self, pair: Any) -> None:
        torch = import_torch()
        x, w = pair
        for dtype in (torch.float64, torch.int32, torch.bool):
            with refuses(TypeError, "input", "dtype|type"):
                mioconv.conv2d_forward(x.to(dtype), w)
        with refuses(TypeError, "float64", "float32"):
            mioconv.conv2d_forward(x.double(), w.double())

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_kinds_without_plain_numbers(self, pair: Any) -> None:
        """PyTorch's own words for them are about its insides."""
        torch = import_torch()
        x, w = pair
        quantized = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
        with refuses(TypeError, "input", "quantized", r"input\.dequantize"):
            mioconv.conv2d_forward(quantized, w)
        for layout in (torch.strided, torch.jagged):
            nested = torch.nested.nested_tensor(list(x), layout=layout)
            with refuses(TypeError, "input", "nested"):
                mioconv.conv2d_forward(nested, w)
        for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
            with refuses(TypeError, "input", str(dtype)[6:], "float32"):
                mioconv.conv2d_forward(x.to(dtype), w.to(dtype))
            with refuses(TypeError, "input", str(dtype)[6:], "float32"):
                mioconv.conv2d_forward(x.to(dtype).__dlpack__(), w.to(dtype).__dlpack__())

    def test_transforms(self, pair: Any) -> None:
        torch = import_torch()
        x, w = pair
        with refuses(TypeError, "input", "torch.func", "mioconv.torch"):
            torch.func.vmap(lambda a: mioconv.conv2d_forward(a, w))(x[None])
        with refuses(TypeError, "weight", "torch.func", "mioconv.torch"):
            torch.func.vmap(lambda a: mioconv.conv2d_forward(x, a))(w[None])

        def sums(a: Any) -> Any:
            return mioconv.conv2d_forward(a, w).sum()

        with refuses(TypeError, "input"):
            torch.func.grad(sums)(x)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's own modules
    def test_forward_mode(self, pair: Any) -> None:
        """The tangent would be lost."""
        forward_ad = import_torch().autograd.forward_ad
        x, w = pair
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, x)
            for call in (
                lambda: mioconv.conv2d_forward(dual, w),
                lambda: mioconv.conv2d_forward(x, forward_ad.make_dual(w, w)),
                lambda: mioconv.conv2d_forward(x, w, out=dual),
            ):
                with refuses(TypeError, "tangent"):
                    call()
            mioconv.conv2d_forward(x, w)  # others are as ever
            mioconv.conv2d_forward(forward_ad.unpack_dual(dual).primal, w)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_tensors_that_wrap_others(self, pair: Any) -> None:
        torch = import_torch()
        x, w = pair

        class Wrapper(torch.Tensor):  # type: ignore[misc, name-defined]
            @staticmethod
            def __new__(cls, inner: Any) -> Any:
                return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

            @classmethod
            def __torch_dispatch__(cls, *_: Any) -> Any:
                raise AssertionError("nothing is to be asked of it")

        with refuses(TypeError, "input", "Wrapper"):
            mioconv.conv2d_forward(Wrapper(x), w)
        with refuses(TypeError, "weight", "MaskedTensor"):
            mioconv.conv2d_forward(x, torch.masked.masked_tensor(w, w > 0))
        with refuses(TypeError, "input", "torch.func"):
            torch.func.functionalize(lambda a: mioconv.conv2d_forward(a, w))(x)
        for lazy in (
            torch.nn.UninitializedParameter(requires_grad=False), torch.nn.UninitializedBuffer(),
        ):  # fmt: skip
            with refuses(TypeError, "weight", "no values yet"):
                mioconv.conv2d_forward(x, lazy)

    def test_fake_tensors(self, pair: Any) -> None:
        fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")
        x, w = pair
        with fake_tensor.FakeTensorMode() as mode, refuses(TypeError, "FakeTensor"):
            mioconv.conv2d_forward(mode.from_tensor(x), mode.from_tensor(w))

    def test_meta(self, pair: Any) -> None:
        x, w = pair
        with refuses(TypeError, "input", "meta"):
            mioconv.conv2d_forward(x.to("meta"), w)

    def test_no_memory(self, pair: Any) -> None:
        """Tensors that have sizes and no memory behind them must not be read."""
        torch = import_torch()
        x, w = pair
        with refuses(BufferError, "input", "no memory"):
            mioconv.conv2d_forward(torch._efficientzerotensor(tuple(x.shape)), w)

    def test_views(self, pair: Any) -> None:
        """Offsets, gaps, expansion and permutation are strides like any others."""
        x, w = pair
        big = x.new_zeros((5, 4, 9, 20))
        big[1:3, 1:, :8, 2:20:2] = x
        view = big[1:3, 1:, :8, 2:20:2]
        assert_same_bits(mioconv.conv2d_forward(view, w), mioconv.conv2d_forward(x, w))
        wide = x[:1].expand(3, -1, -1, -1)
        assert_same_bits(
            mioconv.conv2d_forward(wide, w), mioconv.conv2d_forward(wide.contiguous(), w)
        )

    def test_out(self, pair: Any) -> None:
        torch = import_torch()
        x, w = pair
        expected = mioconv.conv2d_forward(x, w)
        out = torch.full_like(expected, 3).to(memory_format=torch.channels_last)
        assert mioconv.conv2d_forward(x, w, out=out) is out
        assert_close(out, *FORWARD.expected(PLAIN, x, w))
        with refuses(TypeError, "out"):
            mioconv.conv2d_forward(x, w, out=to_numpy(expected))
        tracked = torch.zeros_like(expected, requires_grad=True)
        with refuses(TypeError, "out", "grad"):
            mioconv.conv2d_forward(x, w, out=tracked)
        with refuses(TypeError, "out", "neg"):
            mioconv.conv2d_forward(x, w, out=torch._neg_view(expected.clone()))

    def test_out_counts_as_a_write(self, pair: Any) -> None:
        """Autograd notices that a value which it saved has changed; tensors of inference mode have
        no count."""
        torch = import_torch()
        x, w = pair
        out = mioconv.conv2d_forward(x, w)
        before = out._version
        mioconv.conv2d_forward(x, w, out=out)
        assert out._version > before
        with torch.inference_mode():
            uncounted = torch.empty_like(out)
        assert_same_bits(mioconv.conv2d_forward(x, w, out=uncounted), out)

    def test_new_results_are_plain_tensors(self, pair: Any) -> None:
        """Whatever the class of the first operand."""
        torch = import_torch()

        class Special(torch.Tensor):  # type: ignore[misc, name-defined]
            pass

        x, w = pair
        expected = mioconv.conv2d_forward(x, w)
        frozen = torch.nn.Parameter(x, requires_grad=False)
        for given in (frozen, x.as_subclass(Special)):
            got = mioconv.conv2d_forward(given, w)
            assert type(got) is torch.Tensor
            assert_same_bits(got, expected)
        with torch.no_grad():
            got = mioconv.conv2d_forward(x.clone().requires_grad_(), w)
        assert not got.requires_grad
        assert got.untyped_storage().resizable(), "memory of PyTorch's own allocator"

    def test_against_torch(self) -> None:
        """PyTorch's own convolution, within twice the derived bound."""
        torch = import_torch()
        for case in CASES:
            x, w, bias = arguments(case)
            bound = FORWARD.expected(case, x, w, bias).bound
            function = getattr(torch.nn.functional, f"conv{case.rank}d")
            theirs = function(*(to_torch(a) for a in (x, w, bias)), **case.settings)
            assert_close(run(case, *(to_torch(a) for a in (x, w, bias))), theirs.numpy(), 2 * bound)


class TestRecorders:
    """Whoever records PyTorch's operators, or stands in for them, would keep an empty result."""

    @pytest.mark.parametrize("out", [False, True])
    @pytest.mark.parametrize("allowed", [False, True])
    def test_real_tensors_in_fake_mode(self, pair: Any, out: bool, allowed: bool) -> None:
        fake_tensor = pytest.importorskip("torch._subclasses.fake_tensor")
        x, w = pair
        given = {"out": mioconv.conv2d_forward(x, w)} if out else {}
        with (
            fake_tensor.FakeTensorMode(allow_non_fake_inputs=allowed),
            refuses(TypeError, "FakeTensorMode", r"mioconv\.torch"),
        ):
            mioconv.conv2d_forward(x, w, **given)

    @pytest.mark.filterwarnings("ignore")
    def test_jit_trace(self, pair: Any) -> None:
        torch = import_torch()
        x, w = pair
        with refuses(TypeError, r"torch\.jit\.trace", r"mioconv\.torch"):
            torch.jit.trace(lambda a: mioconv.conv2d_forward(a, w), (x,))

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
    def test_make_fx(self, pair: Any, mode: str) -> None:
        proxy_tensor = pytest.importorskip("torch.fx.experimental.proxy_tensor")
        x, w = pair
        recorded = proxy_tensor.make_fx(lambda a: mioconv.conv2d_forward(a, w), tracing_mode=mode)
        with pytest.raises(TypeError):
            recorded(x)

    @pytest.mark.filterwarnings("ignore")
    def test_before_dispatch(self, pair: Any) -> None:
        proxy_tensor = pytest.importorskip("torch.fx.experimental.proxy_tensor")
        x, w = pair
        recorded = proxy_tensor.make_fx(lambda a: mioconv.conv2d_forward(a, w), pre_dispatch=True)
        with refuses(TypeError, "pre_dispatch", r"mioconv\.torch"):
            recorded(x)
        mioconv.conv2d_forward(x, w)

    @pytest.mark.filterwarnings("ignore")
    def test_all_that_write(self, pair: Any) -> None:
        """Gradients, plans, fused calls: a mode is seen whatever makes the result."""
        proxy_tensor = pytest.importorskip("torch.fx.experimental.proxy_tensor")
        x, w = pair
        y = mioconv.conv2d_forward(x, w)
        plan = mioconv.plan(mioconv.Problem.from_tensors("forward", x, w))
        for call in (
            lambda a: mioconv.conv2d_backward_input(x.shape, y, a),
            lambda a: mioconv.conv2d_backward_weight(w.shape, y, x),
            lambda a: mioconv.conv2d_relu_forward(x, a),
            lambda a: mioconv.conv2d_backward(x, y, a),
            lambda a: plan(x, a),
        ):
            with refuses(TypeError, "ProxyTorchDispatchMode"):
                proxy_tensor.make_fx(call)(w)

    def test_modes_that_only_watch(self, pair: Any) -> None:
        flop_counter = pytest.importorskip("torch.utils.flop_counter")
        x, w = pair
        expected = mioconv.conv2d_forward(x, w)
        with flop_counter.FlopCounterMode(display=False):
            assert_same_bits(mioconv.conv2d_forward(x, w), expected)
