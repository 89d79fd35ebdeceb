"""Numbers that make no sense, in every argument that is one: a status, and nothing breaks."""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest

from helpers import c_declarations

from . import abi
from .cases import SHAPES, make_case

PROTOTYPES = {
    name: prototype
    for header in ("hip.h", "miopen.h", "provider.h", "client.h")
    for name, prototype in c_declarations.parse(header).prototypes.items()
}
INT_MAX, SIZE_MAX = 2**31 - 1, 2**64 - 1
NUMBERS: dict[str, tuple[int, ...]] = {
    "int": (-(2**31), -2, -1, 0, 1, 3, 6, 13, 99, INT_MAX),
    "unsigned int": (0, 1, 4, 2**32 - 1),
    "size_t": (0, 1, 2**31, 2**63, SIZE_MAX),
    "uint64_t": (0, 1, 2**63, SIZE_MAX),
}
# How many bytes lie at a pointer of the same call: those the caller must know.
SIZES_OF_MEMORY = {
    ("hipMemcpyAsync", "sizeBytes"), ("hipMemcpy", "sizeBytes"), ("hipMemsetAsync", "sizeBytes"),
    ("hipMemset", "sizeBytes"), ("mioconvPackWeights", "size"), ("mioconvGetSolutionName", "size"),
    ("mioconvDescribe", "size"), ("mioconvDescribeSolution", "size"),
    ("mioconvGetVersions", "size"),
}  # fmt: skip
ENUMS = {
    "miopenDataType_t", "miopenConvolutionMode_t", "miopenConvolutionAttrib_t", "miopenTensorOp_t",
    "miopenActivationMode_t", "miopenConvolutionFindMode_t", "miopenConvFwdAlgorithm_t",
    "miopenConvBwdDataAlgorithm_t", "miopenConvBwdWeightsAlgorithm_t", "miopenFusionDirection_t",
    "miopenTensorLayout_t", "miopenStatus_t", "hipError_t", "hipMemcpyKind", "hipMemPoolAttr",
    "hipDeviceAttribute_t", "hipDevice_t",
}  # fmt: skip
# What makes something at its first argument, and what ends that.
ENDS = {
    "hipMalloc": "hipFree", "hipMallocAsync": "hipFree",
    "hipStreamCreateWithFlags": "hipStreamDestroy", "hipEventCreateWithFlags": "hipEventDestroy",
    "miopenCreateFusionPlan": "miopenDestroyFusionPlan",
}  # fmt: skip
PLAIN = next(s for s in SHAPES if s.name == "plain")


def numbers_of(kind: str) -> tuple[int, ...]:
    return NUMBERS["int"] if kind in ENUMS else NUMBERS.get(kind, ())


NUMBERED = [
    name
    for name, prototype in PROTOTYPES.items()
    if any(numbers_of(kind) for kind in prototype.types)
]


@contextmanager
def arguments_of(library: abi.Library, name: str) -> Iterator[list[Any]]:
    """Valid ones, but for the numbers, which are 1."""
    prototype = PROTOTYPES[name]
    memory = np.zeros(1 << 16, np.uint8)
    case = make_case(PLAIN, np.dtype(np.float32))
    x, w, y = case.arrays(abi.FORWARD, False)
    with ExitStack() as stack:
        handle = stack.enter_context(library.handle())
        arrays = {"x": x, "w": w, "y": y}
        descriptors = {n: stack.enter_context(library.tensor(a)) for n, a in arrays.items()}
        conv = stack.enter_context(library.convolution(**PLAIN.settings()))

        def made(create: str, destroy: str, *values: Any) -> Any:
            thing = library.create(create, *values)
            stack.callback(library.call, destroy, thing)
            return thing

        def argument(kind: str, parameter: str) -> Any:
            role = parameter.lstrip("d")[:1]
            if kind == "miopenHandle_t":
                return handle
            if kind.endswith("miopenTensorDescriptor_t"):
                return descriptors["w" if parameter.startswith(("filter", "dw")) else
                                   role if role in arrays else "x"]  # fmt: skip
            if kind.endswith("miopenConvolutionDescriptor_t"):
                return conv
            if kind.endswith("miopenActivationDescriptor_t"):
                return made("miopenCreateActivationDescriptor", "miopenDestroyActivationDescriptor")
            if kind.endswith("miopenFusionPlanDescriptor_t"):
                plan = c.c_void_p()
                library.call("miopenCreateFusionPlan", c.byref(plan), 0, descriptors["x"])
                stack.callback(library.call, "miopenDestroyFusionPlan", plan)
                return plan
            if kind == "miopenOperatorArgs_t":
                return made("miopenCreateOperatorArgs", "miopenDestroyOperatorArgs")
            if kind == "hipEvent_t":
                return made("hipEventCreateWithFlags", "hipEventDestroy", 0)
            if kind.endswith("miopenFusionOpDescriptor_t") or parameter.lower() == "workspace":
                return None
            if parameter in arrays or parameter.lstrip("d") in arrays:
                return abi.pointer(arrays[parameter.lstrip("d")])
            if "*" in kind:
                return abi.pointer(memory)
            if kind in ("float", "double"):
                return (c.c_float if kind == "float" else c.c_double)(1)
            return (
                c.c_uint64(1) if kind in ("size_t", "uint64_t") else 1 if numbers_of(kind) else None
            )

        yield [argument(k, p) for k, p in zip(prototype.types, prototype.parameters, strict=True)]


@pytest.mark.parametrize("function", NUMBERED)
def test_numbers_without_sense(cpu: abi.Library, function: str) -> None:
    """On the CPU alone: a GPU cannot take the pointers that stand for everything here."""
    prototype = PROTOTYPES[function]
    before = cpu.counts().alive()
    with arguments_of(cpu, function) as arguments:
        made = c.c_void_p()
        if function in ENDS:
            arguments[0] = c.byref(made)
        for at, (kind, parameter) in enumerate(
            zip(prototype.types, prototype.parameters, strict=True)
        ):
            if (function, parameter) in SIZES_OF_MEMORY:
                continue
            for number in numbers_of(kind):
                wide = kind in ("size_t", "uint64_t")
                value: Any = c.c_uint64(number) if wide else c.c_int(number)
                changed = [value if i == at else a for i, a in enumerate(arguments)]
                answer = cpu.status(function, *changed)
                assert isinstance(answer, bytes) or answer >= 0, (parameter, number)
                for setting in ("mioconvSetNumThreads", "mioconvAdmitAll"):
                    cpu.call(setting, 0)
                cpu.call("mioconvSetScratchGap", c.c_size_t(0))
                cpu.call("mioconvSetCacheCapacity", c.c_size_t(4096))
                if function in ENDS and answer == 0:
                    cpu.call(ENDS[function], made)
    assert cpu.counts().alive() == before, "another function that makes something: see ENDS"
    cpu.so.hipGetLastError()
    # The library is as it was.
    case = make_case(PLAIN, np.dtype(np.float32))
    with (
        cpu.handle() as handle,
        abi.problem(
            cpu, handle, abi.FORWARD, *case.arrays(abi.FORWARD, False), **PLAIN.settings()
        ) as problem,
    ):
        problem.immediate(problem.solutions()[0])
        case.check(abi.FORWARD, problem.out)
