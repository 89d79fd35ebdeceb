"""A user's Cython module, compiled against the installed package."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import mioconv

_SOURCE = Path(__file__).parents[1] / "cimport" / "caller.pyx"


def build_caller(folder: Path) -> ModuleType:
    """tests/cimport/caller.pyx, built in a folder."""
    return build(_SOURCE, folder)


def build(source: Path, folder: Path) -> ModuleType:
    """A .pyx file as a module of its name."""
    pytest.importorskip("Cython", reason="Cython compiles the module")
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    cpp = folder / f"{source.stem}.cpp"
    library = folder / f"{source.stem}{sysconfig.get_config_var('EXT_SUFFIX')}"
    # The .pxd files are found where the package is, as in a user's build.
    package = Path(mioconv.__file__).parent
    for command in (
        [sys.executable, "-m", "cython", "--cplus", "-3", "-I", str(package.parent), str(source),
         "-o", str(cpp)],
        [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{mioconv.get_include()}",
         f"-I{sysconfig.get_path('include')}", f"-I{np.get_include()}", str(cpp), "-o",
         str(library)],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    spec = importlib.util.spec_from_file_location(source.stem, library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
