"""The search for libraries: order, errors, and one HIP runtime a process.

The dynamic loader is a stand-in that keeps to dlopen's rules, the files are empty, so that every
installation there is can be laid out here. `test_loader_real.py` has the real one.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mioconv._loader import load, search
from mioconv._loader.catalogue import CPU, CUDA, NUMBERS, PROVIDERS, ROCM, Library
from mioconv._loader.load import Failed, Loaded, Loader
from mioconv.errors import ProviderNotFoundError

HIP = PROVIDERS["rocm"].hip
MIOPEN = PROVIDERS["rocm"].miopen
STEPS = [
    "MIOCONV_MIOPEN_LIBRARY",
    "already loaded",
    "site-packages",
    "conda",
    "system loader",
    "ROCM_PATH, HIP_PATH",
    "conventional folder",
]


class FakeNative:
    """A dynamic loader over the files of a test, and a core that takes what it opens."""

    def __init__(self) -> None:
        self.loaded: list[str] = []  # real paths; the handle is the index + 1
        self.opened: list[str] = []  # every name that was really loaded, in order
        self.needs: dict[str, list[str]] = {}  # dependencies by real path
        self.system: dict[str, str] = {}  # what the loader's cache resolves
        self.broken: dict[str, str] = {}  # the loader's words by real path
        self.installed: list[tuple[int, int, int, int, tuple[str, str]]] = []
        self.lacking: LookupError | None = None

    def open_library(self, path: str, only_if_loaded: bool = False, /) -> int:
        name = path.rpartition("/")[2]
        real = os.path.realpath(path) if os.path.isabs(path) else ""
        for index, known in enumerate(self.loaded):
            if known == real or (not real and self.soname(known) == name):
                return index + 1
        if only_if_loaded:
            raise OSError(f"{path}: not loaded in this process")
        real = real or self.system.get(name, "")
        if not os.path.isfile(real):
            raise OSError(f"{path}: cannot open shared object file: No such file or directory")
        if real in self.broken:
            raise OSError(f"{path}: {self.broken[real]}")
        for dependency in self.needs.get(real, []):
            self.open_library(dependency)
        self.loaded.append(real)
        self.opened.append(path)
        return len(self.loaded)

    @staticmethod
    def soname(path: str) -> str:
        return path.rpartition("/")[2]

    def library_path(self, handle: int, /) -> str:
        return self.loaded[handle - 1]

    def install(
        self, provider: int, hip: int, miopen: int, own: int, paths: tuple[str, str], /
    ) -> list[str]:
        if self.lacking is not None:
            raise self.lacking
        self.installed.append((provider, hip, miopen, own, paths))
        return ["hipMallocAsync"]


def is_of(library: Library, name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in library.names)


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNative:
    """A machine with nothing on it."""
    fake = FakeNative()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site-packages"), "", "relative"])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(
        load.search,
        "mapped_files",
        lambda stem: sorted({p for p in fake.loaded if fake.soname(p).startswith(stem)}),
    )
    monkeypatch.setattr(
        load.search,
        "known_to_loader",
        lambda library, environ: {n: p for n, p in fake.system.items() if is_of(library, n)},
    )
    # No real /opt/rocm may take part.
    conventional = search.in_conventional_folders

    def without_roots(library: Library) -> search.Looked:
        moved = tuple(str(tmp_path) + root for root in library.roots)
        return conventional(Library(library.title, library.variable, library.names, roots=moved))

    monkeypatch.setattr(search, "in_conventional_folders", without_roots)
    return fake


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., str]:
    """Make empty files of these names in a folder below the test's own; return the last one."""

    def make(folder: str, *names: str) -> str:
        where = tmp_path / folder
        where.mkdir(parents=True, exist_ok=True)
        for name in names:
            (where / name).touch()
        return os.path.realpath(where / names[-1])

    return make


def failure(loader: Loader, number: int = ROCM) -> str:
    with pytest.raises(ProviderNotFoundError) as caught:
        loader.load(number)
    return str(caught.value)


def rocm(loader: Loader) -> Loaded:
    return loader.load(ROCM)


def paths(loaded: Loaded) -> list[str]:
    return [found.path for found in loaded.libraries]


