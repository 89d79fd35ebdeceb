"""The fused operation of a forward problem, twice, against the exact result.

Which algorithm it is by nobody says, so that it has no region: a plain problem's rows admit it.
What is fused behind a sum is code of its own in every implementation of oneDNN.
"""

from __future__ import annotations

import ctypes as c
import random
from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np

from helpers import tolerances, winograd
from providers import abi, cases

from .draw import Problem
from .memory import NAN, Arena, in_layout


def is_fusable(problem: Problem, provider: str) -> bool:
    """On the CPU alone: there an exact result is one whatever the order of its sums."""
    plain = problem.direction == "Forward" and not problem.transposed
    return provider == "cpu" and plain and problem.values != "normal"


class Fused:
    """relu(conv(x, w) + alpha * z + bias) of one problem; z and bias are there or not."""

    def __init__(
        self, library: abi.Library, handle: c.c_void_p, problem: Problem, x: np.ndarray,
        w: np.ndarray, transforms: bool,
    ) -> None:  # fmt: skip
        """`transforms`: a transform of the operands is among the problem's solutions."""
        self.library, self.handle, self.problem = library, handle, problem
        rng, numbers = random.Random(problem.seed), np.random.default_rng(problem.seed + 1)
        self.alpha = rng.choice((0.0, 1.0, 1.0, 0.5, -2.0))
        dtype = x.dtype
        self.z = numbers.integers(-20, 21, problem.y).astype(dtype)
        self.bias = numbers.integers(-20, 21, problem.y[1]).astype(dtype)
        self.has_bias = rng.random() < 0.6
        shape = cases.Shape("drawn", problem.x, problem.w, problem.stride, problem.padding,
                            problem.dilation, problem.groups)  # fmt: skip
        sums = cases.exact_result(shape, "Forward", x, w, np.empty(problem.y))
        wide = self.bias.astype(np.float64).reshape(-1, *[1] * (len(problem.y) - 2))
        right = sums + self.alpha * self.z.astype(np.float64) + (wide if self.has_bias else 0)
        self.right = np.maximum(right, 0)
        self.bound = np.zeros(right.shape)
        if transforms:  # and three roundings of what is added
            for m in (2, 4):
                bound = winograd.error_bound(
                    "forward", x, w, np.empty(problem.y), problem.padding, m
                )
                self.bound = np.maximum(self.bound, bound)
            self.bound = self.bound + tolerances.gamma(3) * (np.abs(sums) + self.bound + 60)

    def run_twice(self, call: abi.Problem, arenas: Mapping[str, Arena], size: int) -> str:
        """What is wrong, in words; empty: nothing. `size`: of the scratch memory."""
        problem, x, w, out = self.problem, call.second[1], call.first[1], call.out
        given = {}
        for name, array, last in (("z", self.z, problem.last[2]), ("b", self.bias, False)):
            memory = arenas[name].place(array.nbytes, 0, True)
            given[name] = in_layout(memory, array.shape, array.dtype, last)
            given[name][...] = array
        with ExitStack() as stack:
            zd = stack.enter_context(self.library.tensor(given["z"]))
            shape = (1, -1, *[1] * (len(problem.y) - 2))
            bd = stack.enter_context(self.library.tensor(given["b"].reshape(shape)))
            act = stack.enter_context(self.library.activation(abi.RELU))
            for run in ("first", "second"):
                out[...] = np.nan
                space = arenas["s"].place(size, 0, True)
                space[...] = NAN
                status = self.library.status(
                    "miopenConvolutionBiasActivationForward", self.handle, abi.scalar(1),
                    call.second[0], abi.pointer(x), call.first[0], abi.pointer(w), call.conv, 1,
                    abi.pointer(space), c.c_size_t(size), abi.scalar(self.alpha), zd,
                    abi.pointer(given["z"]), bd if self.has_bias else None,
                    abi.pointer(given["b"] if self.has_bias else None), act, call.third[0],
                    abi.pointer(out),
                )  # fmt: skip
                if status == abi.UNSUPPORTED:
                    return ""
                if status == abi.INTERNAL_ERROR:
                    return f"outside: of its scratch memory, {run} run"
                if status:
                    return f"status: {status}, {run} run"
                for name in "xwyszb":
                    if touched := arenas[name].touched():
                        return f"outside: {touched} bytes around {name}, {run} run"
                if fault := self._judge(out):
                    return f"wrong: {fault}, alpha {self.alpha}, {run} run"
        return ""

    def _judge(self, out: np.ndarray) -> str:
        with np.errstate(over="ignore"):
            right = self.right.astype(out.dtype)
        if self.bound.any():
            bad = ~(np.abs(out.astype(np.float64) - self.right) <= self.bound)
        else:
            bad = out != right
        if not bad.any():
            return ""
        where = tuple(int(i[0]) for i in np.nonzero(bad))
        return f"{int(bad.sum())} of {bad.size} results, the first at {where}"
