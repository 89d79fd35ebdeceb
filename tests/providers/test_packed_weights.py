"""The CPU library's calls for packed weights: what they refuse. That packed weights give the same
results is in test_constant_weights.py."""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from . import abi

SETTINGS: dict[str, Any] = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}


class Packed:
    """A problem whose descriptor says that its weights are packed."""

    def __init__(self, cpu: abi.Library, problem: abi.Problem, w: np.ndarray) -> None:
        self.cpu, self.problem, self.w = cpu, problem, w
        place = 0 if problem.direction == abi.FORWARD else 1
        wd, xd = problem.descs[place], problem.descs[1 - place]
        if problem.direction == abi.FORWARD:
            self.x, self.y = xd, problem.descs[3]
        else:
            self.x, self.y = problem.descs[3], xd
        self.wd, self.direction = wd, place

    def size(self, solution: int, size: Any = None, direction: int | None = None) -> int:
        """The status of mioconvGetPackedWeightsSize."""
        return self.cpu.status(
            "mioconvGetPackedWeightsSize", self.problem.handle,
            self.direction if direction is None else direction, self.wd, self.x,
            self.problem.conv, self.y, c.c_uint64(solution), size,
        )  # fmt: skip

    def pack(self, solution: int, packed: np.ndarray | None, w: Any = None) -> int:
        """The status of mioconvPackWeights."""
        return self.cpu.status(
            "mioconvPackWeights", self.problem.handle, self.direction, self.wd,
            abi.pointer(self.w if w is None else w), self.x, self.problem.conv, self.y,
            abi.pointer(packed), c.c_size_t(0 if packed is None else packed.nbytes),
            c.c_uint64(solution),
        )  # fmt: skip

    def one_that_packs(self) -> tuple[abi.Solution, int]:
        size = c.c_size_t(0)
        for solution in self.problem.solutions():
            assert self.size(solution.solution_id, c.byref(size)) == 0
            if size.value:
                return solution, size.value
        raise AssertionError("no solution packs its weights")


@contextmanager
def packed_problem(cpu: abi.Library, handle: Any, direction: str) -> Iterator[Packed]:
    x, w, y = (
        np.ones(shape, np.float32) for shape in ((1, 32, 8, 8), (32, 32, 3, 3), (1, 32, 8, 8))
    )
    with abi.problem(cpu, handle, direction, x, w, y, **SETTINGS) as problem:
        cpu.call("mioconvSetPackedWeights", problem.conv, 1)
        yield Packed(cpu, problem, w)


@pytest.fixture
def handle(cpu: abi.Library) -> Iterator[c.c_void_p]:
    with cpu.handle() as handle:
        yield handle


@pytest.mark.parametrize("direction", [abi.FORWARD, abi.BACKWARD_DATA])
def test_bad_arguments(cpu: abi.Library, handle: Any, direction: str) -> None:
    with packed_problem(cpu, handle, direction) as packed:
        solution, size = packed.one_that_packs()
        number = solution.solution_id
        found, memory = c.c_size_t(0), np.empty(size, np.uint8)
        assert packed.size(number, None) == abi.BAD_PARM
        assert packed.size(12345, c.byref(found)) == abi.BAD_PARM
        assert packed.size(number, c.byref(found), direction=2) == abi.BAD_PARM
        assert packed.pack(number, None) == abi.BAD_PARM
        assert packed.pack(number, memory[:-1]) == abi.BAD_PARM
        assert packed.pack(12345, memory) == abi.BAD_PARM
        assert packed.pack(number, memory) == 0
        for bad in (2, -1):
            assert cpu.status("mioconvSetPackedWeights", packed.problem.conv, bad) == abi.BAD_PARM
        assert cpu.status("mioconvSetPackedWeights", None, 1) == abi.BAD_PARM
        # Both want the descriptor of the calls to come.
        cpu.call("mioconvSetPackedWeights", packed.problem.conv, 0)
        assert packed.size(number, c.byref(found)) == abi.BAD_PARM
        assert packed.pack(number, memory) == abi.BAD_PARM


def test_nothing_to_pack(cpu: abi.Library, handle: Any) -> None:
    with packed_problem(cpu, handle, abi.FORWARD) as packed:
        size = c.c_size_t(1)
        plain = []
        for solution in packed.problem.solutions():
            assert packed.size(solution.solution_id, c.byref(size)) == 0
            if size.value == 0:
                plain.append(solution.solution_id)
        assert plain
        assert packed.pack(plain[0], np.empty(1 << 20, np.uint8)) == abi.BAD_PARM


def test_calls_that_cannot_know_whose_weights_these_are(cpu: abi.Library, handle: Any) -> None:
    with packed_problem(cpu, handle, abi.FORWARD) as packed:
        for algorithm in range(6):
            with pytest.raises(abi.StatusError):
                packed.problem.execute(algorithm)
        plan = cpu.create("miopenCreateFusionPlan", 0, packed.x)
        operator = c.c_void_p()
        cpu.call(
            "miopenCreateOpConvForward", plan, c.byref(operator), packed.problem.conv, packed.wd
        )
        assert cpu.status("miopenCompileFusionPlan", handle, plan) == abi.UNSUPPORTED
        cpu.call("miopenDestroyFusionPlan", plan)


def test_gradient_of_the_weights(cpu: abi.Library, handle: Any) -> None:
    x, w, y = (
        np.ones(shape, np.float32) for shape in ((1, 32, 8, 8), (32, 32, 3, 3), (1, 32, 8, 8))
    )
    with abi.problem(cpu, handle, abi.BACKWARD_WEIGHTS, x, w, y, **SETTINGS) as problem:
        cpu.call("mioconvSetPackedWeights", problem.conv, 1)
        with pytest.raises(abi.StatusError):
            problem.solutions()
