"""The pool of scratch memory without a GPU: `fakes/workspace.cpp`, case by case."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers.standin import FAKES, ROOT, compiler

CASES = (
    "reuse", "two_leases", "outgrown", "moved", "capture", "out_of_memory", "no_id", "most",
    "allocator",
)  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = compiler()
    if not found:
        pytest.skip("no C++ compiler")
    path = tmp_path_factory.mktemp("workspace") / "workspace"
    subprocess.run(
        [*found, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}",
         str(FAKES / "workspace.cpp"), "-pthread", "-o", str(path)],
        check=True,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("case", CASES)
def test_workspace_pool(program: Path, case: str) -> None:
    ran = subprocess.run([program, case], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
