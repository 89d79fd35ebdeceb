"""Running this Python inside a root of genuine MIOpen, in a mount namespace of its own.

The interpreter, the virtual environment and the checkout are mounted where they are outside, so
that what runs there is the very package that was built here. Everything else, the C library first,
is the root's.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from helpers.standin import ROOT, compiler

from .root import LIBRARIES, NotHere

STANDIN: Final = Path(__file__).parent / "standin"
HERE: Final = "/opt/genuine"
PASSED_ON: Final = ("CI", "STANDIN_", "MIOPEN_")

# Library, sources and what its symbols' versions come from, by MIOpen's major.
_HIP: Final = ("hip_*.cpp", "kernels*.cpp")
_BUILDS: Final = {
    "6": {
        "libamdhip64.so.6": (*_HIP, "hip.map"),
        "librocblas.so.4": ("rocblas.cpp",),
    },
    "7": {
        "libamdhip64.so.7": (*_HIP, "hip.map"),
        "librocblas.so.5": ("rocblas.cpp",),
        "libhiprtc.so.7": ("hiprtc.cpp",),
        "libamd_comgr.so.3": ("comgr.cpp", "comgr.map"),
    },
}


def _build(folder: Path, major: str) -> Path:
    """The stand-ins' libraries, made once for each state of their sources."""
    found = compiler()
    if found is None:
        raise NotHere("no C++ compiler")
    sources = sorted(STANDIN.iterdir())
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in [*sources, Path(__file__)]))
    target = ROOT / "build" / "genuine" / f"{folder.name}-{digest.hexdigest()[:12]}"
    if target.exists():
        return target
    work = target.with_name(f"{target.name}.{os.getpid()}")
    work.mkdir(parents=True)
    running = []
    for name, patterns in _BUILDS[major].items():
        parts = sorted(p for pattern in patterns for p in STANDIN.glob(pattern))
        code = [str(p) for p in parts if p.suffix == ".cpp"]
        maps = [f"-Wl,--version-script={p}" for p in parts if p.suffix == ".map"]
        command = [
            *found, "-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror",
            "-D__HIP_PLATFORM_AMD__", "-isystem", str(folder / "headers"), *code,
            "-o", str(work / name), f"-Wl,-soname,{name}", *maps,
        ]  # fmt: skip
        running.append((command, subprocess.Popen(command, stderr=subprocess.PIPE, text=True)))
    for command, process in running:
        _, complaint = process.communicate()
        assert process.returncode == 0, f"{shlex.join(command)}\n{complaint}"
    try:
        work.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(work)
    return target


def _compilers(root: Path) -> None:
    """MIOpen 6's two compilers, at the paths that are in its text (the second is a slip of the
    package: the folder that it was built in)."""
    text = (root / LIBRARIES / "libMIOpen.so.1").read_bytes()
    for path in set(re.findall(rb"/[\w./+-]+/clang(?:\+\+)?-\d+", text)):
        place = root / path.decode().lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(STANDIN / "compiler.sh", place)
        place.chmod(0o755)


def _interpreter() -> list[str]:
    """What has to be mounted for this Python to start."""
    paths = {sys.base_prefix}
    if sys.base_prefix == "/usr":
        paths = {sysconfig.get_path("stdlib"), os.path.realpath(sys.executable)}
        link = sys.executable  # a virtual environment's python may be a link to a link
        while os.path.islink(link):
            link = os.path.join(os.path.dirname(link), os.readlink(link))
            paths.add(link)
    return sorted(path for path in {*paths, sys.prefix, str(ROOT)} if os.path.exists(path))


def _borrowed(root: Path, target: Path) -> None:
    """Copies of the libraries that this Python and the package need and the root lacks."""
    import ml_dtypes
    import numpy as np

    import mioconv

    folders = [Path(sysconfig.get_path("stdlib")) / "lib-dynload"]
    folders += [Path(str(module.__file__)).parent for module in (np, ml_dtypes, mioconv)]
    files = [os.path.realpath(sys.executable)]
    files += [str(p) for folder in folders for p in folder.rglob("*.so*") if p.is_file()]
    done = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False)
    for name, path in set(re.findall(r"^\s*(\S+) => (/\S+)", done.stdout, re.MULTILINE)):
        inside = any(path.startswith(f"{mounted}/") for mounted in _interpreter())
        if not inside and not (root / LIBRARIES / name).exists():
            shutil.copy(path, target / name)


def run(folder: Path, major: str, command: Sequence[str]) -> int:
    """Run a command inside; its exit status. Raises NotHere where this user may not do that."""
    root = folder / "root"
    if major == "6":
        _compilers(root)
    with tempfile.TemporaryDirectory() as borrowed:
        _borrowed(root, Path(borrowed))
        return _run(folder, major, command, borrowed)


def _run(folder: Path, major: str, command: Sequence[str], borrowed: str) -> int:
    root = folder / "root"
    mounts = [(path, path) for path in [*_interpreter(), "/proc", "/dev"]]
    mounts += [(str(_build(folder, major)), f"{HERE}/lib"), (borrowed, f"{HERE}/borrowed")]
    # First, since the checkout may lie in /tmp as well.
    lines = [f"mount -t tmpfs none {shlex.quote(str(root / 'tmp'))}"]
    for source, place in mounts:
        target = root / place.lstrip("/")
        folder_of = target if os.path.isdir(source) else target.parent
        lines.append(f"mkdir -p {shlex.quote(str(folder_of))}")
        if folder_of != target:
            lines.append(f"touch {shlex.quote(str(target))}")
        lines.append(f"mount --rbind {shlex.quote(source)} {shlex.quote(str(target))}")
    environment = {
        "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
        "HOME": "/tmp/home",
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": f"{HERE}/lib:{HERE}/borrowed",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GENUINE": major,
        **{
            k: v
            for k, v in os.environ.items()
            if k == "CI" or k.startswith(("STANDIN_", "MIOPEN_"))
        },
    }
    words = [f"{name}={value}" for name, value in environment.items()]
    lines += [
        f"mkdir {shlex.quote(str(root / 'tmp' / 'home'))}",
        shlex.join(["exec", "env", "-i", *words, shutil.which("chroot") or "/usr/sbin/chroot",
                    str(root), "/bin/sh", "-c", 'cd "$0" && exec "$@"', str(ROOT), *command]),
    ]  # fmt: skip
    space = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
    probe = subprocess.run([*space, "mount", "-t", "tmpfs", "none", str(root / "tmp")],
                           capture_output=True, text=True)  # fmt: skip
    if probe.returncode != 0:
        raise NotHere(f"this user may not mount: {probe.stderr.strip()}")
    return subprocess.run([*space, "sh", "-ec", "\n".join(lines)], check=False).returncode
