"""The libraries that are compared, each behind one function: a case in, something to call out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np

import mioconv

from .shapes import Layer
from .timing import Function

DIRECTIONS = ("forward", "backward_input", "backward_weight")
LAYOUTS = ("packed", "channels_last")
DTYPES = ("float32", "bfloat16")
ITEMSIZE = {"float32": 4, "bfloat16": 2}


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@cache
def _numbers() -> np.ndarray:
    """Random numbers that arrays are filled with, over and over: a prime number of them, so that
    rows differ. New ones for every layer would take longer than measuring it."""
    return np.random.default_rng(0).standard_normal(1_000_003, dtype=np.float32)


@dataclass(frozen=True)
class Case:
    """What is measured: a layer with its batch, one of its directions, on tensors of one layout."""

    layer: Layer
    batch: int
    direction: str
    layout: str
    dtype: str

    @property
    def key(self) -> str:
        return f"{self.layer.name}/b{self.batch}/{self.direction}/{self.layout}/{self.dtype}"

    def sensible(self) -> bool:
        """PyTorch has no channels-last in 1-D, and a layer without extent is in both layouts."""
        if self.layout == "packed":
            return True
        return self.layer.rank > 1 and any(n > 1 for n in self.layer.size)

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Input, weight and gradient of the output, in the case's layout."""
        x, w, y = (np.resize(_numbers(), shape) for shape in self.layer.shapes(self.batch))
        return self._lay(x), self._lay(w), self._lay(y)

    def _lay(self, array: np.ndarray) -> np.ndarray:
        if self.dtype == "bfloat16":
            import ml_dtypes

            array = array.astype(ml_dtypes.bfloat16)
        if self.layout == "packed":
            return array
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


# --- mioconv --------------------------------------------------------------------------------------


@dataclass
class Chosen:
    """What a mode of mioconv ran."""

    solution_id: int
    name: str
    workspace: int


def mioconv_call(case: Case, with_out: bool = False) -> Callable[..., np.ndarray]:
    """The operator on the case's arrays; what is left open are the flags of the call."""
    layer = case.layer
    x, w, y = case.arrays
    prefix = f"conv_transpose{layer.rank}d" if layer.transposed else f"conv{layer.rank}d"
    function: Callable[..., np.ndarray] = getattr(mioconv, f"{prefix}_{case.direction}")
    settings: dict[str, Any] = {
        "stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation,
        "groups": layer.groups,
    }  # fmt: skip
    if layer.transposed:
        settings["output_padding"] = layer.output_padding
    operands: tuple[Any, ...] = (x, w)
    result = y
    if case.direction == "backward_input":
        operands = (y, w) if layer.transposed else (x.shape, y, w)
        result = x
    elif case.direction == "backward_weight":
        operands = (w.shape, y, x)
        result = w
    if with_out:
        settings["out"] = np.empty_like(result)
    return lambda **flags: function(*operands, **settings, **flags)


def mioconv_choices(call: Callable[..., np.ndarray], modes: list[str]) -> dict[str, Chosen]:
    """What each mode chooses. Default mode first: a measurement would improve its ranking."""
    found = {}
    for mode in sorted(modes, reverse=True):
        call(benchmark=mode == "benchmark")
        info = mioconv.last_call()
        assert info is not None
        assert info.solution_id is not None
        found[mode] = Chosen(info.solution_id, info.solution_name or "", info.workspace_bytes)
    return found


def problem(case: Case) -> mioconv.Problem:
    """What a case computes; a transposed layer runs as the gradient of a convolution."""
    layer = case.layer
    x, w, y = layer.shapes(case.batch)
    direction = case.direction
    if layer.transposed:  # from its output to its input
        x = y
        direction = {"forward": "backward_input", "backward_input": "forward"}.get(
            direction, direction
        )
    return mioconv.Problem(
        direction, x, w, case.dtype, stride=layer.stride, padding=layer.padding,
        dilation=layer.dilation, groups=layer.groups, layout=case.layout,
    )  # fmt: skip


