"""Every operator through the genuine library, compared with float64."""

from __future__ import annotations

import subprocess
import sys

from helpers.standin import ROOT
from rocm.test_numbers import (  # noqa: F401
    test_channels_last,
    test_layouts,
    test_no_batch_and_empty_batch,
    test_operators,
    test_same_with_an_even_kernel,
    test_thin_volumes_in_channels_last,
    test_what_miopen_cannot_copy,
    test_z_is_out,
)


def test_solutions_of_drawn_problems() -> None:
    """`python -m tests.fuzz --provider rocm`: new problems every time, each by its C interface."""
    command = [sys.executable, "-m", "tests.fuzz", "--provider", "rocm", "--seconds", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " 0 faults" in done.stdout
