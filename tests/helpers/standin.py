"""The recording stand-in for ROCm's libraries: building it, its variants, its journal.

`tests/fakes` has what it does; the wrappers around that, one for each function of functions.def,
are made here from the headers' prototypes.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import c_declarations

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"
HIP, MIOPEN = "libamdhip64.so.6", "libMIOpen.so.1"

# Parameters that name objects with a life time.
_OBJECTS = {
    "miopenHandle_t",
    "miopenTensorDescriptor_t",
    "miopenConvolutionDescriptor_t",
    "miopenActivationDescriptor_t",
    "miopenFusionPlanDescriptor_t",
    "miopenOperatorArgs_t",
    "hipEvent_t",
}
_STREAMS = {"hipStream_t", "miopenAcceleratorQueue_t"}
_SCALARS = re.compile(r"(alpha|beta)\d?")


def compiler() -> list[str] | None:
    """The C++ compiler, or None where there is none."""
    wanted = shlex.split(os.environ.get("CXX") or "")
    candidates = [wanted] if wanted else [["c++"], ["g++"], ["clang++"]]
    return next((c for c in candidates if shutil.which(c[0])), None)


def build_library(source: Path, folder: Path, *flags: str) -> Path:
    """A shared library of one file of ours."""
    found = compiler()
    assert found, "no C++ compiler"
    library = folder / f"{source.stem}.so"
    _run([*found, "-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror",
          str(source), "-o", str(library), *flags])  # fmt: skip
    return library


def build() -> Path:
    """A ROCm root with the two libraries in lib; made once for each state of the sources."""
    found = compiler()
    assert found, "no C++ compiler"
    sources = sorted([*FAKES.iterdir(), *c_declarations.ABI.iterdir(), Path(__file__)])
    key = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:16]
    folder = ROOT / "build" / "fakes" / key
    if folder.exists():
        return folder
    work = folder.with_name(f"{key}.{os.getpid()}")
    libraries = work / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    (work / "hip_wrappers.inc").write_text(_wrappers("HIP", FAKES / "hip.cpp"))
    (work / "miopen_wrappers.inc").write_text(_wrappers("MIOPEN", FAKES / "miopen.cpp"))
    flags = [
        "-std=c++17", "-O1", "-g", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra",
        "-Wno-unused-parameter", "-Wno-unused-function", f"-I{work}", f"-I{FAKES}",
        f"-I{ROOT / 'include'}",
    ]  # fmt: skip
    hip = [str(FAKES / "hip.cpp"), str(FAKES / "journal.cpp"), f"-Wl,-soname,{HIP}", "-ldl"]
    _run([*found, *flags, *hip, "-o", str(libraries / HIP)])
    miopen = [str(FAKES / "miopen.cpp"), str(libraries / HIP), f"-Wl,-soname,{MIOPEN}"]
    _run([*found, *flags, *miopen, "-Wl,-rpath,$ORIGIN", "-o", str(libraries / MIOPEN)])
    try:
        work.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(work)
    return folder


def variant(folder: Path, target: Path, hip_major: int = 6, lacks: tuple[str, ...] = ()) -> Path:
    """A copy with another HIP soname and without some symbols, by renaming them in the files."""
    libraries = target / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    soname = HIP[:-1] + str(hip_major)
    for name in (HIP, MIOPEN):
        data = (folder / "lib" / name).read_bytes()
        data = data.replace(HIP.encode() + b"\0", soname.encode() + b"\0")
        for symbol in lacks:
            # A name with another first letter is not found: the hash of the old one leads to it and
            # the comparison fails.
            data = data.replace(
                b"\0" + symbol.encode() + b"\0", b"\0" + b"_" + symbol[1:].encode() + b"\0"
            )
        (libraries / (soname if name == HIP else name)).write_bytes(data)
    return target


def environment(folder: Path, **options: int) -> dict[str, str]:
    """Variables for a child process that is to find the stand-in as a ROCm installation."""
    from mioconv import providers

    cpu = providers()["cpu"].paths["mioconv's CPU library"]
    return {
        "ROCM_PATH": str(folder),
        "FAKE_ROCM_FORWARD_TO": cpu,
        "FAKE_ROCM_OPTIONS": ",".join(f"{name}={value}" for name, value in options.items()),
    }


# Releases that the tests run against, by the name of the configuration.
_V2 = ("miopenSetTensorDescriptorV2", "miopenGetConvolutionGroupCount")
CONFIGS: dict[str, dict[str, Any]] = {
    # ROCm 5.4: the old properties, memory types and descriptors.
    "hip5": {
        "hip_major": 5,
        "lacks": (*_V2, "hipGetDevicePropertiesR0600", "hipStreamGetDevice"),
        "options": {"hip_version": 50422804, "miopen_version": 2019000, "no_math_type": 1},
        "select": "versions or numbers or calls",
    },
    # ROCm 6.2, and everything.
    "hip6": {"hip_major": 6, "options": {"no_math_type": 1}, "select": ""},
    # ROCm 7: memory pools, and errors that stay until they are asked for.
    "hip7": {
        "hip_major": 7,
        "lacks": ("hipGetDeviceProperties", "miopenSetConvolutionFindMode"),
        "options": {"hip_version": 70151831, "miopen_version": 3005001, "memory_pools": 1},
        "select": "versions or faults or calls or streams",
    },
}


def child_environment(config: str) -> dict[str, str]:
    """All that a child process needs to find the stand-in of a configuration."""
    wanted = CONFIGS[config]
    made = build()
    root = made.with_name(f"{made.name}-{config}")
    if not root.exists():
        variant(made, root, wanted["hip_major"], wanted.get("lacks", ()))
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MIOCONV_")},
        **environment(root, **wanted["options"]),
        "FAKE_ROCM_CONFIG": config,
        "MIOCONV_CACHE": "0",
    }


def run_tests(config: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tests/rocm in a child process."""
    select = CONFIGS[config]["select"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(ROOT / "tests" / "rocm"),
        "-q",
        "-rN",
        "-p",
        "no:cacheprovider",
        *(["-k", select] if select else []),
        *arguments,
    ]
    return subprocess.run(
        command, capture_output=not arguments, text=True, env=child_environment(config),
        cwd=ROOT, timeout=600,
    )  # fmt: skip


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"