def measured_times(case: Case) -> dict[str, float]:
    """Milliseconds of every solution that a search in benchmark mode has timed, by name."""
    listed = mioconv.find_solutions(problem(case))
    return {found.name: found.time_ms for found in listed if found.source == "measured"}


# --- PyTorch --------------------------------------------------------------------------------------


def torch_tensor(array: np.ndarray) -> Any:
    """A tensor on the same memory."""
    import torch

    if array.dtype == np.float32:
        return torch.from_numpy(array)
    return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)


def torch_call(case: Case) -> Function:
    import torch

    layer = case.layer
    x, w, y = (torch_tensor(array) for array in case.arrays)
    stride, padding, dilation = list(layer.stride), list(layer.padding), list(layer.dilation)
    if case.direction == "forward":
        functional: Any = torch.nn.functional
        if layer.transposed:
            transposed = getattr(functional, f"conv_transpose{layer.rank}d")
            extra, groups = list(layer.output_padding), layer.groups
            return lambda: transposed(x, w, None, stride, padding, extra, groups, dilation)
        forward = getattr(functional, f"conv{layer.rank}d")
        return lambda: forward(x, w, None, stride, padding, dilation, layer.groups)
    mask = [case.direction == "backward_input", case.direction == "backward_weight", False]
    backward = torch.ops.aten.convolution_backward
    extra = list(layer.output_padding)
    return lambda: backward(
        y, x, w, None, stride, padding, dilation, layer.transposed, extra, layer.groups, mask
    )


# --- ONNX Runtime ---------------------------------------------------------------------------------


def onnxruntime_call(case: Case, threads: int) -> Function | None:
    """A session of this one node, its weight a constant (which it may therefore lay out ahead).

    None where it has nothing to compare: it runs forward, on packed float32 tensors.
    """
    if (case.direction, case.layout, case.dtype) != ("forward", "packed", "float32"):
        return None
    import onnx
    import onnxruntime

    layer = case.layer
    x, w, y = case.arrays
    attributes: dict[str, Any] = {
        "kernel_shape": layer.kernel, "strides": layer.stride, "dilations": layer.dilation,
        "pads": layer.padding * 2, "group": layer.groups,
    }  # fmt: skip
    if layer.transposed:
        attributes["output_padding"] = layer.output_padding
    kind = onnx.TensorProto.FLOAT
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node(
                "ConvTranspose" if layer.transposed else "Conv", ["x", "w"], ["y"], **attributes
            )
        ],
        "layer",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, y.shape)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": x}
    return lambda: session.run(None, feed)


# --- all of them ----------------------------------------------------------------------------------


def use_threads(threads: int) -> None:
    """The same number of threads on every side; ONNX Runtime is told for each session."""
    mioconv.set_flags(num_threads=threads)
    if installed("torch"):
        import torch

        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)


def versions() -> dict[str, str]:
    """Of everything that takes part."""
    info = mioconv.get_version_info()
    found = {name: info[name] for name in ("mioconv", "python", "numpy")}
    for module in ("torch", "onnxruntime"):
        if installed(module):
            found[module] = str(importlib.import_module(module).__version__)
    found["cpu provider"] = mioconv.providers()["cpu"].description
    return {name: str(version) for name, version in found.items()}


def matrix_products(size: int, dtype: str, threads: int) -> list[Function]:
    """A large matrix product, by whoever can be told the number of threads."""
    use_threads(threads)
    layer = Layer(
        "product", False, size, (1, size), size, (1, 1), (1, 1), (0, 0), (1, 1), 1, (0, 0)
    )
    case = Case(layer, 1, "forward", "channels_last", dtype)
    call = mioconv_call(case)
    products: list[Function] = [lambda: call(benchmark=True)]
    if installed("torch"):
        import torch

        a = torch.ones(size, size, dtype=getattr(torch, dtype))
        products.append(lambda: torch.mm(a, a))
    return products
