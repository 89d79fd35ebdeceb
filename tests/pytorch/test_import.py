"""What importing does, with PyTorch and without."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(code: str) -> str:
    """What a new interpreter prints."""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


def test_mioconv_never_imports_torch() -> None:
    assert python("import sys, mioconv; print('torch' in sys.modules)") == "False\n"


def test_without_torch() -> None:
    """The error says what is missing; the rest of the package goes on."""
    printed = python(
        "import sys; sys.modules['torch'] = None\n"
        "try: import mioconv.torch\n"
        "except ImportError as error: print(error)\n"
        "import mioconv; print(mioconv.conv2d_forward.__name__)"
    )
    assert "mioconv.torch needs PyTorch" in printed
    assert printed.endswith("conv2d_forward\n")


def test_old_torch() -> None:
    """A release without what is used is named, not failed on halfway."""
    printed = python(
        "import sys, types\n"
        "torch = sys.modules['torch'] = types.ModuleType('torch')\n"
        "torch.library, torch.__version__ = types.ModuleType('library'), '2.1.0'\n"
        "try: import mioconv.torch\n"
        "except ImportError as error: print(error)"
    )
    assert "2.5 or newer" in printed
    assert "2.1.0" in printed


def test_names() -> None:
    """Everything that is offered is there."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import mioconv.torch

    assert sorted(mioconv.torch.__all__) == mioconv.torch.__all__
    for name in mioconv.torch.__all__:
        assert getattr(mioconv.torch, name).__doc__
