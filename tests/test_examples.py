"""The examples run as they stand, and do what they say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

needs_demo = pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in ("sklearn", "PIL")),
    reason="scikit-learn or pillow is not installed",
)


def script(name: str, *arguments: str) -> str:
    """What an example prints; it must succeed."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    child = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


def run(name: str, picture: Path) -> str:
    """What an example prints; it must succeed and write its picture."""
    printed = script(f"{name}.py", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    return printed


@needs_demo
def test_digits(tmp_path: Path) -> None:
    printed = run("digits", tmp_path / "new" / "digits.png")
    (accuracy,) = re.findall(r"accuracy +([\d.]+)%", printed)
    assert float(accuracy) >= 97
    # Every layer says what computed it and each of its gradients; nothing is drawn over in a pipe.
    assert len(re.findall(r"^ +\d+ → \d+, \d x \d( {2,}[^ ].*){3}$", printed, re.M)) == 4
    assert "\r" not in printed


@needs_demo
def test_photographs(tmp_path: Path) -> None:
    assert "difference" in run("photographs", tmp_path / "photographs.png")


@needs_demo
def test_digits_in_torch() -> None:
    """The same network in PyTorch, by mioconv and by PyTorch's own convolutions."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    printed = script("digits_torch.py", "4")
    found = re.findall(r"^(\w+) +([\d.]+)% of the test digits, \d+ ms an epoch$", printed, re.M)
    assert [name for name, _ in found] == ["mioconv", "PyTorch"]
    accuracies = [float(accuracy) for _, accuracy in found]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=1)
    assert min(accuracies) > 80


def test_cupy_gradients() -> None:
    """The code for CuPy's arrays, on NumPy's."""
    printed = script("cupy_gradients.py", "numpy")
    assert printed.count("of the bound") == 5
    assert "filter learned" in printed


def test_cupy_gradients_without_cupy() -> None:
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("CuPy is installed")
    with pytest.raises(AssertionError, match="cupy cannot be imported"):
        script("cupy_gradients.py")
