"""Calls where OpenMP gives fewer threads than the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.standin import ROOT, build_library

# Each operator three times, the third one by `last`: results of the first two runs of a solution
# are looked at. The operands are small integers. Prints how many results were wrong.
PROGRAM = """
import ctypes, sys, warnings
import numpy as np
import mioconv
from helpers import reference

gomp = ctypes.CDLL("libgomp.so.1")
warnings.simplefilter("error")
rng = np.random.default_rng(0)
mioconv.set_flags(num_threads=4)

def in_a_region(call):
    done = []
    @ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    def body(_):
        if gomp.omp_get_thread_num() == 0:
            try:
                done.append(call())
            except Exception as error:
                done.append(error)
    gomp.GOMP_parallel(body, None, 2, 0)
    if isinstance(done[0], Exception):
        raise done[0]
    return done[0]

def with_dynamic(call):
    gomp.omp_set_dynamic(1)
    try:
        return call()
    finally:
        assert gomp.omp_get_dynamic(), "not the caller's setting"
        gomp.omp_set_dynamic(0)

def plainly(call):
    return call()

last = globals()[sys.argv[1]]

def numbers(*shape):
    return rng.integers(-3, 4, shape).astype(np.float32)

wrong = total = 0
for channels_last in (False, True):
    for n, c, k, taps, size, stride in [(2, 16, 16, 3, 28, 1), (1, 64, 64, 3, 28, 1),
                                        (2, 32, 64, 1, 28, 1), (4, 16, 32, 5, 14, 2)]:
        pad = taps // 2
        out = (size + 2 * pad - taps) // stride + 1
        x, w, y = numbers(n, c, size, size), numbers(k, c, taps, taps), numbers(n, k, out, out)
        options = {"stride": stride, "padding": pad}
        forward = reference.conv_forward(x, w, **options)
        back = reference.conv_backward_input(x.shape, y, w, **options)
        weights = reference.conv_backward_weight(w.shape, y, x, **options)
        if channels_last:
            x, w, y = (np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
                       for a in (x, w, y))
        calls = [
            (lambda: mioconv.conv2d_forward(x, w, **options), forward),
            (lambda: mioconv.conv2d_backward_input(x.shape, y, w, **options), back),
            (lambda: mioconv.conv2d_backward_weight(w.shape, y, x, **options), weights),
            (lambda: mioconv.conv2d_relu_forward(x, w, **options), np.maximum(forward, 0)),
        ]
        for call, right in calls:
            for way in (plainly, plainly, last):
                total += 1
                # What a thread leaves out is larger; Winograd's transforms round.
                wrong += np.abs(way(call) - right).max() > 0.1
print(wrong, "wrong of", total)
"""


def run(program: str, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"MIOCONV_CACHE": "0", "PYTHONPATH": str(ROOT / "tests")} | variables,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def loaded_machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that says, once asked for, that the machine is busy: then OpenMP's dynamic threads
    are one."""
    folder = tmp_path_factory.mktemp("busy")
    source = folder / "busy.cpp"
    source.write_text(
        '#include <cstdlib>\nextern "C" int getloadavg(double* loads, int count) noexcept {\n'
        "    for (int i = 0; i < count; ++i) loads[i] = 1000;\n    return count;\n}\n"
    )
    return build_library(source, folder)


def test_inside_of_a_parallel_region() -> None:
    """As in Cython's prange: there OpenMP gives one thread."""
    assert run(PROGRAM, "in_a_region") == "0 wrong of 96\n"


@pytest.mark.parametrize(
    "variables",
    [{"OMP_THREAD_LIMIT": "1"}, {"OMP_THREAD_LIMIT": "3"}, {"OMP_MAX_ACTIVE_LEVELS": "0"}],
    ids=str,
)
def test_limits_of_openmp(variables: dict[str, str]) -> None:
    assert run(PROGRAM, "plainly", **variables) == "0 wrong of 96\n"


def test_dynamic_threads(loaded_machine: Path) -> None:
    """Off while a solution runs, and the caller's setting again afterwards."""
    busy = {"LD_PRELOAD": str(loaded_machine)}
    assert run(PROGRAM, "with_dynamic", **busy) == "0 wrong of 96\n"
    assert run(PROGRAM, "plainly", OMP_DYNAMIC="true", **busy) == "0 wrong of 96\n"


def test_a_plan_in_a_parallel_region() -> None:
    """Its workspace and packed weights are those of more threads."""
    program = PROGRAM.split("wrong = total = 0")[0] + (
        "x, w = numbers(2, 16, 28, 28), numbers(16, 16, 3, 3)\n"
        "for constant in (False, True):\n"
        "    plan = mioconv.plan(mioconv.Problem('forward', x.shape, w.shape, padding=1),\n"
        "                        constant_weights=constant)\n"
        "    right = plan(x, w)\n"
        "    try:\n"
        "        in_a_region(lambda: plan(x, w))\n"
        "    except mioconv.UnsupportedError as error:\n"
        "        print(error)\n"
        "    assert np.array_equal(plan(x, w), right)\n"
    )
    assert run(program, "plainly").count("made for 4 threads, and OpenMP gives this call 1") == 2
