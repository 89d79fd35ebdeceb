"""Routes the convolutions of existing code through mioconv: `use` a block, `convert` a model.

A call that mioconv does not support goes to PyTorch as it is, and is counted with the reason.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from mioconv.errors import NoSolutionError, ProviderNotFoundError, UnsupportedError
from mioconv.torch import functional

__all__ = ["Routing", "convert", "use"]

_Model = TypeVar("_Model", bound=torch.nn.Module)

# What torch.nn.functional has under these names are these very functions.
_FUNCTIONS: dict[Any, Callable[..., Tensor] | None] = {
    torch.conv1d: functional.conv1d,
    torch.conv2d: functional.conv2d,
    torch.conv3d: functional.conv3d,
    torch.conv_transpose1d: functional.conv_transpose1d,
    torch.conv_transpose2d: functional.conv_transpose2d,
    torch.conv_transpose3d: functional.conv_transpose3d,
    torch.conv_tbc: None,
}
_DTYPES = frozenset({torch.float32, torch.float16, torch.bfloat16})
_DEVICES = frozenset({"cpu", "cuda", "meta"})
_NAMES = ("input", "weight", "bias")


# --- what mioconv does not support ----------------------------------------------------------------


def _refusal(operands: dict[str, Any]) -> str | None:
    """Why these operands go to PyTorch; None where mioconv takes them."""
    for name, tensor in operands.items():
        if not isinstance(tensor, Tensor):
            return f"{name} is {type(tensor).__name__}"
        reason = _refusal_of(tensor)
        if reason is not None:
            return f"{name}: {reason}"
    first = operands["input"]
    dtypes = {tensor.dtype for tensor in operands.values()}
    if len(dtypes) > 1 and not torch.is_autocast_enabled(first.device.type):
        return "element types differ"
    if any(tensor.device != first.device for tensor in operands.values()):
        return "devices differ"
    # PyTorch computes on empty channels and images; here only the batch may be empty.
    if any(size == 0 for size in first.shape[1:]) or any(s == 0 for s in operands["weight"].shape):
        return "a dimension of size 0"
    return None


def _refusal_of(tensor: Tensor) -> str | None:
    if is_traceable_wrapper_subclass(tensor):
        return f"a {type(tensor).__name__}"
    if tensor.layout != torch.strided:
        return f"layout {tensor.layout}"
    if tensor.dtype not in _DTYPES:
        return f"dtype {tensor.dtype}"
    if tensor.device.type not in _DEVICES:
        return f"device {tensor.device.type}"
    if torch.compiler.is_compiling():
        return None
    if tensor.is_neg():
        return "lazily negated"
    if forward_ad.unpack_dual(tensor).tangent is not None:
        return "forward-mode gradients"
    return None


# --- the switch -----------------------------------------------------------------------------------


class Routing(TorchFunctionMode):
    """What `use` gives: a context manager, and the record of the calls that it saw.

    Attributes
    ----------
    strict : bool
        Whether an unsupported call is an error instead of PyTorch's.
    calls : collections.Counter
        Calls that mioconv computed, by function: ``{"conv2d": 53}``.
    fallbacks : collections.Counter
        Calls that went to PyTorch, by function and reason:
        ``{("conv2d", "input: dtype torch.float64"): 1}``.
    """

    def __init__(self, strict: bool = False) -> None:
        super().__init__()
        self.strict = strict
        self.calls: Counter[str] = Counter()
        self.fallbacks: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Routing:
        super().__enter__()
        if not torch.compiler.is_compiling():
            _entered().append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        entered = _entered()
        # Compiled code may have left a block that it did not enter.
        if not torch.compiler.is_compiling() and entered and entered[-1] is self:
            entered.pop()
        super().__exit__(*error)

    def __reduce__(self) -> Any:
        # A copy of a converted model keeps its own record.
        return Routing, (self.strict,)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _FUNCTIONS:
            return func(*args, **kwargs)
        name: str = func.__name__
        run = _FUNCTIONS[func]
        if run is None:
            reason: str | None = "mioconv has no such operator"
        else:
            operands = dict(zip(_NAMES, args, strict=False))
            operands.update({key: kwargs[key] for key in _NAMES if key in kwargs})
            if operands.get("bias") is None:
                operands.pop("bias", None)
            # With operands missing, PyTorch says what is wrong.
            complete = "input" in operands and "weight" in operands
            reason = _refusal(operands) if complete else "operands are missing"
        if run is not None and reason is None:
            if torch.compiler.is_compiling():
                _count_traced(name, None)
                return run(*args, **kwargs)
            try:
                result = run(*args, **kwargs)
            except (NoSolutionError, ProviderNotFoundError, UnsupportedError) as error:
                reason = str(error).partition("\n")[0]
            else:
                self._count(name, None)
                return result
        if self.strict:
            raise UnsupportedError(
                f"{name}: mioconv does not support this call ({reason}), and strict=True refuses "
                "to leave it to PyTorch"
            )
        if torch.compiler.is_compiling():
            _count_traced(name, reason)
        else:
            self._count(name, reason)
        return func(*args, **kwargs)

    def _count(self, name: str, reason: str | None) -> None:
        with _counting:
            if reason is None:
                self.calls[name] += 1
            else:
                self.fallbacks[name, reason] += 1

    def __str__(self) -> str:
        lines = [f"{count} x {name} by mioconv" for name, count in self.calls.items()]
        lines += [
            f"{count} x {name} by PyTorch: {reason}"
            for (name, reason), count in self.fallbacks.items()
        ]
        return "\n".join(lines) or "no convolution"


_threads = threading.local()
_counting = threading.Lock()  # a model may run in several threads


def _entered() -> list[Routing]:
    """The blocks that this thread is in, the innermost last."""
    if not hasattr(_threads, "entered"):
        _threads.entered = []
    found: list[Routing] = _threads.entered
    return found


@torch.compiler.assume_constant_result
def _count_traced(name: str, reason: str | None) -> None:
    """Count while torch.compile traces. In the traced code the counter would be guarded, and every
    call would recompile."""
    entered = _entered()
    if entered:
        entered[-1]._count(name, reason)


def use(*, strict: bool = False) -> Routing:
    """Route PyTorch's convolutions through mioconv in a ``with`` block.

        with mioconv.torch.use() as routing:
            loss = model(x).sum()
        loss.backward()
        print(routing)               # 53 x conv2d by mioconv

    This holds for ``torch.nn.functional.conv1d`` to ``conv3d`` and ``conv_transpose1d`` to
    ``conv_transpose3d``, and so for all modules that call them, in this thread and block. What a
    call computes there keeps its gradient by mioconv; the backward pass may come later.

    Parameters
    ----------
    strict
        Raise `mioconv.UnsupportedError` for a convolution that mioconv does not support. Without it
        such a call is PyTorch's, and counted in `Routing.fallbacks`.

    Returns
    -------
    Routing
        Blocks nest, and one may be entered again.

    Notes
    -----
    Not seen: convolutions in TorchScript, in quantized modules, and those that PyTorch's C++ code
    calls itself. In a function that `torch.compile` has compiled, calls are counted while it is
    traced, not each time that it runs.
    """
    return Routing(strict)


def convert(model: _Model, *, strict: bool = False) -> _Model:
    """Route the convolutions of every forward pass of a model through mioconv, from now on.

    Parameters
    ----------
    model
        Changed in place: its parameters, hooks and state dict stay as they are.
    strict
        As in `use`.

    Returns
    -------
    torch.nn.Module
        The model; ``model.mioconv`` is the record of its calls.

    Raises
    ------
    TypeError, ValueError
        Not a module of Python code, or one whose forward was replaced on the object.
    """
    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"model: expected a torch.nn.Module in Python, but got {type(model).__name__}"
        )
    if "forward" in model.__dict__:
        raise ValueError(
            "model: its forward was replaced on the object itself, as torch.compile does; convert "
            "the model before that, or call it within mioconv.torch.use()"
        )
    if not hasattr(type(model), "_before_conversion"):
        model.__class__ = _converted(type(model))
    model.__dict__["mioconv"] = Routing(strict)
    return model


def _converted(base: Any) -> Any:
    """A model's class, with a forward pass that is routed."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.mioconv:
            return base.forward(self, *args, **kwargs)

    def reduce(self: Any, protocol: Any) -> Any:
        # Pickle finds a class by its name, and this one has none of its own.
        state = self.__getstate__() if hasattr(self, "__getstate__") else self.__dict__
        return _restore, (base,), state

    members = {
        "forward": forward,
        "__reduce_ex__": reduce,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "_before_conversion": base,
    }
    return type(base.__name__, (base,), members)


def _restore(base: Any) -> Any:
    kind = _converted(base)
    return kind.__new__(kind)