def _wrappers(library: str, source: Path) -> str:
    """C++ that exports every function of one library."""
    overridden = set(re.findall(r"OVERRIDE\((\w+)\)", source.read_text()))
    for family in ("Forward", "BackwardData", "BackwardWeights"):
        for name in [n for n in overridden if "##Name##" in n]:
            overridden.add(name.replace("##Name##", family))
    overridden |= {
        f"miopenConvolution{family}{what}"
        for family in ("Forward", "BackwardData", "BackwardWeights")
        for what in re.findall(r"OVERRIDE\(miopenConvolution##Name##(\w+)\)", source.read_text())
    }
    prototypes = {
        **c_declarations.parse("hip.h").prototypes,
        **c_declarations.parse("miopen.h").prototypes,
    }
    rows = [f for f in c_declarations.functions() if f.library == library]
    return "\n".join(_wrapper(prototypes[f.name], f.name in overridden) for f in rows)


def _wrapper(prototype: c_declarations.Prototype, overridden: bool) -> str:
    name = prototype.name
    pairs = list(zip(prototype.types, prototype.parameters, strict=True))
    hip = name.startswith("hip")
    lines = [
        f"FAKE_EXPORT {prototype.result} {name}({', '.join(f'{t} {n}' for t, n in pairs)}) {{",
        f'    fake::Call call("{name}", {str(hip).lower()});',
    ]
    count = next((n for _, n in pairs if n in ("nbDims", "dimsA_size", "spatialDim")), None)
    for type_, parameter in pairs:
        kind = type_.replace("const ", "")
        if type_ == "const void *" and _SCALARS.fullmatch(parameter):
            lines.append(f'    call.scalar("{parameter}", {parameter});')
        elif count and type_ in ("const int *", "const size_t *"):
            lines.append(f'    call.list("{parameter}", {parameter}, {count});')
        elif kind in ("double", "float", "int", "bool", "size_t", "uint64_t", "unsigned int"):
            lines.append(f'    call.add("{parameter}", {parameter});')
        elif kind.endswith("_t") and not kind.endswith("*"):
            lines.append(f'    call.add("{parameter}", {parameter});')
            if kind in _OBJECTS and "Destroy" not in name:
                lines.append(f"    call.used({parameter});")
        elif kind.endswith("*"):
            lines.append(f'    call.add("{parameter}", static_cast<const void*>({parameter}));')
    if "Destroy" in name and pairs and pairs[0][0].replace("const ", "") in _OBJECTS:
        # Also where it is to fail: nobody can end it again.
        lines.append(f"    call.ended({pairs[0][1]});")
    handle = next((n for t, n in pairs if t.replace("const ", "") == "miopenHandle_t"), None)
    if handle:
        lines.append(f"    call.alone({handle});")
    if re.search(r"GetSolution(Count)?$|^miopenFind", name):
        lines.append("    call.alone(&fake::heuristics);")
    text = prototype.result == "const char *"
    if not text and name not in ("hipGetLastError",):
        lines += [
            "    if (int status = 0; call.fails(&status))",
            f"        return call.done(static_cast<{prototype.result}>(status));",
        ]
    arguments = ", ".join(
        "nullptr" if t.replace("const ", "") in _STREAMS and not overridden else n for t, n in pairs
    )
    target = f"fake::{name}" if overridden else f'fake::forward<decltype(::{name})>("{name}")'
    lines.append(f"    const auto answer = {target}({arguments});")
    made = next((n for t, n in pairs if t[:-2] in _OBJECTS and t.endswith(" *")), None)
    if made and "Create" in name:
        lines.append(f"    if (answer == 0) call.made(*{made});")
    lines.append(
        "    return answer;"
        if text or name == "hipGetLastError"
        else "    return call.done(answer);"
    )
    return "\n".join([*lines, "}", ""])


