"""The operators that PyTorch knows as ``torch.ops.mioconv``.

Each runs the public function of its name, for the rank of its weight, with arguments in that
function's order. All take a batch dimension: `mioconv.torch.functional` adds a missing one.

A gradient of a gradient is again a convolution of the same kind: an operator and its backward
operator compute the derivatives of L(x, w, g) = <conv(x, w), g> by each of its arguments, and L is
linear in each. So the two differentiate each other, to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

import mioconv
from mioconv.torch import _batching, _shapes

__all__ = [
    "CONVOLUTION",
    "DEPTHWISE",
    "TRANSPOSED",
    "Family",
    "convolution_add_relu",
    "convolution_relu",
]

_Gradients = tuple[Any, ...]

_library = torch.library.Library("mioconv", "DEF")


# --- registration ---------------------------------------------------------------------------------


def _define(
    schema: str,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    keep: Callable[..., None],
    differentiate: Callable[..., _Gradients],
) -> Callable[..., Any]:
    """Make an operator; gives the function to call it by.

    Parameters
    ----------
    schema
        Its name and arguments, as `torch.library` reads them.
    kernel
        Computes it, on any device.
    fake
        Makes results without values, while a graph is traced.
    keep, differentiate
        Its gradient: ``setup_context`` and ``backward`` of `torch.library.register_autograd`.
    """
    name = schema.partition("(")[0]
    qualified = f"mioconv::{name}"
    _library.define(schema)
    _library.impl(name, kernel, "CompositeExplicitAutograd")
    op = getattr(torch.ops.mioconv, name).default
    batched = _batching.rule(op)
    names = [argument.name for argument in op._schema.arguments]

    def traced(*args: Any) -> Any:
        _shapes.check_meta(dict(zip(names, args, strict=True)))
        return fake(*args)

    torch.library.register_fake(qualified, traced, lib=_library)
    torch.library.register_vmap(qualified, batched, lib=_library)
    torch.library.register_autograd(qualified, differentiate, setup_context=keep, lib=_library)
    if "output_mask" not in schema:
        for device_type in ("cpu", "cuda"):
            _library.impl(name, _autocast(op, device_type), f"Autocast{device_type.upper()}")
    # torch.func.grad does not see gradients that are registered with an operator.
    methods = {
        "forward": lambda *args: op(*args),
        "setup_context": keep,
        "backward": differentiate,
        "vmap": batched,
    }
    transformable: Any = type(
        name,
        (torch.autograd.Function,),
        {key: staticmethod(method) for key, method in methods.items()},
    )

    def call(*args: Any) -> Any:
        if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
            return transformable.apply(*args)
        return op(*args)

    return call


def _autocast(op: Any, device_type: str) -> Callable[..., Any]:
    """Within `torch.autocast`, convolve in its element type, as PyTorch's convolutions do."""

    def cast(arg: Any, dtype: torch.dtype) -> Any:
        if not isinstance(arg, Tensor) or not arg.is_floating_point():
            return arg
        return arg if arg.dtype == torch.float64 else arg.to(dtype)

    def run(*args: Any) -> Any:
        dtype = torch.get_autocast_dtype(device_type)
        with torch.autocast(device_type, enabled=False):
            return op(*(cast(arg, dtype) for arg in args))

    return run


def _by_rank(template: str) -> Callable[[Tensor, Tensor], Any]:
    """A function that finds the public function for the rank of a weight."""
    functions = {n + 2: getattr(mioconv, template.replace("N", str(n), 1)) for n in (1, 2, 3)}

    def find(input: Tensor, weight: Tensor) -> Any:
        dimensions = weight.dim()
        if dimensions not in functions:
            raise ValueError(
                f"weight: expected 3 to 5 dimensions, for 1 to 3 spatial ones, but got {dimensions}"
            )
        if input.dim() == dimensions - 1:
            raise ValueError(
                f"input: expected {dimensions} dimensions like weight, the first for the batch, "
                f"but got {input.dim()}"
            )
        return functions[dimensions]

    return find


