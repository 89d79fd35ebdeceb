"""Measure convolutions against PyTorch and ONNX Runtime, or the cost of a call.

Without arguments it is the headline run: seven networks, batch 1 and 8, three directions, both
layouts, float32, two threads, default and benchmark mode. Compares with whichever of PyTorch and
ONNX Runtime (with the package onnx) is installed; the plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import mioconv

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the suite's arguments; any, to be refused by `run`, where the suite is missing."""
    suite = _suite()
    if suite is None:
        parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    else:
        suite.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the suite."""
    suite = _suite()
    if suite is None:
        print("mioconv bench: the folder bench is not installed", file=sys.stderr)
        return 1
    code: int = suite.run(args)
    return code


def _suite() -> Any:
    """The suite's command: installed in the package, or in the checkout of an editable install."""
    for folder in map(Path, mioconv.__path__):
        for candidate in (folder / "bench", folder.parents[1] / "bench"):
            if (candidate / "command.py").is_file():
                return _load(candidate)
    return None


def _load(folder: Path) -> ModuleType:
    name = "mioconv_bench"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return importlib.import_module(f"{name}.command")
