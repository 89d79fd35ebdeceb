"""The search for libraries with the real dynamic loader, and this process's own files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mioconv._loader import search
from mioconv._loader.catalogue import Library


def test_mapped_files_of_this_process() -> None:
    found = search.mapped_files("libc.so")
    assert all(os.path.isfile(path) for path in found)
    assert search.mapped_files("no-such-library") == []


def test_this_machines_loader() -> None:
    """The real cache: a library that every process here has."""
    library = Library("libc", "NONE", ("libc.so.*",))
    known = search.known_to_loader(library, {})
    assert known == {} or os.path.samefile(known["libc.so.6"], search.mapped_files("libc.so.6")[0])


STUB = textwrap.dedent(
    """
    import sys
    import mioconv
    from mioconv._native import api as _api

    if sys.argv[1] == "preload":
        _api.open_library(sys.argv[2])
    info = mioconv.providers()["rocm"]
    if info.available:
        print(*info.paths.values(), sep="\\n")
    else:
        print(info.error)
    """
)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two installations with real libraries: every function of the list, answering 0."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    _api = pytest.importorskip("mioconv._native.api")
    definitions = Path(_api.__file__).parents[1] / "include/mioconv/abi/functions.def"
    top = tmp_path_factory.mktemp("stubs")
    source = top / "stub.c"
    source.write_text(
        "#define MIOCONV_FUNCTION(library, need, since, name) \\\n"
        "    int name(void *p) { if (p) *(int *)p = 0; return 0; }\n"
        f'#include "{definitions}"\n'
    )
    for place in ("one", "two"):
        folder = top / place / "lib"
        folder.mkdir(parents=True)
        hip = folder / "libamdhip64.so.6"
        shared = [compiler, "-shared", "-fPIC", "-w", str(source)]
        subprocess.run([*shared, "-o", str(hip), "-Wl,-soname,libamdhip64.so.6"], check=True)
        subprocess.run(
            [
                *shared,
                "-o",
                str(folder / "libMIOpen.so.1"),
                "-Wl,-soname,libMIOpen.so.1,-rpath,$ORIGIN,--no-as-needed",
                str(hip),
            ],
            check=True,
        )
    return top


def child(mode: str, path: Path, rocm_path: Path) -> list[str]:
    environ = {**os.environ, "ROCM_PATH": str(rocm_path)}
    for name in ("MIOCONV_HIP_LIBRARY", "MIOCONV_MIOPEN_LIBRARY", "HIP_PATH", "LD_LIBRARY_PATH"):
        environ.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", STUB, mode, str(path)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_real_libraries(stubs: Path) -> None:
    one, two = stubs / "one/lib", stubs / "two/lib"
    expected = [str(one / "libamdhip64.so.6"), str(one / "libMIOpen.so.1")]
    assert child("as it is", one, stubs / "one") == expected
    # A runtime that another package has loaded decides, whatever ROCM_PATH says.
    assert child("preload", one / "libamdhip64.so.6", stubs / "two") == expected
    assert child("preload", two / "libMIOpen.so.1", stubs / "one") == [
        str(two / "libamdhip64.so.6"),
        str(two / "libMIOpen.so.1"),
    ]


def test_files_that_bear_other_names_than_their_sonames(stubs: Path, tmp_path: Path) -> None:
    """As wheels carry them: the loader knows those in the process by path and soname only."""
    wheel = tmp_path / "wheel/lib"
    wheel.mkdir(parents=True)
    shutil.copy(stubs / "one/lib/libamdhip64.so.6", wheel / "libamdhip64.so")
    shutil.copy(stubs / "one/lib/libMIOpen.so.1", wheel / "libMIOpen.so")
    expected = [str(wheel / "libamdhip64.so"), str(wheel / "libMIOpen.so")]
    assert child("preload", wheel / "libamdhip64.so", stubs / "two") == expected
