"""What lies beside MIOpen: databases, device code in packages of its own, a forwarding layer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers import standin
from mioconv._loader import elf, installation

needs_compiler = pytest.mark.skipif(standin.compiler() is None, reason="no C++ compiler")


def library_with(path: Path, *texts: str) -> Path:
    """A real shared library that has these constants, in a folder like that of an installation."""
    found = standin.compiler()
    assert found
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".cpp")
    lines = [f'extern "C" const char* text{i}() {{ return "{t}"; }}' for i, t in enumerate(texts)]
    source.write_text("\n".join(lines) + '\nextern "C" const char* other() { return "else"; }\n')
    subprocess.run([*found, "-shared", "-fPIC", "-O1", source, "-o", path], check=True)
    return path


def databases(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "gfx90a68.HIP.fdb.txt").touch()


# --- databases ------------------------------------------------------------------------------------


@needs_compiler
def test_texts_of_a_library(tmp_path: Path) -> None:
    texts = ("/opt/a/miopen/db", "share/miopen/db", "miopen/db/more", "miopen/dbs")
    library = library_with(tmp_path / "libMIOpen.so.1", *texts)
    assert sorted(elf.texts_ending(str(library), "miopen/db")) == sorted(texts[:2])
    assert elf.texts_ending(str(library), "nothing like it") == []


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\2\1" + bytes(200), b"text" * 100])
def test_texts_of_what_is_no_library(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "libMIOpen.so.1"
    assert elf.texts_ending(str(path), "miopen/db") == []
    path.write_bytes(content)
    assert elf.texts_ending(str(path), "miopen/db") == []


@needs_compiler
def test_cut_short(tmp_path: Path) -> None:
    """Section headers that point beyond the end."""
    library = library_with(tmp_path / "libMIOpen.so.1", "share/miopen/db")
    whole = library.read_bytes()
    for size in range(0, len(whole), max(len(whole) // 50, 1)):
        library.write_bytes(whole[:size])
        assert set(elf.texts_ending(str(library), "miopen/db")) <= {"share/miopen/db"}


@needs_compiler
@pytest.mark.parametrize("text", ["share/miopen/db", "/usr/share/miopen/db"])
def test_databases_where_the_library_looks(tmp_path: Path, text: str) -> None:
    """Debian's libraries lie deeper than AMD's, and either release looks elsewhere."""
    absolute = text.startswith("/")
    looked = tmp_path / "usr/share/miopen/db" if absolute else tmp_path / "usr/lib/share/miopen/db"
    other = tmp_path / "usr/lib/share/miopen/db" if absolute else tmp_path / "usr/share/miopen/db"
    library = str(
        library_with(
            tmp_path / "usr/lib/x86_64-linux-gnu/libMIOpen.so.1", str(looked) if absolute else text
        )
    )
    problem = installation.find_db_problem(library, {})
    assert problem is not None
    assert f"not in {looked}, where this library looks" in problem
    databases(other)
    assert installation.find_db_problem(library, {}) == problem, "it does not look there"
    assert installation.find_db_problem(library, {"MIOPEN_SYSTEM_DB_PATH": str(other)}) is None
    databases(looked)
    assert installation.find_db_problem(library, {}) is None
    named = {"MIOPEN_SYSTEM_DB_PATH": str(tmp_path / "none")}
    problem = installation.find_db_problem(library, named)
    assert problem is not None
    assert named["MIOPEN_SYSTEM_DB_PATH"] in problem


def test_databases_of_a_library_that_does_not_say(tmp_path: Path) -> None:
    library = tmp_path / "rocm/lib/libMIOpen.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    assert str(tmp_path / "rocm/share/miopen/db") in str(
        installation.find_db_problem(str(library), {})
    )


# --- device code ----------------------------------------------------------------------------------


def test_device_code(tmp_path: Path) -> None:
    library = str(tmp_path / "_rocm_sdk_libraries/lib/libMIOpen.so.1")
    two = ["gfx90a:sramecc+:xnack-", "gfx1100", "gfx1100"]
    assert installation.device_code_problem(library, []) is None
    problem = installation.device_code_problem(library, two)
    assert problem is not None
    assert "install rocm-sdk-device-gfx90a and rocm-sdk-device-gfx1100 from" in problem
    assert "rocm[device-gfx90a,device-gfx1100]" in problem
    (tmp_path / "rocm_sdk_device_gfx90a-10.0.0.dist-info").mkdir()
    (tmp_path / "rocm_sdk_device_gfx110-10.0.0.dist-info").mkdir()
    problem = installation.device_code_problem(library, two)
    assert problem is not None
    assert "rocm-sdk-device-gfx90a" not in problem
    assert "rocm-sdk-device-gfx1100" in problem
    (tmp_path / "rocm_sdk_device_gfx1100-10.0.0.dist-info").mkdir()
    assert installation.device_code_problem(library, two) is None


@pytest.mark.parametrize("folder", ["_rocm_sdk_libraries_gfx94X_dcgpu", "rocm", "torch"])
def test_device_code_inside(folder: str) -> None:
    """Packages for a family of GPUs, AMD's installer and PyTorch have it in the library."""
    library = f"/x/{folder}/lib/libMIOpen.so.1"
    assert not installation.has_separate_device_code(library)
    assert installation.device_code_problem(library, ["gfx90a"]) is None


# --- forwarding -----------------------------------------------------------------------------------


def test_forwarding(tmp_path: Path) -> None:
    library = str(tmp_path / "libMIOpen.so.1")
    on = {"MIOPEN_HIPDNN_FORWARDING": "enabled"}
    assert installation.forwarding(library, on) is None, "this library knows no such variable"
    (tmp_path / "libMIOpen_private.so.1").touch()
    assert installation.forwarding(library, on) == "MIOPEN_HIPDNN_FORWARDING=enabled"
    assert installation.forwarding(library, {}) == "MIOPEN_HIPDNN_FORWARDING=not set"
    strange = {"MIOPEN_HIPDNN_FORWARDING": 'a"\n\udce4'}
    assert installation.forwarding(library, strange) == 'MIOPEN_HIPDNN_FORWARDING=a"??'