# --- an operator and its gradients ----------------------------------------------------------------


class Family(NamedTuple):
    """The operators of one kind of convolution.

    Attributes
    ----------
    forward
        ``(input, weight, bias, *settings)`` to the output.
    backward
        ``(input, grad_output, weight, *settings, output_mask)`` to the gradients of input, weight
        and bias; an empty tensor stands for one that the mask leaves out.
    """

    forward: Callable[..., Tensor]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor]]

    def gradients(
        self,
        input: Tensor,
        grad_output: Tensor | None,
        weight: Tensor,
        settings: Sequence[Any],
        mask: Sequence[bool],
    ) -> tuple[Tensor | None, ...]:
        """Those that the mask asks for; None for the others, and where nothing comes in."""
        if grad_output is None or not any(mask):
            return (None, None, None)
        results = self.backward(input, grad_output, weight, *settings, tuple(mask))
        return tuple(
            result if wanted else None for result, wanted in zip(results, mask, strict=True)
        )


def _family(name: str, public: str, settings: str, shape: Callable[..., _shapes.Sizes]) -> Family:
    nothing = (None,) * len(settings.split(","))  # settings have no gradient
    find_forward, find_backward = _by_rank(f"{public}Nd_forward"), _by_rank(f"{public}Nd_backward")

    def kernel(input: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
        result: Tensor = find_forward(input, weight)(input, weight, bias, *settings)
        return result

    def fake(input: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
        last = _shapes.any_channels_last(input, weight)
        return _shapes.empty(input, shape(input, weight, *settings), last)

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:2])
        ctx.settings = inputs[3:]

    def differentiate(ctx: Any, grad_output: Tensor | None) -> _Gradients:
        input, weight = ctx.saved_tensors
        mask = ctx.needs_input_grad[:3]
        return family.gradients(input, grad_output, weight, ctx.settings, mask) + nothing

    def kernel_backward(
        input: Tensor, grad_output: Tensor, weight: Tensor, *settings: Any
    ) -> tuple[Tensor, ...]:
        run = find_backward(input, weight)
        results = run(input, grad_output, weight, *settings)
        return tuple(input.new_empty(0) if result is None else result for result in results)

    def fake_backward(
        input: Tensor, grad_output: Tensor, weight: Tensor, *settings: Any
    ) -> tuple[Tensor, ...]:
        last = _shapes.any_channels_last(input, grad_output, weight)
        shapes = (input.shape, weight.shape, grad_output.shape[1:2])
        return tuple(
            _shapes.empty(input, sizes, last and len(sizes) > 1) if wanted else input.new_empty(0)
            for sizes, wanted in zip(shapes, settings[-1], strict=True)
        )

    def keep_backward(
        ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:3])
        ctx.settings, ctx.mask = inputs[3:-1], inputs[-1]

    def differentiate_backward(ctx: Any, *grads: Tensor | None) -> _Gradients:
        input, grad_output, weight = ctx.saved_tensors
        by_input, by_weight, by_bias = (
            grad if wanted else None for grad, wanted in zip(grads, ctx.mask, strict=True)
        )
        wanted, settings = ctx.needs_input_grad, ctx.settings
        of_input = of_weight = None
        if wanted[0] and by_weight is not None:
            mask = (True, False, False)
            of_input = family.gradients(input, grad_output, by_weight, settings, mask)[0]
        if wanted[2] and by_input is not None:
            mask = (False, True, False)
            of_weight = family.gradients(by_input, grad_output, weight, settings, mask)[1]
        terms: list[Tensor] = []
        if wanted[1] and by_input is not None:
            terms.append(family.forward(by_input, weight, None, *settings))
        if wanted[1] and by_weight is not None:
            terms.append(family.forward(input, by_weight, None, *settings))
        if wanted[1] and by_bias is not None:
            column = by_bias.reshape(1, -1, *(1,) * (weight.dim() - 2))
            terms.append(column.expand_as(grad_output))
        of_output = sum(terms[1:], terms[0]) if terms else None
        return (of_input, of_output, of_weight, *nothing, None)

    operands = "Tensor input, Tensor weight, Tensor? bias"
    forward = _define(
        f"{name}({operands}, {settings}) -> Tensor", kernel, fake, keep, differentiate
    )
    operands = "Tensor input, Tensor grad_output, Tensor weight"
    backward = _define(
        f"{name}_backward({operands}, {settings}, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
        kernel_backward,
        fake_backward,
        keep_backward,
        differentiate_backward,
    )
    family = Family(forward, backward)
    return family


