"""Processes of their own: for what is settled once, when the libraries are loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
HEAD = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np, mioconv
from helpers import reference
from helpers.rocm import Tensor, read
rng = np.random.default_rng(3)
x, w = (rng.uniform(-1, 1, s).astype('f4') for s in ((2, 4, 8, 8), (6, 4, 3, 3)))
exact = reference.conv_forward(x, w)
def conv(**more):
    return read(mioconv.conv2d_forward(Tensor(x), Tensor(w), **more))
def right(y):
    return bool(np.abs(y - exact).max() < 1e-5)
"""


def child(code: str, **variables: str) -> tuple[str, str]:
    """What a new process prints, to its output and to stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", HEAD.format(tests=str(TESTS)) + code],
        capture_output=True,
        text=True,
        env={**os.environ, "MIOCONV_CACHE": "0", **variables},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip(), done.stderr
