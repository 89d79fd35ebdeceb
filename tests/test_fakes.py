"""C++ headers on a table of functions of the tests' own, without a GPU: `fakes/*.cpp`, by case."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers.standin import FAKES, ROOT, compiler

CASES = {
    "workspace": (
        "reuse", "two_leases", "outgrown", "moved", "capture", "out_of_memory", "no_id", "most",
        "allocator", "last_use", "last_use_by_event", "last_use_without_numbers",
    ),
    "cache": ("cleared_meanwhile", "too_late", "calls_itself", "fails", "bounded"),
    "activity": (
        "later_calls_pause", "calls_in_flight_are_waited_for", "but_not_for_ever",
        "a_call_within_a_call_goes_on", "a_child_starts_anew",
    ),
    "timing": (
        "quick_host", "slow_host", "longest_hold", "failing_hold", "no_hold", "cpu",
        "switches_on_a_gpu",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = compiler()
    if not found:
        pytest.skip("no C++ compiler")
    path = tmp_path_factory.mktemp(request.param) / request.param
    subprocess.run(
        [*found, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}",
         str(FAKES / f"{request.param}.cpp"), "-pthread", "-o", str(path)],
        check=True,
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("program", "case"),
    [(name, case) for name, cases in CASES.items() for case in cases],
    indirect=["program"],
)
def test_on_a_fake(program: Path, case: str) -> None:
    ran = subprocess.run([program, case], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
