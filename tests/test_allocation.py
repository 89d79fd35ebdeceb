"""Lack of memory in the C++ core: an exception, and nothing that stays behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import standin

FOLDER = Path(__file__).parent / "allocation"
PXD = Path(__file__).parents[1] / "src" / "mioconv"


@pytest.mark.skipif(standin.compiler() is None, reason="no C++ compiler")
def test_every_request_fails_once(tmp_path: Path) -> None:
    """`allocation/sweep.py`, with the operator new of `failing_new.cpp`."""
    library = standin.build_library(FOLDER / "failing_new.cpp", tmp_path, "-ldl")
    done = subprocess.run(
        [sys.executable, str(FOLDER / "sweep.py")],
        env={**os.environ, "LD_PRELOAD": str(library), "MIOCONV_CACHE": "0"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-1000:]
    assert int(done.stdout.split()[-1]) > 100


def test_what_throws_is_declared() -> None:
    """Of each C++ function Cython knows whether it throws: else an exception ends the process."""
    text = (PXD / "_native" / "native.pxd").read_text()
    declarations = re.findall(
        r"^ +(?! |cdef|cpdef|ctypedef|#)[\w\[\]*&: ]*?(\(?\*?\w+\)?)\((?:[^()]|\([^()]*\))*\)(.*)$",
        text, re.MULTILINE,
    )  # fmt: skip
    assert len(declarations) > 100
    undeclared = [
        name for name, rest in declarations if not re.match(r" (noexcept|except \+)", rest)
    ]
    assert not undeclared