def steps(loaded: Loaded) -> list[str]:
    return [found.step for found in loaded.libraries]


# --- nothing there --------------------------------------------------------------------------------


def test_nothing_there_says_everything(native: FakeNative, tmp_path: Path) -> None:
    text = failure(Loader(native, [str(tmp_path)], {}))
    assert text.startswith("the rocm provider is not available: MIOpen was not found.")
    lines = text.splitlines()
    assert [line.strip().rpartition(": ")[0].partition(":")[0] for line in lines[2:9]] == STEPS
    assert "libMIOpen.so.1: cannot open shared object file" in text
    assert "torch/lib" in text
    assert "/opt/rocm" in text
    assert "Set MIOCONV_MIOPEN_LIBRARY to the full path of libMIOpen.so.1" in text
    assert "MIOCONV_HIP_LIBRARY" in text
    assert lines[-1] == "Available providers: none."
    assert native.opened == []


def test_failure_is_latched(native: FakeNative, tmp_path: Path, place: Callable[..., str]) -> None:
    environ: dict[str, str] = {}
    loader = Loader(native, [], environ)
    with pytest.raises(ProviderNotFoundError) as first:
        loader.load(ROCM)
    environ["ROCM_PATH"] = str(tmp_path / "rocm")
    place("rocm/lib", "libMIOpen.so.1", "libamdhip64.so.6")
    with pytest.raises(ProviderNotFoundError) as second:
        loader.load(ROCM)
    assert str(first.value) == str(second.value)
    assert first.value is not second.value
    assert native.opened == []


def test_available_providers_are_named(
    native: FakeNative, tmp_path: Path, place: Callable[..., str]
) -> None:
    place("package", "libmioconv_cpu.so")
    text = failure(Loader(native, [str(tmp_path / "package")], {}))
    assert text.endswith("Available providers: cpu.")


# --- the order ------------------------------------------------------------------------------------


def test_order_of_the_steps(native: FakeNative, tmp_path: Path, place: Callable[..., str]) -> None:
    """Remove the winner again and again: the next step wins."""
    environ = {"CONDA_PREFIX": str(tmp_path / "conda"), "ROCM_PATH": str(tmp_path / "rocm")}
    folders = {
        "MIOCONV_MIOPEN_LIBRARY": "elsewhere",
        "site-packages": "site-packages/torch/lib",
        "conda": "conda/lib",
        "system loader": "usr/lib",
        "ROCM_PATH, HIP_PATH": "rocm/lib",
        "conventional folder": "opt/rocm/lib",
    }
    for folder in folders.values():
        for name in ("libMIOpen.so.1", "libamdhip64.so.6"):
            native.system[name] = place("usr/lib", name)
            real = place(folder, name)
            if name == "libMIOpen.so.1":
                native.needs[real] = [f"{os.path.dirname(real)}/libamdhip64.so.6"]
    environ["MIOCONV_MIOPEN_LIBRARY"] = str(tmp_path / "elsewhere/libMIOpen.so.1")
    for step, folder in folders.items():
        native.loaded.clear()
        loaded = rocm(Loader(native, [], environ))
        assert steps(loaded) == ["brought by MIOpen", step]
        assert paths(loaded) == [
            str(tmp_path / folder / name) for name in ("libamdhip64.so.6", "libMIOpen.so.1")
        ]
        environ.pop("MIOCONV_MIOPEN_LIBRARY", None)
        shutil.rmtree(tmp_path / folder)
    native.loaded.clear()
    failure(Loader(native, [], environ))


def test_newest_installation_first(native: FakeNative, place: Callable[..., str]) -> None:
    for version in ("rocm-6.2.0", "rocm-6.10.0", "rocm-5.7.1"):
        place(f"opt/{version}/lib", "libamdhip64.so.6", "libMIOpen.so.1")
    loaded = rocm(Loader(native, [], {}))
    assert all("rocm-6.10.0" in path for path in paths(loaded))


