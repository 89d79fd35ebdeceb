"""The examples run as they stand, and do what they say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mioconv.cli import demo, main

EXAMPLES = Path(__file__).parents[1] / "examples"

needs_demo = pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in ("sklearn", "PIL")),
    reason="scikit-learn or pillow is not installed",
)


def run(name: str, picture: Path) -> str:
    """What an example prints; it must succeed and write its picture."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), str(picture)]
    child = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
    return child.stdout


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
@pytest.mark.parametrize(
    ("arguments", "script", "picture"),
    [
        ([], "digits.py", "out/digits.png"),
        (["digits", "--output", "a.png"], "digits.py", "a.png"),
        (["photos"], "photographs.py", "out/photographs.png"),
    ],
)
def test_demo_command(
    arguments: list[str], script: str, picture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command finds the example that it names, and tells it where the picture goes."""
    asked: list[object] = []

    def run_path(path: str) -> dict[str, object]:
        asked.append(Path(path).name)
        return {"main": asked.append}

    monkeypatch.setattr(demo, "_example", lambda name: EXAMPLES / name)
    monkeypatch.setattr(demo.runpy, "run_path", run_path)
    assert main(["demo", *arguments]) == 0
    assert asked == [script, Path(picture)]


def test_demo_without_its_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_importable", lambda module: module == "sklearn")
    assert main(["demo"]) == 1
    assert "mioconv demo needs pillow" in capsys.readouterr().err