_PLAIN = "SymInt[] stride, SymInt[] padding, SymInt[] dilation"
_GROUPED = f"{_PLAIN}, SymInt groups"

CONVOLUTION = _family("convolution", "conv", _GROUPED, _shapes.convolution)
DEPTHWISE = _family("depthwise_convolution", "depthwise_conv", _PLAIN, _shapes.depthwise)
TRANSPOSED = _family(
    "convolution_transpose",
    "conv_transpose",
    "SymInt[] stride, SymInt[] padding, SymInt[] output_padding, SymInt groups, SymInt[] dilation",
    _shapes.transposed,
)


# --- convolutions with what follows them ----------------------------------------------------------


def _relu_operator(
    name: str,
    public: str,
    between: str,
    keep: Callable[..., None],
    differentiate: Callable[..., _Gradients],
) -> Callable[..., Tensor]:
    """An operator that ends in ReLU; `between` are its arguments between weight and bias."""
    find = _by_rank(f"{public}_forward")

    def kernel(input: Tensor, weight: Tensor, *more: Any) -> Tensor:
        result: Tensor = find(input, weight)(input, weight, *more)
        return result

    def fake(input: Tensor, weight: Tensor, *more: Any) -> Tensor:
        last = _shapes.any_channels_last(input, weight)
        return _shapes.empty(input, _shapes.convolution(input, weight, *more[-4:]), last)

    schema = f"{name}(Tensor input, Tensor weight, {between}Tensor? bias, {_GROUPED}) -> Tensor"
    return _define(schema, kernel, fake, keep, differentiate)


def _keep_relu(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:2], output)
    ctx.settings = inputs[-4:]


def _keep_add_relu(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _keep_relu(ctx, inputs, output)
    ctx.alpha = inputs[3]


def _through_relu(grad_output: Tensor | None, output: Tensor) -> Tensor | None:
    if grad_output is None:
        return None
    result: Tensor = torch.ops.aten.threshold_backward(grad_output, output, 0)
    return result


def _differentiate_relu(ctx: Any, grad_output: Tensor | None) -> _Gradients:
    input, weight, output = ctx.saved_tensors
    grad = _through_relu(grad_output, output)
    mask = ctx.needs_input_grad[:3]
    return CONVOLUTION.gradients(input, grad, weight, ctx.settings, mask) + (None,) * 4


def _differentiate_add_relu(ctx: Any, grad_output: Tensor | None) -> _Gradients:
    input, weight, output = ctx.saved_tensors
    grad = _through_relu(grad_output, output)
    of_input, of_weight, of_z, _, of_bias = ctx.needs_input_grad[:5]
    mask = of_input, of_weight, of_bias
    by_input, by_weight, by_bias = CONVOLUTION.gradients(input, grad, weight, ctx.settings, mask)
    # With alpha = 0 the sum leaves z out, whatever it holds; so does the gradient.
    by_z = grad * ctx.alpha if of_z and grad is not None and ctx.alpha else None
    return (by_input, by_weight, by_z, None, by_bias, *(None,) * 4)


convolution_relu = _relu_operator(
    "convolution_relu", "convNd_relu", "", _keep_relu, _differentiate_relu
)
convolution_add_relu = _relu_operator(
    "convolution_add_relu",
    "convNd_add_relu",
    "Tensor z, float alpha, ",
    _keep_add_relu,
    _differentiate_add_relu,
)