@pytest.mark.parametrize("major", [5, 6, 7, 8, 10, 23])
def test_every_major_of_hip(native: FakeNative, place: Callable[..., str], major: int) -> None:
    hip = f"libamdhip64.so.{major}"
    runtime = place("opt/rocm/lib", f"{hip}.debug", f"{hip}.1.2", hip)
    miopen = place("opt/rocm/lib", "libMIOpen.so.1")
    assert paths(rocm(Loader(native, [], {}))) == [runtime, miopen]
    # One that is loaded already, from where no search would look.
    native.loaded[:] = [place("elsewhere", hip)]
    place("elsewhere", "libMIOpen.so.1")
    loaded = rocm(Loader(native, [], {}))
    assert paths(loaded)[0] == native.loaded[0]
    assert steps(loaded) == ["already loaded", "beside the HIP runtime"]


def test_newest_major_of_hip_first(native: FakeNative, place: Callable[..., str]) -> None:
    place("opt/rocm/lib", *(f"libamdhip64.so.{n}" for n in (9, 10, 7)), "libMIOpen.so.1")
    assert paths(rocm(Loader(native, [], {})))[0].endswith("libamdhip64.so.10")


# Files of packages, as they are laid out, and the two to be found; links are "link -> file".
LAYOUTS: dict[str, tuple[list[str], str, str]] = {
    "ROCm 7.2": (
        ["opt/rocm-7.2.0/lib/libamdhip64.so.7.2.70200",
         "opt/rocm-7.2.0/lib/libamdhip64.so.7 -> libamdhip64.so.7.2.70200",
         "opt/rocm-7.2.0/lib/libMIOpen.so.1.0.70200",
         "opt/rocm-7.2.0/lib/libMIOpen.so.1 -> libMIOpen.so.1.0.70200",
         "opt/rocm -> rocm-7.2.0"],
        "opt/rocm-7.2.0/lib/libamdhip64.so.7.2.70200", "opt/rocm-7.2.0/lib/libMIOpen.so.1.0.70200",
    ),
    "ROCm 10, two releases": (
        ["opt/rocm/core-7.14/lib/libamdhip64.so.7", "opt/rocm/core-7.14/lib/libMIOpen.so.1",
         "opt/rocm/core-10.0/lib/libamdhip64.so.8", "opt/rocm/core-10.0/lib/libMIOpen.so.1"],
        "opt/rocm/core-10.0/lib/libamdhip64.so.8", "opt/rocm/core-10.0/lib/libMIOpen.so.1",
    ),
    "the one of two that is in use": (
        ["opt/rocm/core-7.14/lib/libamdhip64.so.7", "opt/rocm/core-7.14/lib/libMIOpen.so.1",
         "opt/rocm/core-10.0/lib/libamdhip64.so.8", "opt/rocm/core-10.0/lib/libMIOpen.so.1",
         "opt/rocm/core -> core-7.14"],
        "opt/rocm/core-7.14/lib/libamdhip64.so.7", "opt/rocm/core-7.14/lib/libMIOpen.so.1",
    ),
    "Arch": (
        ["opt/rocm/lib/libamdhip64.so.7", "opt/rocm/lib/libMIOpen.so.1"],
        "opt/rocm/lib/libamdhip64.so.7", "opt/rocm/lib/libMIOpen.so.1",
    ),
    "Fedora, without the loader's cache": (
        ["usr/lib64/libamdhip64.so.6", "usr/lib64/libMIOpen.so.1"],
        "usr/lib64/libamdhip64.so.6", "usr/lib64/libMIOpen.so.1",
    ),
    "Fedora's folder for a family of GPUs": (
        ["usr/lib64/rocm/gfx11/lib/libMIOpen.so.1", "usr/lib64/rocm/gfx11/lib/libamdhip64.so.6"],
        "usr/lib64/rocm/gfx11/lib/libamdhip64.so.6", "usr/lib64/rocm/gfx11/lib/libMIOpen.so.1",
    ),
    "AMD's wheels by family": (
        ["site-packages/_rocm_sdk_core/lib/libamdhip64.so.7",
         "site-packages/_rocm_sdk_libraries_gfx110X_all/lib/libMIOpen.so.1"],
        "site-packages/_rocm_sdk_core/lib/libamdhip64.so.7",
        "site-packages/_rocm_sdk_libraries_gfx110X_all/lib/libMIOpen.so.1",
    ),
    "AMD's wheels, device code apart": (
        ["site-packages/_rocm_sdk_core/lib/libamdhip64.so.8",
         "site-packages/_rocm_sdk_libraries/lib/libMIOpen.so.1",
         "site-packages/_rocm_sdk_libraries/.kpack/miopen_gfx1100.kpack",
         "site-packages/rocm_sdk_device_gfx1100-10.0.0.dist-info/METADATA"],
        "site-packages/_rocm_sdk_core/lib/libamdhip64.so.8",
        "site-packages/_rocm_sdk_libraries/lib/libMIOpen.so.1",
    ),
    "a conda environment that is not activated": (
        ["prefix/conda-meta/history", "prefix/lib/libamdhip64.so.6", "prefix/lib/libMIOpen.so.1",
         "base/lib/libamdhip64.so.6", "base/lib/libMIOpen.so.1"],
        "prefix/lib/libamdhip64.so.6", "prefix/lib/libMIOpen.so.1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_packages_as_they_are_laid_out(native: FakeNative, tmp_path: Path, layout: str) -> None:
    files, hip, miopen = LAYOUTS[layout]
    for line in files:
        name, _, target = line.partition(" -> ")
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if target:
            path.symlink_to(target)
        else:
            path.touch()
    environ = {"CONDA_PREFIX": str(tmp_path / "base")} if "conda" in layout else {}
    loaded = rocm(Loader(native, [], environ))
    assert paths(loaded) == [str(tmp_path / hip), str(tmp_path / miopen)]


def test_the_loaders_own_word(
    tmp_path: Path, place: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any version of a name in LD_LIBRARY_PATH, the loader's cache and its folders."""
    assert HIP is not None
    cached = place("cached", "libamdhip64.so.9")
    cache = tmp_path / "ld.so.cache"
    strings = [
        b"libamdhip64.so.9",
        os.fsencode(cached),
        b"/gone/libamdhip64.so.11",
        b"/x/libm.so.6",
    ]
    cache.write_bytes(b"\1\2glibc-ld.so.cache1.1\0\3" + b"\0".join(strings) + b"\0")
    monkeypatch.setattr(search, "_LOADER_CACHE", str(cache))
    monkeypatch.setattr(search, "_LOADER_FOLDERS", (str(tmp_path / "lib"),))
    environ = {"LD_LIBRARY_PATH": f"{tmp_path / 'first'}::{tmp_path / 'second'}:relative"}
    assert search.known_to_loader(HIP, environ) == {"libamdhip64.so.9": cached}
    second = place("second", "libamdhip64.so.10", "libamdhip64.so.9")
    bare = place("lib", "libamdhip64.so")
    assert search.known_to_loader(HIP, environ) == {
        "libamdhip64.so.10": str(tmp_path / "second/libamdhip64.so.10"),
        "libamdhip64.so.9": second,
        "libamdhip64.so": bare,
    }
    first = place("first", "libamdhip64.so.9")
    assert search.known_to_loader(HIP, environ)["libamdhip64.so.9"] == first
    monkeypatch.setattr(search, "_LOADER_CACHE", str(tmp_path / "none"))
    looked = search.system_loader(HIP, {})
    assert [candidate.name for candidate in looked.candidates] == ["libamdhip64.so"]


# --- one HIP runtime ------------------------------------------------------------------------------


def test_copies_of_another_package_are_taken(native: FakeNative, place: Callable[..., str]) -> None:
    """PyTorch's wheel has bare names, and ROCm is installed too: nothing is opened."""
    place("opt/rocm/lib", "libamdhip64.so.6", "libMIOpen.so.1")
    hip = place("site-packages/torch/lib", "libamdhip64.so")
    miopen = place("site-packages/torch/lib", "libMIOpen.so")
    native.loaded += [hip, miopen]
    loaded = rocm(Loader(native, [], {}))
    assert paths(loaded) == [hip, miopen]
    assert steps(loaded) == ["already loaded", "already loaded"]
    assert native.opened == []


def test_miopen_comes_from_beside_the_loaded_runtime(
    native: FakeNative, tmp_path: Path, place: Callable[..., str]
) -> None:
    """CuPy has loaded ROCm's HIP; PyTorch's wheel is there as well and must stay out."""
    place("site-packages/torch/lib", "libamdhip64.so", "libMIOpen.so")
    hip = place("srv/rocm/lib", "libamdhip64.so.6")
    miopen = place("srv/rocm/lib", "libMIOpen.so.1")
    native.loaded.append(hip)
    loaded = rocm(Loader(native, [], {}))
    assert paths(loaded) == [hip, miopen]
    assert steps(loaded) == ["already loaded", "beside the HIP runtime"]


def test_rocm_wheels_are_one_installation(native: FakeNative, place: Callable[..., str]) -> None:
    """ROCm's own wheels split the two libraries between two packages."""
    hip = place("site-packages/_rocm_sdk_core/lib", "libamdhip64.so.7")
    miopen = place("site-packages/_rocm_sdk_libraries_gfx94X_dcgpu/lib", "libMIOpen.so.1")
    place("opt/rocm/lib", "libamdhip64.so.6", "libMIOpen.so.1")
    native.system = {"libamdhip64.so.6": place("opt/rocm/lib", "libamdhip64.so.6")}
    assert paths(rocm(Loader(native, [], {}))) == [hip, miopen]
    native.loaded[:] = [hip]
    assert paths(rocm(Loader(native, [], {}))) == [hip, miopen]


def test_dependency_of_miopen_is_opened_from_its_folder(
    native: FakeNative, place: Callable[..., str]
) -> None:
    """A MIOpen that cannot find its HIP by itself gets the one beside it."""
    hip = place("opt/rocm/lib", "libamdhip64.so.6")
    miopen = place("opt/rocm/lib", "libMIOpen.so.1")
    native.needs[miopen] = ["libamdhip64.so.6"]  # no run path, not in the loader's cache
    assert paths(rocm(Loader(native, [], {}))) == [hip, miopen]


def test_second_runtime_is_refused(
    native: FakeNative, tmp_path: Path, place: Callable[..., str]
) -> None:
    """HIP 5 is in the process, and the only MIOpen there is needs HIP 6."""
    old = place("old", "libamdhip64.so.5")
    new = place("opt/rocm/lib", "libamdhip64.so.6")
    miopen = place("opt/rocm/lib", "libMIOpen.so.1")
    native.needs[miopen] = [new]
    native.loaded.append(old)
    text = failure(Loader(native, [], {}))
    assert "two HIP runtimes" in text
    for path in (old, new, miopen):
        assert path in text
    assert native.installed == []


def test_variable_against_the_loaded_runtime(native: FakeNative, place: Callable[..., str]) -> None:
    running = place("one", "libamdhip64.so.6")
    other = place("two", "libamdhip64.so.6")
    place("two", "libMIOpen.so.1")
    native.loaded.append(running)
    text = failure(Loader(native, [], {"MIOCONV_HIP_LIBRARY": other}))
    assert f"two HIP runtimes would be in this process: {running} and {other}" in text
    assert "Unset MIOCONV_HIP_LIBRARY" in text
    assert native.opened == []


def test_variable_that_names_the_loaded_runtime(
    native: FakeNative, tmp_path: Path, place: Callable[..., str]
) -> None:
    running = place("one", "libamdhip64.so.6.2")
    os.symlink(running, tmp_path / "one/libamdhip64.so")
    miopen = place("one", "libMIOpen.so.1")
    native.loaded.append(running)
    environ = {"MIOCONV_HIP_LIBRARY": str(tmp_path / "one/libamdhip64.so")}
    assert paths(rocm(Loader(native, [], environ))) == [running, miopen]


def test_both_variables(native: FakeNative, place: Callable[..., str]) -> None:
    environ = {
        "MIOCONV_HIP_LIBRARY": place("here", "libamdhip64.so.6"),
        "MIOCONV_MIOPEN_LIBRARY": place("there", "libMIOpen-special.so"),
    }
    loaded = rocm(Loader(native, [], environ))
    assert steps(loaded) == ["MIOCONV_HIP_LIBRARY", "MIOCONV_MIOPEN_LIBRARY"]
    assert paths(loaded) == list(environ.values())


# --- what can be wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["MIOCONV_HIP_LIBRARY", "MIOCONV_MIOPEN_LIBRARY"])
def test_a_variable_is_never_skipped(
    native: FakeNative, place: Callable[..., str], variable: str
) -> None:
    place("opt/rocm/lib", "libamdhip64.so.6", "libMIOpen.so.1")
    text = failure(Loader(native, [], {variable: "/nowhere/lib.so"}))
    assert f"{variable} is set, but what it names cannot be opened" in text
    assert "/nowhere/lib.so: cannot open shared object file" in text
    assert f"Correct {variable}" in text
    assert native.opened == []


def test_an_empty_variable_is_not_set(native: FakeNative, place: Callable[..., str]) -> None:
    place("opt/rocm/lib", "libamdhip64.so.6", "libMIOpen.so.1")
    rocm(Loader(native, [], {"MIOCONV_MIOPEN_LIBRARY": "", "MIOCONV_HIP_LIBRARY": ""}))


def test_broken_copy_is_passed_over_and_reported(
    native: FakeNative, place: Callable[..., str]
) -> None:
    broken = place("site-packages/torch/lib", "libMIOpen.so")
    native.broken[broken] = "invalid ELF header"
    assert "invalid ELF header" in failure(Loader(native, [], {}))
    good = place("opt/rocm/lib", "libamdhip64.so.6", "libMIOpen.so.1")
    assert paths(rocm(Loader(native, [], {})))[1] == good


def test_miopen_without_hip(native: FakeNative, place: Callable[..., str]) -> None:
    miopen = place("opt/rocm/lib", "libMIOpen.so.1")
    text = failure(Loader(native, [], {}))
    assert f"MIOpen is {miopen}, but the HIP runtime was not found" in text
    assert "Set MIOCONV_HIP_LIBRARY" in text


def test_hip_without_miopen(native: FakeNative, place: Callable[..., str]) -> None:
    hip = place("opt/rocm/lib", "libamdhip64.so.6")
    text = failure(Loader(native, [], {}))
    assert "MIOpen was not found" in text
    assert f"The HIP runtime is there, unopened: {hip}" in text
    native.loaded.append(hip)
    text = failure(Loader(native, [], {}))
    assert f"The HIP runtime is {hip} (already loaded)" in text


def test_hip_that_only_the_loader_knows(native: FakeNative, place: Callable[..., str]) -> None:
    hip = native.system["libamdhip64.so.8"] = place("srv/lib", "libamdhip64.so.8")
    text = failure(Loader(native, [], {}))
    assert f"The HIP runtime is there, unopened: {hip}" in text
    assert "in none of these places" not in text
    # And where MIOpen is elsewhere, it is taken by its name.
    miopen = place("opt/rocm/lib", "libMIOpen.so.1")
    loaded = rocm(Loader(native, [], {}))
    assert paths(loaded) == [hip, miopen]
    assert steps(loaded) == ["system loader", "conventional folder"]


def test_missing_required_function(native: FakeNative, place: Callable[..., str]) -> None:
    place("opt/rocm/lib", "libamdhip64.so.6", "libMIOpen.so.1")
    native.lacking = LookupError("/opt/lib: this MIOpen library has no function miopenCreate")
    assert "this MIOpen library has no function miopenCreate" in failure(Loader(native, [], {}))


# --- libraries of our own -------------------------------------------------------------------------


def test_own_library_serves_as_all_three(
    native: FakeNative, tmp_path: Path, place: Callable[..., str]
) -> None:
    path = place("package/lib", "libmioconv_cpu.so")
    loader = Loader(native, [str(tmp_path / "package"), str(tmp_path / "package/lib")], {})
    loaded = loader.load(CPU)
    assert native.installed == [(CPU, 1, 1, 1, (path, path))]
    assert paths(loaded) == [path]
    assert steps(loaded) == ["package"]
    assert loaded.missing == ("hipMallocAsync",)
    assert loader.loaded(CPU) is loaded


NEEDED = {
    "MIOCONV_CUDART_LIBRARY": "libcudart.so.13",
    "MIOCONV_NVRTC_LIBRARY": "libnvrtc.so.13",
    "MIOCONV_CUDNN_LIBRARY": "libcudnn.so.9",
}


def test_what_an_own_library_needs_is_opened_with_it(
    native: FakeNative, tmp_path: Path, place: Callable[..., str]
) -> None:
    """By variable here; the search is the vendor's libraries' own."""
    path = place("package", "libmioconv_cuda.so")
    needed = {variable: place("nvidia", name) for variable, name in NEEDED.items()}
    loader = Loader(native, [str(tmp_path / "package")], needed)
    loaded = loader.load(CUDA)
    assert paths(loaded) == [path, *needed.values()]
    assert steps(loaded) == ["package", *needed]
    assert native.installed == [(CUDA, 1, 1, 1, (path, path))]


@pytest.mark.parametrize("absent", NEEDED)
def test_what_an_own_library_needs_is_missing(
    native: FakeNative, tmp_path: Path, place: Callable[..., str], absent: str
) -> None:
    place("package", "libmioconv_cuda.so")
    needed = {variable: place("nvidia", name) for variable, name in NEEDED.items()}
    needed[absent] = "/nowhere.so"
    loader = Loader(native, [str(tmp_path / "package")], needed)
    assert absent in failure(loader, CUDA)
    assert native.installed == []
    # The error of another provider does not try it again, nor bring NVIDIA's libraries in.
    assert "Available providers: none" in failure(loader, CPU)


def test_own_library_missing(native: FakeNative, tmp_path: Path) -> None:
    loader = Loader(native, [str(tmp_path / "package")], {})
    text = failure(loader, CPU)
    assert "libmioconv_cpu.so" in text
    assert str(tmp_path / "package") in text
    assert "MIOCONV_CPU_LIBRARY" in text
    assert isinstance(loader.outcome(CPU), Failed)
    assert loader.loaded(CPU) is None


def test_own_library_by_variable(
    native: FakeNative, tmp_path: Path, place: Callable[..., str]
) -> None:
    place("package", "libmioconv_cpu.so")
    other = place("mine", "libmioconv_cpu.so")
    folders = [str(tmp_path / "package")]
    loaded = Loader(native, folders, {"MIOCONV_CPU_LIBRARY": other}).load(CPU)
    assert paths(loaded) == [other]
    text = failure(Loader(native, folders, {"MIOCONV_CPU_LIBRARY": "/nowhere.so"}), CPU)
    assert "MIOCONV_CPU_LIBRARY is set" in text


# --- threads --------------------------------------------------------------------------------------


def test_two_threads_load_once(
    native: FakeNative, tmp_path: Path, place: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place("package", "libmioconv_cpu.so")
    loader = Loader(native, [str(tmp_path / "package")], {})
    inside, go = threading.Event(), threading.Event()
    slow = native.open_library

    def open_library(path: str, only_if_loaded: bool = False, /) -> int:
        inside.set()
        assert go.wait(10)
        return slow(path, only_if_loaded)

    monkeypatch.setattr(native, "open_library", open_library)
    outcomes: list[Loaded] = []
    threads = [threading.Thread(target=lambda: outcomes.append(loader.load(CPU))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    go.set()
    for thread in threads:
        thread.join()
    assert len(native.installed) == 1
    assert len(outcomes) == 4
    assert all(outcome is outcomes[0] for outcome in outcomes)


# --- the catalogue, the process -------------------------------------------------------------------


def test_catalogue_is_consistent() -> None:
    assert list(PROVIDERS) == ["cpu", "rocm", "cuda"]
    assert {number: p.name for number, p in NUMBERS.items()} == {0: "cpu", 1: "rocm", 2: "cuda"}
    for provider in PROVIDERS.values():
        assert (provider.own is None) == (provider.hip is not None and provider.miopen is not None)
    assert HIP is not None
    assert MIOPEN is not None
    assert HIP.names[-1] == "libamdhip64.so"
    # Names for Windows are written down, and nothing more: see Library.windows.
    assert all(name.endswith(".dll") for name in (*HIP.windows, *MIOPEN.windows))
