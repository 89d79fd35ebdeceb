"""Our providers answer as MIOpen does, and programs that were written for MIOpen run on them.

`tests/seam/answers.cpp` asks any library behind the ABI the same questions; what the genuine
libMIOpen answered is recorded. Where it is at hand, MIOCONV_TEST_MIOPEN_LIBRARY and
MIOCONV_TEST_HIP_LIBRARY, names or paths, ask it again.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import c_declarations, seam
from helpers.standin import compiler
from providers import abi

GENUINE = [os.environ.get(f"MIOCONV_TEST_{name}_LIBRARY", "") for name in ("MIOPEN", "HIP")]
RECORDED = seam.recorded()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds a program of tests/seam."""
    if compiler() is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("seam")
    return lambda name, *arguments: seam.build(name, folder, *arguments)


@pytest.fixture(scope="module")
def cpu() -> str:
    path = abi.library_path("cpu")
    if path is None:
        pytest.skip("libmioconv_cpu.so is not built")
    return str(path)


@pytest.fixture(scope="module")
def ours(program: Callable[..., Path], cpu: str) -> dict[str, str]:
    return seam.ask(program("answers.cpp"), cpu)


@pytest.mark.parametrize("release", RECORDED)
def test_the_cpu_provider_answers_as_miopen(ours: dict[str, str], release: str) -> None:
    """All statuses, counts and sizes but those that are different on purpose."""
    differing = seam.differing(RECORDED[release], ours)
    wrong = {n: pair for n, pair in differing.items() if seam.excused(n, pair[1]) is None}
    assert not wrong


def test_our_answers_never_crash(ours: dict[str, str]) -> None:
    assert not [name for name in ours if name.endswith(".end")]


def test_no_difference_is_excused_in_vain(ours: dict[str, str]) -> None:
    used = {
        seam.excused(name, pair[1])
        for recorded in RECORDED.values()
        for name, pair in seam.differing(recorded, ours).items()
    }
    assert [d.names for d in seam.DIFFERENCES if d not in used] == []


genuine = pytest.mark.skipif(not all(GENUINE), reason="no variables name the genuine libraries")


@genuine
def test_the_genuine_library_still_answers_so(program: Callable[..., Path]) -> None:
    asking = program("answers.cpp")
    release = seam.ask(asking, *GENUINE)["version.miopen"]
    assert release in RECORDED, f"record MIOpen {release}: python -m helpers.seam record"
    answers = seam.ask(asking, *GENUINE, environment=seam.environment(release))
    assert seam.differing(RECORDED[release], answers) == {}


def run_client(program: Callable[..., Path], *libraries: str) -> None:
    """Linked like any program with MIOpen, without Python or a loader of ours."""
    # By name they are where the loader finds them too.
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    where = [f"-L{folder}" for folder in folders if folder]
    names = [f"-l:{library}" if "/" not in library else library for library in libraries]
    paths = [f"-Wl,-rpath,{Path(library).parent}" for library in libraries if "/" in library]
    client = program("client.c", *where, *names, *paths, "-Wl,--allow-shlib-undefined")
    done = subprocess.run([client], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_a_program_in_c_runs_on_the_cpu_provider(program: Callable[..., Path], cpu: str) -> None:
    run_client(program, cpu)


@genuine
def test_the_program_in_c_runs_on_the_genuine_library(program: Callable[..., Path]) -> None:
    run_client(program, *GENUINE)


def test_each_client_call_is_made_here() -> None:
    tested = "".join(path.read_text() for path in seam.SEAM.iterdir())
    functions = c_declarations.client_functions()
    assert [f for f in functions if not re.search(rf"\b{f}\b", tested)] == []
