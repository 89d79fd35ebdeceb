"""What a status of ROCm's libraries, or the state of their folders, means for the user."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mioconv._loader import search
from mioconv._loader.installation import has_separate_device_code

__all__ = ["MIOPEN_FOLDERS", "hip_advice", "kernel_cache_problem", "miopen_advice"]

# hipError_t of the failures that an installation causes, not a call.
_NOT_INITIALIZED, _INSUFFICIENT_DRIVER, _NO_DEVICE, _INVALID_DEVICE = 3, 35, 100, 101
_NO_BINARY, _SHARED_OBJECT, _OPERATING_SYSTEM = 209, 303, 304
_INTERNAL_ERROR, _UNKNOWN_ERROR = 5, 7  # miopenStatus_t

DEVICE_NODE = "/dev/kfd"
_TRUE = ("1", "on", "enable", "enabled", "yes", "true")  # as MIOpen reads variables
# What names MIOpen's folders for databases and for compiled kernels.
MIOPEN_FOLDERS = ("MIOPEN_USER_DB_PATH", "MIOPEN_CUSTOM_CACHE_DIR")


def hip_advice(status: int) -> str:
    """What to do about a status of HIP; empty where the status says it all.

    Parameters
    ----------
    status : int
        The `hipError_t`.
    """
    if status in (_NO_DEVICE, _NOT_INITIALIZED, _OPERATING_SYSTEM, _INVALID_DEVICE):
        if os.path.exists(DEVICE_NODE) and not os.access(DEVICE_NODE, os.R_OK | os.W_OK):
            return (
                f"this user may not open {DEVICE_NODE}; add it to the groups that own it, render "
                "and video as a rule, and log in again"
            )
        if status == _INVALID_DEVICE:
            return "HIP_VISIBLE_DEVICES and ROCR_VISIBLE_DEVICES decide which devices there are"
        if not os.path.exists(DEVICE_NODE):
            return (
                f"{DEVICE_NODE} does not exist: the amdgpu driver is not loaded, or not let in here"
            )
        return (
            "no AMD GPU is visible to HIP; HIP_VISIBLE_DEVICES and ROCR_VISIBLE_DEVICES may hide "
            "it, or this ROCm release may not support it"
        )
    if status == _INSUFFICIENT_DRIVER:
        return "the amdgpu driver is older than this ROCm release needs"
    if status in (_NO_BINARY, _SHARED_OBJECT):
        if any(map(has_separate_device_code, search.mapped_files("libMIOpen.so"))):
            return (
                "AMD's Python packages have the code for each architecture in a package of its "
                "own, rocm-sdk-device-gfx...; `mioconv info` names the one that lacks"
            )
        return (
            "the libraries have no code for this GPU's architecture, which `mioconv info` shows; "
            "install the ROCm release that supports it"
        )
    return ""


def miopen_advice(status: int) -> str:
    """What to do about a status of MIOpen that does not say what went wrong.

    Parameters
    ----------
    status : int
        The `miopenStatus_t`.
    """
    if status in (_INTERNAL_ERROR, _UNKNOWN_ERROR):
        return kernel_cache_problem(os.environ) or (
            "MIOpen compiles kernels at their first use; a missing device compiler or a folder "
            "that it cannot write to are usual causes, and MIOPEN_LOG_LEVEL=4 makes it say which"
        )
    return ""


def kernel_cache_problem(environ: Mapping[str, str]) -> str | None:
    """Say that MIOpen cannot keep what it compiles and finds, or None where it can.

    Parameters
    ----------
    environ : mapping
        Environment variables.
    """
    # MIOpen's own rules: the variable, then below the home folder, or without one below that of
    # temporary files. XDG_CACHE_HOME is nothing to it, and with no cache it still wants a database.
    home = environ.get("HOME") or environ.get("TMPDIR") or "/tmp"
    folders = {"MIOPEN_USER_DB_PATH": f"{home}/.config/miopen"}
    if environ.get("MIOPEN_DISABLE_CACHE", "").lower() not in _TRUE:
        folders["MIOPEN_CUSTOM_CACHE_DIR"] = f"{home}/.cache/miopen"
    for variable in folders:
        folders[variable] = environ.get(variable) or folders[variable]
    wrong = [
        f"{variable} ({folder})"
        for variable, folder in folders.items()
        if not _can_write(os.path.expanduser(folder))
    ]
    if not wrong:
        return None
    return (
        f"MIOpen cannot write to {' or '.join(wrong)}, and then refuses every convolution (status "
        f"7); set {' and '.join(MIOPEN_FOLDERS)} to folders that it can write to, or "
        "MIOCONV_MIOPEN_TEMPORARY=1 for folders that last as long as the process"
    )


def _can_write(folder: str) -> bool:
    """Whether a folder takes files, or can be made."""
    while not os.path.exists(folder):
        parent = os.path.dirname(folder)
        if parent in ("", folder):
            return False
        folder = parent
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
