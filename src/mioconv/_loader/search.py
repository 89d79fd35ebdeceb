"""One function a search step. Each says where it looked and what is worth opening there.

Nothing is opened here: a step looks at variables and folders only, and its `Looked` is both the
list of candidates and the line of the error text, so that an error can never disagree with what
was done.
"""

from __future__ import annotations

import glob
import os
import platform
import re
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
    "known_to_loader",
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
    names: dict[str, None] = {}
    for name in library.names:
        if not _any_version(name):
            # A file of that name may have another soname, which is what the loader goes by.
            files = [path for path in mapped_files(name) if os.path.basename(path) == name]
            names.update(dict.fromkeys([name, *files]))
            continue
        # Those there are. By file; by soname too, for a file that was replaced meanwhile.
        stem = name.removesuffix("*")
        for path in mapped_files(stem):
            version = os.path.basename(path)[len(stem) :].partition(".")[0]
            names.update({path: None, f"{stem}{version}": None})
    candidates = tuple(Candidate(name, step, only_if_loaded=True) for name in names)
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
    """The conda environment that Python is from, and the one that is activated."""
    own = [
        prefix
        for prefix in (sys.prefix, sys.base_prefix)
        if os.path.isdir(os.path.join(prefix, "conda-meta"))
    ]
    prefixes = list(dict.fromkeys(filter(None, [*own, environ.get("CONDA_PREFIX", "")])))
    if not prefixes:
        return Looked("conda", "not a conda environment")
    folders = [os.path.join(glob.escape(prefix), "lib") for prefix in prefixes]
    return _in_folders("conda", folders, library)


def system_loader(library: Library, environ: Mapping[str, str]) -> Looked:
    """The dynamic loader's own search: LD_LIBRARY_PATH, its cache, the system's folders."""
    step = "system loader"
    known = known_to_loader(library, environ)
    fixed = [name for name in library.names if not _any_version(name)]
    names = dict.fromkeys([*known, *fixed])
    return Looked(step, "by name", tuple(Candidate(name, step) for name in names))


_LOADER_CACHE = "/etc/ld.so.cache"
# Debian's loader has folders for each kind of processor.
_MULTIARCH = f"{platform.machine()}-linux-gnu"
_LOADER_FOLDERS = (
    f"/lib/{_MULTIARCH}",
    f"/usr/lib/{_MULTIARCH}",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
)


def known_to_loader(library: Library, environ: Mapping[str, str]) -> dict[str, str]:
    """What the dynamic loader would find by name, and where; opens nothing.

    It cannot be asked for the versions of a name, so this looks where it looks.

    Returns
    -------
    dict of str to str
        Files by the names that it is asked for, in the order of preference.
    """
    folders = [f for f in environ.get("LD_LIBRARY_PATH", "").split(":") if os.path.isabs(f)]
    found: dict[str, str] = {}
    for name in library.names:
        files = _files_named(name, folders) + _in_loader_cache(name)
        files += _files_named(name, _LOADER_FOLDERS)
        files.sort(key=_version, reverse=True)  # stable: the loader's order within a version
        for path in files:
            found.setdefault(os.path.basename(path), path)
    return found


def _in_loader_cache(name: str) -> list[str]:
    """Paths of a name in the dynamic loader's cache, which is a table of strings at its end."""
    try:
        with open(_LOADER_CACHE, "rb") as file:
            cache = file.read()
    except OSError:
        return []
    pattern = re.escape(name.removesuffix("*").encode()) + (rb"\d+" if _any_version(name) else b"")
    return [
        os.fsdecode(path)
        for path in re.findall(rb"(/[^\0]*/" + pattern + rb")\0", cache)
        if os.path.isfile(path)
    ]


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
        system_loader(library, environ),
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
    except (FileNotFoundError, PermissionError):
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
                for path in sorted(_files_named(name, [folder]), key=_version, reverse=True):
                    # One file under several names (libX.so -> libX.so.1) is tried once.
                    found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _any_version(name: str) -> bool:
    return name.endswith(".so.*")


def _version(path: str) -> int:
    """The number that a soname ends in; 0 for a bare name."""
    number = path.rpartition(".")[2]
    return int(number) if number.isdigit() else 0


def _files_named(name: str, folders: Iterable[str]) -> list[str]:
    """The files of one name, or of any version of it, folder by folder."""
    paths = []
    for folder in folders:
        pattern = os.path.join(glob.escape(folder), name)
        paths += glob.glob(pattern) if _any_version(name) else [os.path.join(folder, name)]
    number = re.compile(r"\.so\.\d+")  # not libX.so.6.2, nor libX.so.6.debug
    return [
        path
        for path in paths
        if os.path.isfile(path)
        and (not _any_version(name) or number.fullmatch(path[path.rindex(".so.") :]))
    ]


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
