"""Provider libraries that are missing or broken: one documented error, word for word every time.

Everything runs in child processes: a provider is loaded once in a process, and its outcome kept.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mioconv

TESTS = Path(__file__).parent

CHILD = """
import json, sys
import numpy as np
import mioconv
sys.path.insert(0, sys.argv[1])
from helpers.tensors import BareTensor

x, w = np.ones((1, 1, 4, 4), "f4"), np.ones((1, 1, 3, 3), "f4")
device = json.loads(sys.argv[2])
if device is not None:
    x, w = (BareTensor(a, device=tuple(device)) for a in (x, w))
texts, kinds, result = [], [], None
for _ in range(2):
    try:
        result = mioconv.conv2d_forward(x, w)
    except Exception as error:
        kinds.append([c.__name__ for c in type(error).__mro__])
        texts.append(str(error))
infos = {
    name: {"available": info.available, "error": info.error, "missing": list(info.missing)}
    for name, info in mioconv.providers().items()
}
print(json.dumps({
    "texts": texts, "kinds": kinds, "providers": infos,
    "result": None if result is None else np.asarray(result).tolist(),
}))
"""


def run(device: tuple[int, int] | None = None, **variables: str) -> dict[str, Any]:
    """What a child sees with these environment variables."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MIOCONV_")}
    environment |= {"MIOCONV_CACHE": "0", **variables}
    command = [sys.executable, "-c", CHILD, str(TESTS), json.dumps(device)]
    child = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, cwd=TESTS
    )
    assert child.returncode == 0, child.stderr
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of the cpu provider with what lies beside it, to break at will."""
    (path,) = mioconv.providers()["cpu"].paths.values()
    original = Path(path)
    for sibling in original.parent.glob("lib*.so*"):
        shutil.copy(sibling, tmp_path / sibling.name)
    return tmp_path / original.name


def refused(answer: dict[str, Any], *words: str) -> None:
    """ProviderNotFoundError twice with the same text, which has all the words."""
    assert answer["result"] is None
    assert len(answer["texts"]) == 2
    assert answer["texts"][0] == answer["texts"][1], "the remembered failure reads differently"
    assert all(kinds[:2] == ["ProviderNotFoundError", "MioconvError"] for kinds in answer["kinds"])
    text = answer["texts"][0]
    missing = [word for word in words if word not in text]
    assert not missing, f"{missing} not in {text!r}"


def test_a_copy_works(library: Path) -> None:
    """What the tests below break is whole before."""
    answer = run(MIOCONV_CPU_LIBRARY=str(library))
    assert answer["texts"] == []
    assert answer["result"] == [[[[9, 9], [9, 9]]]]


def test_missing(tmp_path: Path) -> None:
    path = str(tmp_path / "libmioconv_cpu.so")
    answer = run(MIOCONV_CPU_LIBRARY=path)
    refused(answer, "cpu", path, "MIOCONV_CPU_LIBRARY", "cannot open shared object file",
            "Available providers")  # fmt: skip
    assert answer["providers"]["cpu"]["available"] is False
    assert path in answer["providers"]["cpu"]["error"]


def test_renamed(library: Path) -> None:
    """The file is there under another name; the old one is reported."""
    library.rename(library.with_name("other.so"))
    refused(run(MIOCONV_CPU_LIBRARY=str(library)), str(library), "cannot open shared object file")
    assert run(MIOCONV_CPU_LIBRARY=str(library.with_name("other.so")))["texts"] == []


@pytest.mark.parametrize("size", [0, 100, 4096])
def test_truncated(library: Path, size: int) -> None:
    library.write_bytes(library.read_bytes()[:size])
    refused(run(MIOCONV_CPU_LIBRARY=str(library)), str(library), "MIOCONV_CPU_LIBRARY")


def test_not_a_library(library: Path) -> None:
    library.write_text("This is a text.\n" * 500)
    refused(run(MIOCONV_CPU_LIBRARY=str(library)), str(library), "invalid ELF header")


def test_dependency_missing(library: Path) -> None:
    """The library is there and what it needs is not: the loader's words say which."""
    for sibling in library.parent.glob("libdnnl*"):
        sibling.unlink()
    if run(MIOCONV_CPU_LIBRARY=str(library))["result"] is not None:
        pytest.skip("this build has oneDNN from the system or inside")
    refused(run(MIOCONV_CPU_LIBRARY=str(library)), "libdnnl.so", "cannot open shared object file")


def rename_symbol(library: Path, name: str) -> None:
    """Make an exported name disappear: its last letter changes in the string table."""
    data, old = library.read_bytes(), b"\0" + name.encode() + b"\0"
    assert data.count(old) >= 1
    library.write_bytes(data.replace(old, old[:-2] + b"_\0"))


@pytest.mark.parametrize("name", ["miopenConvolutionForwardImmediate", "hipMalloc"])
def test_required_symbol_missing(library: Path, name: str) -> None:
    """Named, with the file that lacks it."""
    rename_symbol(library, name)
    refused(run(MIOCONV_CPU_LIBRARY=str(library)), name, str(library))


def test_another_library(library: Path) -> None:
    """A real library that is not a provider at all."""
    (dnnl,) = list(library.parent.glob("libdnnl.so.?"))[:1] or [None]
    if dnnl is None:
        pytest.skip("no other shared library at hand")
    refused(run(MIOCONV_CPU_LIBRARY=str(dnnl)), str(dnnl), "has no function")


def test_optional_symbol_missing(library: Path) -> None:
    """Its feature is off, and `providers()` says so; everything else works."""
    rename_symbol(library, "mioconvDescribe")
    answer = run(MIOCONV_CPU_LIBRARY=str(library))
    assert answer["texts"] == []
    assert "mioconvDescribe" in answer["providers"]["cpu"]["missing"]


@pytest.mark.parametrize(("provider", "device"), [("rocm", (10, 0)), ("cuda", (2, 0))])
def test_gpu_tensor_without_its_provider(provider: str, device: tuple[int, int]) -> None:
    """Without that GPU: which library, where it was searched, what there is instead."""
    if mioconv.providers()[provider].available:
        pytest.skip(f"the {provider} provider is here")
    variables = {"rocm": "MIOCONV_MIOPEN_LIBRARY", "cuda": "MIOCONV_CUDA_LIBRARY"}
    answer = run(device)
    refused(answer, provider, variables[provider], "searched", "Available providers: cpu")
    assert answer["providers"]["cpu"]["available"] is True


def test_explicit_path_decides_alone(tmp_path: Path) -> None:
    """A variable that is set and wrong is an error, not a reason to search on."""
    wrong = str(tmp_path / "nothing" / "libMIOpen.so.1")
    refused(run((10, 0), MIOCONV_MIOPEN_LIBRARY=wrong), wrong, "MIOCONV_MIOPEN_LIBRARY")


def test_providers_never_raises() -> None:
    infos = mioconv.providers()
    assert list(infos) == ["cpu", "rocm", "cuda"]
    assert infos["cpu"].available
    assert infos["cpu"].error is None
    assert infos["cpu"].devices
    for info in infos.values():
        assert info.available or info.error


def test_version_info() -> None:
    import numpy as np

    mioconv.conv1d_forward(np.ones((1, 1, 2), "f4"), np.ones((1, 1, 1), "f4"))
    info = mioconv.get_version_info()
    assert info["mioconv"] == mioconv.__version__
    assert info["numpy"] == np.__version__
    assert info["providers"]["cpu"]["onednn"] >= (3, 2, 0)
    assert info["providers"]["cpu"] == mioconv.providers()["cpu"].versions
