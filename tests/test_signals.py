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
