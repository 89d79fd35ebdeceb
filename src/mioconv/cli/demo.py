"""Train a small network on handwritten digits, or filter two photographs.

Needs scikit-learn, for its bundled digits and photographs, and pillow, for the picture.
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import sys
from pathlib import Path
from typing import Final

import mioconv

__all__ = ["add_arguments", "run"]

_NEEDS: Final = {"sklearn": "scikit-learn", "PIL": "pillow"}
# What is asked for, and the example of that: it has a function main(picture).
_EXAMPLES: Final = {"digits": "digits", "photos": "photographs"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=list(_EXAMPLES),
        default="digits",
        help="train on digits, or filter photographs (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="picture to write (default: out/ and the example's name)",
    )


def run(args: argparse.Namespace) -> int:
    """Run one of the examples."""
    missing = [package for module, package in _NEEDS.items() if not _importable(module)]
    if missing:
        print(
            f"mioconv demo needs {' and '.join(missing)}: "
            "install them with  python -m pip install 'mioconv[demo]'",
            file=sys.stderr,
        )
        return 1
    name = _EXAMPLES[args.what]
    script = _example(f"{name}.py")
    if script is None:
        print(f"mioconv demo: examples/{name}.py is not installed", file=sys.stderr)
        return 1
    runpy.run_path(str(script))["main"](args.output or Path("out") / f"{name}.png")
    return 0


def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _example(name: str) -> Path | None:
    """An example's file: installed in the package, or in the checkout of an editable install."""
    for folder in map(Path, mioconv.__path__):
        for candidate in (folder / "examples" / name, folder.parents[1] / "examples" / name):
            if candidate.is_file():
                return candidate
    return None
