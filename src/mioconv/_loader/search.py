"""One function a search step. Each says where it looked and what is worth opening there.

Nothing is opened here: a step looks at variables and folders only, and its `Looked` is both the
list of candidates and the line of the error text, so that an error can never disagree with what
was done.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mioconv._loader.catalogue import Library

__all__ = [
    "Candidate",
    "Looked",
    "already_loaded",
    "beside",
    "everywhere_else",
    "from_variable",
    "in_conda",
    "in_conventional_folders",
    "in_package",
    "in_root_variables",
    "in_site_packages",
    "mapped_files",
    "system_loader",
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something to hand to the dynamic loader.

    Attributes
    ----------
    name : str
        A full path, or a bare name that the dynamic loader resolves.
    step : str
        The search step that it comes from.
    only_if_loaded : bool
        Take a copy that is in the process already, and load nothing.
    """

    name: str
    step: str
    only_if_loaded: bool = False


@dataclass(frozen=True, slots=True)
class Looked:
    """What one search step looked at, in words, and what it found worth opening."""

    step: str
    where: str
    candidates: tuple[Candidate, ...] = ()


def from_variable(library: Library, environ: Mapping[str, str]) -> Looked:
    """The library's own variable. When it is set, it alone decides: see `load`."""
    path = environ.get(library.variable, "")
    if not path:
        return Looked(library.variable, "not set")
    return Looked(library.variable, path, (Candidate(path, library.variable),))


def already_loaded(library: Library) -> Looked:
    """A copy that another package, such as PyTorch, has brought into the process."""
    step = "already loaded"
    candidates = tuple(Candidate(name, step, only_if_loaded=True) for name in library.names)
    return Looked(step, "by name in this process", candidates)


def beside(library: Library, path: str, title: str) -> Looked:
    """The installation that another library of the same provider came from."""
    folder = glob.escape(os.path.dirname(path))
    folders = [os.path.normpath(os.path.join(folder, relative)) for relative in library.companions]
    return _in_folders(f"beside the {title}", folders, library)


def in_site_packages(library: Library) -> Looked:
    """Wheels that carry the library, wherever Python would import them from."""
    # Relative entries are left out: the current folder must not decide what is loaded.
    entries = [entry for entry in sys.path if os.path.isabs(entry) and os.path.isdir(entry)]
    patterns = [os.path.join(glob.escape(e), wheel) for e in entries for wheel in library.wheels]
    found = _files(patterns, library.names)
    return _looked("site-packages", f"{', '.join(library.wheels)} on sys.path", found)


def in_conda(library: Library, environ: Mapping[str, str]) -> Looked:
    """The conda environment, if this is one."""
    prefix = environ.get("CONDA_PREFIX", "")
    if not prefix and os.path.isdir(os.path.join(sys.prefix, "conda-meta")):
        prefix = sys.prefix
    if not prefix:
        return Looked("conda", "not a conda environment")
    return _in_folders("conda", [os.path.join(glob.escape(prefix), "lib")], library)


def system_loader(library: Library) -> Looked:
    """The dynamic loader's own search: LD_LIBRARY_PATH, its cache, the system's folders."""
    step = "system loader"
    return Looked(step, "by name", tuple(Candidate(name, step) for name in library.names))


def in_root_variables(library: Library, environ: Mapping[str, str]) -> Looked:
    """The installation roots that variables such as ROCM_PATH name."""
    step = ", ".join(library.root_variables)
    roots = [environ[name] for name in library.root_variables if environ.get(name)]
    if not roots:
        return Looked(step, "not set")
    return _in_folders(step, _lib_folders(glob.escape(root) for root in roots), library)


def in_conventional_folders(library: Library) -> Looked:
    """Where the vendor's installer puts it. Last, and named in the error."""
    return _in_folders("conventional folder", _lib_folders(library.roots), library)


def everywhere_else(library: Library, environ: Mapping[str, str]) -> list[Looked]:
    """Every step after the variable and the copies already loaded, in their order."""
    return [
        in_site_packages(library),
        in_conda(library, environ),
        system_loader(library),
        in_root_variables(library, environ),
        in_conventional_folders(library),
    ]


def in_package(library: Library, folders: Iterable[str]) -> Looked:
    """The folders of the installed package, for mioconv's own libraries."""
    return _in_folders("package", [glob.escape(folder) for folder in folders], library)


def mapped_files(stem: str) -> list[str]:
    """Real paths of the files in this process whose names begin with `stem`.

    The dynamic loader answers for one copy a name; the kernel's list shows every copy.

    Returns
    -------
    list of str
        Sorted, without repetition; empty where the list cannot be read.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            # address permissions offset device inode path; the path may hold spaces.
            fields = (line.rstrip("\n").split(maxsplit=5) for line in maps)
            paths = {line[5].removesuffix(" (deleted)") for line in fields if len(line) == 6}
    except OSError:
        return []
    return sorted(
        {os.path.realpath(path) for path in paths if os.path.basename(path).startswith(stem)}
    )


def _lib_folders(roots: Iterable[str]) -> list[str]:
    return [os.path.join(root, folder) for root in roots for folder in ("lib", "lib64")]


def _in_folders(step: str, folders: list[str], library: Library) -> Looked:
    return _looked(step, ", ".join(folders), _files(folders, library.names))


def _looked(step: str, where: str, paths: list[str]) -> Looked:
    if not paths:
        return Looked(step, f"no such file in {where}")
    return Looked(step, where, tuple(Candidate(path, step) for path in paths))


def _files(patterns: Iterable[str], names: Iterable[str]) -> list[str]:
    """The files of these names in the folders that the patterns match, without repetition."""
    wanted = list(names)
    found: dict[str, str] = {}
    for pattern in patterns:
        # Newest first where a pattern matches folders that differ by version.
        for folder in sorted(glob.glob(pattern), key=_by_version, reverse=True):
            for name in wanted:
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    # One file under several names (libX.so -> libX.so.1) is tried once.
                    found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _by_version(path: str) -> list[tuple[int, str]]:
    """A key that sorts numbers inside a path by value: rocm-6.10 after rocm-6.9."""
    parts: list[tuple[int, str]] = []
    digits = ""
    for character in path + "/":
        if character.isdigit():
            digits += character
            continue
        if digits:
            parts.append((int(digits), ""))
            digits = ""
        parts.append((-1, character))
    return parts
