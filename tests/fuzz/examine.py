"""One problem: every solution that the library lists, twice, against the exact result."""

from __future__ import annotations

import ctypes as c
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers import tolerances, winograd
from providers import abi, cases

from .draw import Problem
from .fused import Fused, is_fusable
from .memory import NAN, Arena, in_layout

_FUSED = "fused"  # the name of a fused operation among solutions


@dataclass
class Outcome:
    """What one solution did."""

    solution: str
    basis: str  # implementation, form and classes, as `mioconvDescribeSolution` says it
    fault: str = ""  # empty: none

    def to_json(self) -> dict[str, str]:
        return {"solution": self.solution, "basis": self.basis, "fault": self.fault}


def _dtype(name: str) -> Any:
    return abi.BFLOAT16 if name == "bfloat16" else np.dtype(name)


def _values(problem: Problem, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if problem.values == "normal":
        return rng.standard_normal(shape).astype(_dtype(problem.dtype))
    # Small integers: every sum is exact in float32, in any order, so that a result is right or
    # wrong. No zeros, which would hide a term; only positive ones make sums too long for a half
    # type, so that who adds up in one shows.
    numbers = rng.integers(1, 4, shape)
    if problem.values == "signs":
        numbers = np.where(rng.random(shape) < 0.5, -numbers, numbers)
    return numbers.astype(_dtype(problem.dtype))


class Examiner:
    """Holds the library, a handle and the guarded memory from problem to problem."""

    def __init__(self, library: abi.Library, handle: c.c_void_p) -> None:
        self.library, self.handle = library, handle
        self.arenas = {name: Arena(library.provider == "cpu") for name in "xwyszb"}

    def examine(
        self, problem: Problem, announce: Callable[[str, str], None], only: str | None = None
    ) -> list[Outcome]:
        """`announce` is told each solution before it runs; `only` runs that one."""
        if self.library.provider == "cpu":
            self.library.call("mioconvSetNumThreads", problem.threads)
        rng = np.random.default_rng(problem.seed)
        shape = cases.Shape("drawn", problem.x, problem.w, problem.stride, problem.padding,
                            problem.dilation, problem.groups, problem.transposed)  # fmt: skip
        x, w, y = (_values(problem, s, rng) for s in (problem.x, problem.w, problem.y))
        arrays = self._lay_out(problem, x, w, y)
        with abi.problem(
            self.library, self.handle, problem.direction, *arrays, **shape.settings(),
            tf32=problem.tf32,
        ) as call:  # fmt: skip
            try:
                if self.library.provider == "cuda" and problem.seed % 2:
                    call.workspace()  # then all are listed, not only the first of each kind
                listed = call.solutions(512)
            except abi.StatusError as error:
                if error.status == abi.NOT_IMPLEMENTED:
                    return []
                raise
            judge = _Judge(problem, shape, x, w, y, self.library.provider)
            outcomes = []
            for solution in listed:
                name = self.library.solution_name(solution.solution_id)
                if only is not None and name != only:
                    continue
                outcome = Outcome(name, self._basis(problem, call, solution.solution_id))
                announce(name, outcome.basis)
                outcome.fault = self._run_twice(problem, call, solution, name, judge)
                outcomes.append(outcome)
            if is_fusable(problem, self.library.provider) and only in (None, _FUSED):
                outcome = Outcome(_FUSED, "")
                announce(_FUSED, "")
                named = [self.library.solution_name(s.solution_id) for s in listed]
                transforms = any(map(winograd.output_tile, named))
                fused = Fused(self.library, self.handle, problem, x, w, transforms)
                size = max(s.workspace_size for s in listed) + (4 << 20)
                outcome.fault = fused.run_twice(call, self.arenas, size)
                outcomes.append(outcome)
        return outcomes

    def _lay_out(self, problem: Problem, *values: np.ndarray) -> list[np.ndarray]:
        arrays = []
        for i, (name, array) in enumerate(zip("xwy", values, strict=True)):
            memory = self.arenas[name].place(
                array.nbytes, problem.offset[i] * array.itemsize, problem.at_end[i]
            )
            arrays.append(in_layout(memory, array.shape, array.dtype, problem.last[i]))
            arrays[-1][...] = array
        return arrays

    def _basis(self, problem: Problem, call: abi.Problem, id: int) -> str:
        if self.library.provider == "rocm":
            return ""
        text = c.create_string_buffer(256)
        roles = {"Forward": "wxy", "BackwardData": "ywx", "BackwardWeights": "yxw"}
        order = roles[problem.direction]
        descs = dict(zip(order, (call.first[0], call.second[0], call.third[0]), strict=True))
        self.library.call(
            "mioconvDescribeSolution", self.handle, abi.DIRECTIONS.index(problem.direction),
            descs["w"], descs["x"], call.conv, descs["y"], c.c_uint64(id), text, c.c_size_t(256),
        )  # fmt: skip
        return text.value.decode()

    def _run_twice(
        self, problem: Problem, call: abi.Problem, solution: abi.Solution, name: str, judge: _Judge
    ) -> str:
        size = solution.workspace_size
        own, odd = "eng" not in name, any(problem.offset) and self.library.provider == "cuda"
        for run in ("first", "second"):
            call.out[...] = np.nan
            space = self.arenas["s"].place(size, 0, True) if size else None
            if space is not None:
                space[...] = NAN
            try:
                call.immediate_in(solution, space)
            except abi.StatusError as error:
                if own and odd and error.status == abi.BAD_PARM:
                    return ""  # kernels that load several elements at once say so
                if self.library.provider == "rocm" and error.status == abi.UNKNOWN_ERROR:
                    return ""  # its source is not there, or does not compile: the next one serves
                if error.status == abi.INTERNAL_ERROR:  # how a provider says it
                    return f"outside: of its scratch memory, {run} run"
                return f"status: {error.status}, {run} run"
            for arena, what in (("x", "x"), ("w", "w"), ("y", "y"), ("s", "scratch memory")):
                if (arena != "s" or space is not None) and (n := self.arenas[arena].touched()):
                    return f"outside: {n} bytes around {what}, {run} run"
            if fault := judge(call.out, name, solution.algorithm):
                return f"wrong: {fault}, {run} run"
        return ""


class _Judge:
    """Compares results of one problem with the exact one."""

    def __init__(
        self, problem: Problem, shape: cases.Shape, x: np.ndarray, w: np.ndarray, y: np.ndarray,
        provider: str,
    ) -> None:  # fmt: skip
        self.problem, self.shape, self.provider = problem, shape, provider
        self.x, self.w, self.y = x, w, y
        self.exact = cases.exact_result(shape, problem.direction, x, w, y)
        self._magnitude: np.ndarray | None = None

    def magnitude(self) -> np.ndarray:
        if self._magnitude is None:
            absolute = (np.abs(a) for a in (self.x, self.w, self.y))
            self._magnitude = cases.exact_result(self.shape, self.problem.direction, *absolute)
        return self._magnitude

    def __call__(self, out: np.ndarray, name: str, algorithm: int) -> str:
        problem = self.problem
        transforms = algorithm in (abi.FFT, abi.WINOGRAD)
        rounds_parts = self._parts() > 0
        if problem.values != "normal" and not transforms and not rounds_parts:
            with np.errstate(over="ignore"):
                bad = out != self.exact.astype(out.dtype)
        else:
            bad = ~(np.abs(out.astype(np.float64) - self.exact) <= self._bound(name, transforms))
            if rounds_parts and problem.dtype == "float16":  # and these may leave its range
                bad &= self.magnitude() <= np.finfo(np.float16).max
        if not bad.any():
            return ""
        error = np.abs(np.where(bad, out.astype(np.float64), 0) - np.where(bad, self.exact, 0))
        where = tuple(int(i[0]) for i in np.nonzero(bad))
        worst = np.nanmax(error) if not np.isnan(error).all() else np.nan
        return (
            f"{int(bad.sum())} of {bad.size} results, the first at {where}, by up to "
            f"{worst:.2g} of {np.abs(self.exact).max():.2g}, {int(np.isnan(error).sum())} NaN"
        )

    def _bound(self, name: str, transforms: bool) -> np.ndarray:
        problem = self.problem
        if m := winograd.output_tile(name):
            direction = {"Forward": "forward", "BackwardData": "backward_input",
                         "BackwardWeights": "backward_weight"}[problem.direction]  # fmt: skip
            if not problem.transposed:
                return winograd.error_bound(direction, self.x, self.w, self.y, problem.padding, m)
            direction = {"forward": "backward_input", "backward_input": "forward",
                         "backward_weight": "backward_weight"}[direction]  # fmt: skip
            return winograd.error_bound(direction, self.y, self.w, self.x, problem.padding, m)
        return tolerances.error_bound(
            _dtype(problem.dtype), np.abs(self.exact), self.magnitude(), problem.terms,
            amplification=cases.TRANSFORMS if transforms else None,
            # Tensor cores cut off what TF32 lacks.
            operand_roundoff=2 * tolerances.TF32_ROUNDOFF
            if problem.tf32 and problem.dtype == "float32" and self.on_tensor_cores(name) else 0.0,
            stored_between=self._parts(),
        )  # fmt: skip

    def _parts(self) -> int:
        """How many parts of a sum may be rounded: MIOpen keeps those of its matrix products, one
        for each tap or image, in half types."""
        if self.provider != "rocm" or self.problem.dtype == "float32":
            return 0
        return math.prod(self.problem.w[2:]) + self.problem.x[0]

    def on_tensor_cores(self, name: str) -> bool:
        return name.startswith(("fwd:", "bwd:", "wrw:"))  # cuDNN's
