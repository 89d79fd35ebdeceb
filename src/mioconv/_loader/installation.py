"""What lies beside MIOpen's library: databases, device code, a layer that forwards its calls."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Mapping

from mioconv._loader import elf

__all__ = ["device_code_problem", "find_db_problem", "forwarding", "has_separate_device_code"]

_DATABASE_FILES = (".db", ".db.txt", ".fdb.txt", ".kdb", ".model")


def find_db_problem(library: str, environ: Mapping[str, str]) -> str | None:
    """Say that MIOpen's own databases are missing, or None where they are there.

    Parameters
    ----------
    library : str
        Real path of MIOpen's library.
    environ : mapping
        Environment variables.
    """
    named = environ.get("MIOPEN_SYSTEM_DB_PATH")
    folders = [named] if named else _database_folders(library)
    for folder in folders:
        try:
            files = os.listdir(folder)
        except OSError:
            continue
        if any(name.endswith(_DATABASE_FILES) for name in files):
            return None
    return (
        f"MIOpen's databases are not in {' or '.join(folders)}, where this library looks: its "
        "ranking without them is a rough guess, so measure (benchmark=True, mioconv.prepare), or "
        "install the package that has them and set MIOPEN_SYSTEM_DB_PATH if that is elsewhere"
    )


def _database_folders(library: str) -> list[str]:
    """Where a library was compiled to look for its databases; distributions differ in that."""
    installation = os.path.dirname(os.path.dirname(library))
    texts = elf.texts_ending(library, "miopen/db") or ["share/miopen/db"]
    # What is relative is so to the folder that has the library's.
    return list(dict.fromkeys(os.path.join(installation, text) for text in texts))


def has_separate_device_code(library: str) -> bool:
    """Whether a library is of AMD's Python packages that have the code for GPUs in others.

    Parameters
    ----------
    library : str
        Real path of MIOpen's library.
    """
    # Packages for a family of GPUs, which have the code inside, bear its name.
    return os.path.basename(os.path.dirname(os.path.dirname(library))) == "_rocm_sdk_libraries"


def device_code_problem(library: str, architectures: Iterable[str]) -> str | None:
    """Name the packages with device code that lack, or None where nothing does.

    Parameters
    ----------
    library : str
        Real path of MIOpen's library.
    architectures : iterable of str
        Of the devices, as HIP names them: "gfx90a:sramecc+:xnack-".
    """
    if not has_separate_device_code(library):
        return None
    site = glob.escape(os.path.dirname(os.path.dirname(os.path.dirname(library))))
    names = dict.fromkeys(architecture.partition(":")[0] for architecture in architectures)
    lacking = [n for n in names if not glob.glob(f"{site}/rocm_sdk_device_{n}-*.dist-info")]
    if not lacking:
        return None
    packages = " and ".join(f"rocm-sdk-device-{name}" for name in lacking)
    extras = ",".join(f"device-{name}" for name in lacking)
    return (
        f"the code for {' and '.join(lacking)} is in a package of its own, which is not there: "
        f"install {packages} from where ROCm's other packages came (pip install rocm[{extras}])"
    )


def forwarding(library: str, environ: Mapping[str, str]) -> str | None:
    """How MIOpen's calls are answered where a layer is before it, or None where there is none.

    ROCm's newer releases may be built so that libMIOpen forwards calls to hipDNN, or to what was
    libMIOpen and is a private library then: solutions, ids and times are others.

    Parameters
    ----------
    library : str
        Real path of MIOpen's library.
    environ : mapping
        Environment variables, as they were when MIOpen was loaded.

    Returns
    -------
    str or None
        The variable with its value.
    """
    if not glob.glob(f"{glob.escape(os.path.dirname(library))}/libMIOpen_private.so*"):
        return None
    value = environ.get("MIOPEN_HIPDNN_FORWARDING", "")
    # It ends up in cache files.
    return f"MIOPEN_HIPDNN_FORWARDING={re.sub(r'[^ -~]', '?', value) or 'not set'}"