class Standin:
    """The loaded stand-in of this process, for tests that run with it."""

    def __init__(self) -> None:
        # The loader of mioconv opens it privately: the path of the copy that is mapped finds it.
        maps = Path("/proc/self/maps").read_text()
        path = re.search(r"\S+/libamdhip64\.so\.\d", maps)
        assert path, "the stand-in is not loaded"
        self._library = ctypes.CDLL(path[0])
        self._owned: list[int] = []
        for name in ("journal", "violations", "live"):
            getattr(self._library, f"fake_{name}").restype = ctypes.c_char_p
        self._library.fake_own.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
            ctypes.c_int,
        ]
        self._library.fake_set.argtypes = [ctypes.c_char_p, ctypes.c_int64]
        self._library.fake_fail.argtypes = [
            ctypes.c_char_p,
            ctypes.c_int64,
            ctypes.c_int,
            ctypes.c_int,
        ]

    def set(self, **options: int) -> None:
        for name, value in options.items():
            self._library.fake_set(name.encode(), value)

    def clear(self) -> None:
        """Forget the journal so far."""
        self._library.fake_clear()

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Calls since `clear`: call, status, on (the current device), args."""
        calls: list[dict[str, Any]] = json.loads(self._library.fake_journal())
        return calls

    def names(self, *patterns: str) -> list[str]:
        """Functions called since `clear`, in order; only those that match a pattern, if any."""
        names = [call["call"] for call in self.journal]
        return [n for n in names if not patterns or any(re.search(p, n) for p in patterns)]

    def calls(self, pattern: str) -> list[dict[str, Any]]:
        return [call for call in self.journal if re.search(pattern, call["call"])]

    @property
    def violations(self) -> list[str]:
        found: list[str] = json.loads(self._library.fake_violations())
        return found

    @property
    def live(self) -> list[str]:
        """The functions that made what lives now."""
        names: list[str] = sorted(json.loads(self._library.fake_live()))
        return names

    @property
    def allocations(self) -> int:
        """Blocks of device memory that are not freed."""
        return int(self._library.fake_allocations())

    def own(self, data: int, size: int, device: int = 0, kind: int = 0) -> None:
        """Declare host memory to be a device's (kind 0), managed (1) or pinned (2)."""
        self._owned.append(data)
        self._library.fake_own(data, size, device, kind)

    def disown(self) -> None:
        """Take back what `own` declared."""
        for data in self._owned:
            self._library.fake_own(data, 0, 0, 0)
        self._owned.clear()

    def fail(self, function: str = "", nth: int = 1, hip: int = 999, miopen: int = 7) -> None:
        self._library.fake_fail(function.encode(), nth, hip, miopen)

    def end_fault(self) -> bool:
        """Stop failing; whether anything failed."""
        return bool(self._library.fake_end_fault())

    @property
    def current_device(self) -> int:
        return int(self._library.fake_current_device())

    def make_current(self, device: int) -> None:
        self._library.fake_make_current(device)


if __name__ == "__main__":
    sys.exit(run_tests(sys.argv[1], *(sys.argv[2:] or ["-q"])).returncode)
