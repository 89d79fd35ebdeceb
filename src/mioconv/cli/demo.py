"""Filter two photographs with a bank of edge, blur and Gabor filters.

Needs scikit-learn, for its two bundled photographs, and pillow, for the picture that is written.
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import sys
from pathlib import Path

import mioconv

__all__ = ["add_arguments", "run"]

_NEEDS = {"sklearn": "scikit-learn", "PIL": "pillow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("out/photographs.png"),
        help="picture to write (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the example of the same name."""
    missing = [package for module, package in _NEEDS.items() if not _importable(module)]
    if missing:
        print(
            f"mioconv demo needs {' and '.join(missing)}: "
            "install them with  python -m pip install 'mioconv[demo]'",
            file=sys.stderr,
        )
        return 1
    script = _example("photographs.py")
    if script is None:
        print("mioconv demo: examples/photographs.py is not installed", file=sys.stderr)
        return 1
    runpy.run_path(str(script))["main"](args.output)
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
