"""What is behind each kind of device: which libraries, found how, in which versions."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from mioconv._loader.advice import MIOPEN_FOLDERS, kernel_cache_problem
from mioconv._loader.catalogue import NUMBERS, PROVIDERS, ROCM
from mioconv._loader.installation import device_code_problem, find_db_problem, forwarding
from mioconv._loader.load import Failed, Found, Loader
from mioconv._native import api as _api
from mioconv.errors import MioconvError

__all__ = ["ProviderInfo", "get_version_info", "load", "providers"]


def _package_folders() -> list[str]:
    # Our own libraries are installed beside the compiled modules. An editable install keeps the
    # Python files elsewhere.
    folders = [os.path.dirname(os.path.abspath(file)) for file in (_api.__file__, __file__)]
    return [path for folder in dict.fromkeys(folders) for path in (folder, f"{folder}/lib")]


_LOADER: Final = Loader(_api, _package_folders())
# A fork waits for a thread that is opening libraries: the child would find them half open.
os.register_at_fork(
    before=_LOADER.lock.acquire,
    after_in_parent=_LOADER.lock.release,
    after_in_child=_LOADER.lock.release,
)


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """One provider as it is in this process.

    Attributes
    ----------
    name : str
        "cpu", "rocm" or "cuda".
    available : bool
        Whether it was loaded.
    serves : str
        The tensors that it serves, in words.
    paths : dict of str to str
        Real path of each of its libraries, by what the library is; empty if not available.
    found : dict of str to str
        The search step that found each of them.
    versions : dict of str to object
        What the libraries say of their own versions; the keys depend on the provider.
    description : str or None
        The provider's line about itself (library, instruction set, threads); None for the vendor's.
    devices : tuple of dict
        Per device: name, architecture, compute units, total memory in bytes.
    missing : tuple of str
        Optional functions that this release of the libraries does not have.
    error : str or None
        Why it is not available, or why its devices could not be listed.
    note : str or None
        What makes its first use slow on this machine, or is special about the installation; a line
        each.
    """

    name: str
    available: bool
    serves: str
    paths: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    description: str | None = None
    devices: tuple[dict[str, Any], ...] = ()
    missing: tuple[str, ...] = ()
    error: str | None = None
    note: str | None = None


def load(number: int) -> None:
    """Load a provider; the core calls this at the provider's first use.

    Parameters
    ----------
    number : int
        0 for cpu, 1 for rocm, 2 for cuda.

    Raises
    ------
    ProviderNotFoundError
        Its libraries are not there or not usable. A failure is remembered: the same text again, in
        a new object, at every later call.

    Notes
    -----
    Safe to call from several threads: one of them loads, the others wait for the outcome.
    """
    if number == ROCM:
        _use_temporary_folders()
    _LOADER.load(number)
    if number == ROCM:
        problem = kernel_cache_problem(os.environ)
        if problem is not None:
            # Once for a process: afterwards the core does not come here any more.
            warnings.warn(problem, RuntimeWarning, stacklevel=2)


_api.set_loader(load)


def providers() -> dict[str, ProviderInfo]:
    """Say for each provider whether it is available, and what is behind it.

    Every provider that was not used yet is loaded by this call. It never raises on account of a
    provider: what is wrong is in its `error`.

    Returns
    -------
    dict of str to ProviderInfo
        Keys "cpu", "rocm" and "cuda", in this order.
    """
    return {name: _info(name) for name in PROVIDERS}


def get_version_info() -> dict[str, Any]:
    """Versions of mioconv, of what it was built and runs with, and of the loaded providers.

    Loads nothing: a provider that was not used yet is left out.

    Returns
    -------
    dict
        "mioconv", "python", "numpy" and "cython" (which compiled it) as str, and "providers", a
        dict from the name of each loaded provider to the versions of its libraries. Those of HIP
        and MIOpen are what "cpu" and "cuda" stand for; what is behind these two is "onednn", or
        "cudnn" and "cuda".
    """
    return {
        "mioconv": _api.version,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "cython": getattr(_api, "cython_version", "unknown"),
        "providers": {
            provider.name: dict(_api.versions(number))
            for number, provider in NUMBERS.items()
            if _LOADER.loaded(number) is not None
        },
    }


# What this process's children are told: the folder that variables of theirs may name is not theirs.
_TEMPORARY_FOLDER = "MIOCONV_MIOPEN_TEMPORARY_FOLDER"


def _use_temporary_folders() -> None:
    """With MIOCONV_MIOPEN_TEMPORARY, folders of this process's own for MIOpen's databases and
    kernels, before its library is loaded; those that the user has named stay."""
    wanted = os.environ.get("MIOCONV_MIOPEN_TEMPORARY", "").strip().lower()
    if wanted not in ("1", "on", "yes", "true"):
        return
    parents = os.environ.get(_TEMPORARY_FOLDER)
    missing = [name for name in MIOPEN_FOLDERS if os.environ.get(name) in (None, "", parents)]
    if missing and _LOADER.loaded(ROCM) is None:
        folder = tempfile.mkdtemp(prefix="mioconv-miopen-")
        atexit.register(_remove_folder, folder, os.getpid())
        for name in [*missing, _TEMPORARY_FOLDER]:
            os.environ[name] = folder


def _remove_folder(folder: str, process: int) -> None:
    """Not by a forked child, which ends before the one that made it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _info(name: str) -> ProviderInfo:
    provider = PROVIDERS[name]
    if provider.number == ROCM:
        _use_temporary_folders()
    outcome = _LOADER.outcome(provider.number)
    if isinstance(outcome, Failed):
        return ProviderInfo(name, available=False, serves=provider.devices, error=outcome.reason)
    devices: tuple[dict[str, Any], ...] = ()
    error = None
    try:
        devices = tuple(_api.devices(provider.number))
    except MioconvError as failure:
        # The libraries are there and no device is, or it may not be opened: not a reason to fail.
        error = str(failure)
    return ProviderInfo(
        name,
        available=True,
        serves=provider.devices,
        paths={found.title: found.path for found in outcome.libraries},
        found={found.title: found.step for found in outcome.libraries},
        versions=dict(_api.versions(provider.number)),
        description=_api.describe(provider.number),
        devices=devices,
        missing=outcome.missing,
        error=error,
        note=_rocm_notes(outcome.libraries, devices) if provider.number == ROCM else None,
    )


def _rocm_notes(libraries: Sequence[Found], devices: Sequence[dict[str, Any]]) -> str | None:
    """What a user has to know of this installation of MIOpen, a line each."""
    notes = [kernel_cache_problem(os.environ)]
    miopen = next((found.path for found in libraries if "MIOpen" in found.title), None)
    if miopen is not None:
        notes.append(find_db_problem(miopen, os.environ))
        notes.append(device_code_problem(miopen, [d["architecture"] for d in devices]))
        layer = forwarding(miopen, os.environ)
        if layer is not None:
            notes.append(f"calls of MIOpen may be answered by hipDNN: {layer}")
    return "\n".join(filter(None, notes)) or None
