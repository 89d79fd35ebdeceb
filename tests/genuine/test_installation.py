"""What MIOpen says and needs around a call: stderr, its folders, device memory, faults, leaks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .processes import child

# Unavoidable: Debian's packages lack an assembler and some kernels' sources.
KNOWN = re.compile(r"assembler|Failed to load kernel source|FindRecordUnsafe|Failed to launch")


def test_stderr() -> None:
    """The attribute for TF32 is asked for once at most; nothing else is said."""
    _, stderr = child(
        "for n in range(3):\n"
        "    conv(); conv(padding=n)\n"
        "    mioconv.conv2d_backward(Tensor(x), Tensor(exact.astype('f4')), Tensor(w))\n"
        "last = lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)\n"
        "x, w = last(x), last(w)\n"
        "for exclude in ('*Gemm*', '*'):\n"
        "    try: conv(exclude=exclude)\n"
        "    except mioconv.NoSolutionError: pass\n"
    )
    lines = [line for line in stderr.splitlines() if not KNOWN.search(line)]
    asked = [line for line in lines if "Attribute [3]" in line]
    assert len(asked) <= 1
    assert lines == asked


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """An error that names the two variables; with MIOCONV_MIOPEN_TEMPORARY it goes on."""
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "try:\n    print(right(conv()))\n"
        "except mioconv.MioconvError as error:\n    print(error)\n"
    )
    file = tmp_path / "file"
    file.touch()
    nowhere = {"HOME": str(file), "MIOPEN_USER_DB_PATH": "", "MIOPEN_CUSTOM_CACHE_DIR": ""}
    out, _ = child(code, **nowhere)
    assert "MIOpen cannot write to" in out
    assert "set MIOPEN_USER_DB_PATH and MIOPEN_CUSTOM_CACHE_DIR" in out
    assert "MIOCONV_MIOPEN_TEMPORARY=1" in out
    more = "import os; print(os.environ['MIOPEN_USER_DB_PATH'])\n"
    out, _ = child(code + more, **nowhere, MIOCONV_MIOPEN_TEMPORARY="1")
    verdict, folder = out.splitlines()
    assert verdict == "True"
    assert not Path(folder).exists(), "it was removed at the end"


WORK = """
import warnings; warnings.simplefilter('ignore')
g = exact.astype('f4')
b = np.ones(6, 'f4')
last = lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
def everything():
    for k in ({}, {'benchmark': True}, {'deterministic': True}):
        assert right(conv(**k)), k
        mioconv.conv2d_backward(Tensor(x), Tensor(g), Tensor(w), **k)
        mioconv.conv2d_forward(Tensor(last(x)), Tensor(last(w)), Tensor(b), **k)
        mioconv.conv2d_relu_forward(Tensor(x), Tensor(w), Tensor(b), **k)
        mioconv.conv2d_forward(Tensor(x[:, :, ::2]), Tensor(w), **k)
"""


def test_fresh_memory_holds_nan(tmp_path: Path) -> None:
    """Every byte of new device memory is 255. At the end nothing was misused, and only MIOpen's own
    modules and the pooled handles' memory are alive."""
    report = tmp_path / "report"
    child(WORK + "everything()\n", STANDIN_FILL="255", STANDIN_REPORT=str(report))
    text = report.read_text()
    assert "MISUSE" not in text
    alive = re.search(
        r"alive: (\d+) allocations \((\d+) bytes\), (\d+) streams, (\d+) events", text
    )
    assert alive
    assert int(alive[2]) == 0
    assert int(alive[1]) < 1 << 20, text


@pytest.mark.parametrize("devices", ["2"])
def test_devices_streams_and_threads(devices: str) -> None:
    out, _ = child(
        WORK + "from threading import Thread\n"
        "found = []\n"
        "def work(n):\n"
        "    on = n % 2\n"
        "    for _ in range(5):\n"
        "        y = mioconv.conv2d_forward(Tensor(x, on), Tensor(w, on))\n"
        "        found.append(right(read(y)) and y.device == f'rocm:{on}')\n"
        "threads = [Thread(target=work, args=(n,)) for n in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(len(found), all(found))\n",
        STANDIN_DEVICES=devices,
    )
    assert out == "20 True"


FUNCTIONS = [
    "hipMalloc", "hipFree", "hipMemsetAsync", "hipMemcpyAsync", "hipGetDevice", "hipSetDevice",
    "hipEventCreateWithFlags", "hipEventRecord", "hipEventSynchronize", "hipEventElapsedTime",
    "hipModuleLoadData", "hipModuleLoad", "hipModuleGetFunction", "hipModuleLaunchKernel",
    "hipExtModuleLaunchKernel", "hipStreamSynchronize", "hipGetDevicePropertiesR0600",
    "hipDeviceGetAttribute", "hipMemGetInfo", "hipPointerGetAttributes", "hipInit",
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_hip_function_fails(function: str) -> None:
    """At its first or fourth call: a right result or an error, and then all goes on."""
    for nth in (1, 4):
        out, _ = child(
            WORK + "verdicts = []\n"
            "for k in ({}, {'benchmark': True}, {}, {}):\n"
            "    try:\n        verdicts.append(right(conv(**k)))\n"
            "    except mioconv.MioconvError as e:\n        verdicts.append(type(e).__name__)\n"
            "    mioconv.cache_clear(); mioconv.empty_cache()\n"
            "print(verdicts)\n",
            STANDIN_FAIL=f"{function}:{nth}",
        )
        verdicts = eval(out)
        assert False not in verdicts, "a wrong result"
        assert verdicts[-1] is True, f"call {nth}: {verdicts}"
