"""A folder with Debian's genuine libMIOpen and what it needs to be loaded: a root for chroot.

Debian's packages are taken apart, not installed: fourteen of them, 10 MB to fetch for MIOpen 6.
The HIP runtime, rocBLAS (4 GB installed) and the compilers are not among them; `standin/` stands
in. apt resolves the rest, with a state of its own that takes those for installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIRROR: Final = os.environ.get("GENUINE_MIRROR", "http://deb.debian.org/debian")
KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"


class NotHere(Exception):
    """This machine cannot make such a root, or the packages are gone: no pass and no failure."""


@dataclass(frozen=True)
class Release:
    """One major of MIOpen as Debian has it."""

    major: str
    suite: str
    headers: tuple[str, ...]  # packages that the stand-ins are built against
    stood_in: tuple[str, ...]  # packages that are not fetched
    more: tuple[str, ...] = ()


RELEASES: Final = {
    "6": Release(
        "6",
        "sid",
        ("libamdhip64-dev", "librocblas-dev"),
        ("libamdhip64-6", "librocblas4", "libhiprtc-builtins6", "libclang-common-21-dev"),
    ),
    "7": Release(
        "7",
        "experimental",
        ("libamdhip64-dev", "librocblas-dev", "libamd-comgr-dev"),
        ("libamdhip64-7", "librocblas5", "libhiprtc-builtins7", "libhiprtc7", "libamd-comgr3",
         "libclang-common-22-dev"),
        ("libmiopen-tests-data",),  # its databases
    ),
}  # fmt: skip


def cache() -> Path:
    """Where roots are kept between runs, some 50 MB for MIOpen 6 and 900 MB for 7."""
    given = os.environ.get("GENUINE_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else base / "mioconv-genuine"


def make(major: str) -> Path:
    """The root of a release: `root` below it, `headers` beside. Made where it is not there yet for
    the versions that Debian has now; where Debian does not answer, the newest that was made."""
    try:
        archives = _Apt(RELEASES[major])
        folder = cache() / f"{major}-{archives.key()}"
        if not folder.exists():
            archives.unpack(folder)
            prune(major)
        os.utime(folder)
    except NotHere:
        made = sorted(cache().glob(f"{major}-*"), key=lambda path: path.stat().st_mtime)
        made = [path for path in made if "." not in path.name]
        if not made:
            raise
        return made[-1]
    return folder


def prune(major: str) -> None:
    """Remove a release's roots that nobody has used for a month, and what is left of processes that
    ended while they made one."""
    for path in cache().glob(f"{major}-*"):
        process = path.suffix[1:]
        if process.isdigit():
            unused = not Path("/proc", process).exists()
        else:
            unused = time.time() - path.stat().st_mtime > 30 * 24 * 3600
        if unused:
            shutil.rmtree(path, ignore_errors=True)


class _Apt:
    """apt with a state of its own, in which what is stood in for is installed."""

    def __init__(self, release: Release) -> None:
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise NotHere(f"no {tool} on this machine")
        self.release = release
        self.state = cache() / f"apt-{release.major}"
        for part in ("lists/partial", "archives/partial"):
            (self.state / part).mkdir(parents=True, exist_ok=True)
        suites = dict.fromkeys(("sid", release.suite))
        (self.state / "sources").write_text(
            "".join(f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n" for suite in suites)
        )
        (self.state / "status").write_text(
            "".join(
                f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
                "Version: 99:99\nMaintainer: none\nDescription: stood in for\n\n"
                for name in release.stood_in
            )
        )
        # A mirror that stands still has an expired Release file.
        (self.state / "conf").write_text(
            f'Dir::State "{self.state}"; Dir::State::status "{self.state}/status";\n'
            f'Dir::Cache "{self.state}"; Dir::Etc::sourcelist "{self.state}/sources";\n'
            f'Dir::Etc::sourceparts "/dev/null"; Dir::Etc::preferencesparts "/dev/null";\n'
            'APT::Architecture "amd64"; APT::Install-Recommends "false";\n'
            'APT::Sandbox::User "root"; Acquire::Languages "none";\n'
            'Acquire::Check-Valid-Until "false"; Acquire::Retries "3";\n'
        )
        self._run("apt-get", "update", "-qq")

    def _run(self, *command: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self.state / "conf"), "LC_ALL": "C"}
        done = subprocess.run(
            command, env=environment, cwd=cwd, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise NotHere(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _install(self, *options: str) -> str:
        suite = ("-t", self.release.suite)
        # dash: MIOpen starts its compilers by a shell.
        wanted = ("libmiopen1", "dash", *self.release.more)
        return self._run("apt-get", "install", "-y", "-qq", *suite, *options, *wanted)

    def key(self) -> str:
        """libMIOpen's version and a digest of all packages' versions."""
        files = [line.split()[1] for line in self._install("--print-uris").splitlines()]
        (ours,) = (name for name in files if name.startswith("libmiopen1_"))
        version = ours.split("_")[1]
        if not version.startswith(f"{self.release.major}."):
            raise NotHere(f"Debian's {self.release.suite} has no MIOpen {self.release.major} now, "
                          f"but {version}")  # fmt: skip
        digest = hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()[:12]
        return f"{version.split('+')[0].split('-')[0].replace('.', '_')}-{digest}"

    def unpack(self, folder: Path) -> None:
        """Fetch the packages and lay them out; the folder appears when it is complete."""
        work = folder.with_name(f"{folder.name}.{os.getpid()}")
        root, headers, debs = work / "root", work / "headers", work / "debs"
        for part in ("bin", "lib", "lib64", "sbin"):
            (root / "usr" / part).mkdir(parents=True)
            (root / part).symlink_to(f"usr/{part}")
        for part in ("tmp", "proc", "dev", "etc", "root", "opt/genuine"):
            (root / part).mkdir(parents=True)
        (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        debs.mkdir(parents=True)
        self._install("--download-only", "-o", f"Dir::Cache::archives={debs}/")
        for deb in sorted(debs.glob("*.deb")):
            self._run("dpkg-deb", "-x", str(deb), str(root))
        (debs / "headers").mkdir()
        for name in self.release.headers:
            suite = f"{name}/{self.release.suite}"
            self._run("apt-get", "download", "-qq", suite, cwd=debs / "headers")
        for deb in (debs / "headers").glob("*.deb"):
            self._run("dpkg-deb", "-x", str(deb), str(debs / "x"))
        shutil.move(debs / "x" / "usr" / "include", headers)
        shutil.rmtree(debs)
        try:
            work.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(work)
