"""Signals that arrive while a solution runs: a handler must find a stack of its own.

oneDNN's float32 gemm points the stack pointer at its scratch memory while it runs
(oneDNN#4845): the frame of the handler lay over whatever came before that in the heap.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import standin
from helpers.processes import program

FOLDER = Path(__file__).parent / "signals"


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if standin.compiler() is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("signals")
    return standin.build_library(FOLDER / "off_stack.cpp", folder, "-pthread")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("isa", ["AVX2", "DEFAULT"])
def test_handlers_find_their_stack(isa: str, dtype: str, watch: Path) -> None:
    """By every solution, in the calling thread and in those that work with it."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / "every_solution.py"), str(watch), dtype],
        env={
            **os.environ,
            "ONEDNN_MAX_CPU_ISA": isa,
            "MIOCONV_CACHE": "0",
            "MIOCONV_VERIFY": "off",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.rsplit(" ", 2) for line in done.stdout.splitlines()]
    # The gemm that moves the stack pointer is among them, and signals reached somebody.
    assert any("gemm:jit" in name for name, _, _ in rows)
    assert sum(int(handled) for _, handled, _ in rows) > 100
    assert [name for name, _, astray in rows if int(astray)] == []


RAISING = """
import signal, sys
import numpy as np, mioconv

class Tick(Exception):
    pass

raised = caught = 0

def handler(_, frame):
    # Only where somebody catches it.
    global raised
    while frame is not None:
        if frame.f_code is attempt.__code__:
            raised += 1
            raise Tick
        frame = frame.f_back

x, w = np.ones((1, 4, 9, 9), 'f'), np.ones((4, 4, 3, 3), 'f')
problem = mioconv.Problem.from_tensors("forward", x, w)
plan = mioconv.plan(problem)
constant = mioconv.plan(problem, constant_weights=True)

def attempt():
    while raised < 400:
        {work}

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
while raised < 400:
    try:
        attempt()
    except Tick:
        caught += 1
signal.setitimer(signal.ITIMER_REAL, 0)
assert caught == raised, (caught, raised)
assert (mioconv.conv2d_forward(x, w) == 36).all()
"""


@pytest.mark.parametrize(
    "work",
    [
        "plan(x, w)",
        "constant(x, w)",
        "mioconv.conv2d_forward(x, w)",
        "mioconv.cache_clear(); mioconv.conv2d_relu_forward(x, w)",
        "mioconv.cache_clear(); mioconv.plan(problem)(x, w)",
        "mioconv.cache_clear(); mioconv.find_solutions(problem)",
        "mioconv.cache_clear(files=True); mioconv.conv2d_forward(x, w, benchmark=True)",
        "mioconv.cache_clear(); mioconv.conv2d_backward(x, np.ones((1, 4, 7, 7), 'f'), w)",
    ],
)
def test_what_a_handler_raises_is_passed_on(work: str, tmp_path: Path) -> None:
    """Each time, and nothing is said of it on stderr; the calls that follow are right."""
    program(RAISING.format(work=work), MIOCONV_CACHE="1", MIOCONV_CACHE_DIR=str(tmp_path))
