"""The AMD path through a recording stand-in for ROCm's libraries (tests/fakes).

Every configuration is a child process that runs the tests in tests/rocm. By hand:

    python -m helpers.standin hip6 -x -k streams     (in tests/)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import c_declarations, standin

needs_compiler = pytest.mark.skipif(
    standin.compiler() is None, reason="no C++ compiler to build the stand-in with"
)


@needs_compiler
@pytest.mark.parametrize("config", standin.CONFIGS)
def test_configuration(config: str) -> None:
    done = standin.run_tests(config)
    assert done.returncode == 0, done.stdout + done.stderr


# --- installations that do not work ---------------------------------------------------------------

TENSOR = """
import numpy as np, mioconv, sys, warnings
sys.path.insert(0, {tests!r})
from helpers.rocm import Tensor
x, w = np.ones((1, 2, 4, 4), np.float32), np.ones((3, 2, 2, 2), np.float32)
b, y = np.ones(3, np.float32), np.ones((1, 3, 3, 3), np.float32)
def on_rocm():
    return mioconv.conv2d_forward(Tensor(x), Tensor(w))
def error():
    try:
        on_rocm()
    except Exception as error:
        return f"{{type(error).__name__}}: {{error}}"
    return "no error"
"""


def child(code: str, env: dict[str, str], **more: str) -> str:
    """What a child process with these variables prints."""
    source = TENSOR.format(tests=str(standin.ROOT / "tests")) + code
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True,
        env={**env, **more},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def with_options(**options: int) -> dict[str, str]:
    env = standin.child_environment("hip6")
    env["FAKE_ROCM_OPTIONS"] += "," + ",".join(f"{k}={v}" for k, v in options.items())
    return env


@needs_compiler
@pytest.mark.parametrize(
    ("status", "words"),
    [(100, "/dev/kfd"), (3, "/dev/kfd"), (304, "/dev/kfd"), (35, "driver is older")],
)
def test_no_device(status: int, words: str) -> None:
    """The libraries are there and no GPU is: an error at the first use, the CPU goes on."""
    if os.path.exists("/dev/kfd"):
        words = "HIP_VISIBLE_DEVICES|driver is older|this user may not open"
    out = child(
        "print(error()); print(error())\n"
        "assert mioconv.conv2d_forward(x, w).shape == (1, 3, 3, 3)\n"
        "info = mioconv.providers()['rocm']\n"
        "print(info.available, info.devices, info.error)\n"
        "from mioconv.cli import main; main(['info'])\n",
        with_options(no_device=status),
    )
    first, second, info, *shown = out.splitlines()
    assert first == second
    assert first.startswith("StatusError: hip")
    assert f"returned status {status} " in first
    assert re.search(words, first)
    assert info.startswith("True () hipGetDeviceCount returned status")
    assert any("rocm: available" in line for line in shown)
    assert any(f"returned status {status}" in line for line in shown)
    assert any("libMIOpen.so.1" in line for line in shown)


@needs_compiler
def test_no_permission() -> None:
    """A device node that this user may not open is named, with what to do."""
    out = child(
        "from mioconv._loader import advice\n"
        "advice.DEVICE_NODE = '/dev/null'\n"
        "may = advice.os.access\n"
        "advice.os.access = lambda path, mode: path != '/dev/null' and may(path, mode)\n"
        "print(error())\n",
        with_options(no_device=100),
    )
    assert "this user may not open /dev/null; add it to the groups" in out


@needs_compiler
def test_wrong_architecture() -> None:
    out = child(
        "mioconv.providers()\n"
        "from helpers.standin import Standin\n"
        "s = Standin(); s.fail('miopenCreateWithStream', hip=209, miopen=7); print(error())\n"
        "s.fail('hipGetDevicePropertiesR0600', hip=209); mioconv.providers()\n"
        "s.end_fault(); s.fail('hipMalloc', 1, 209); print(error()); s.end_fault()\n"
        "on_rocm()\n",
        standin.child_environment("hip6"),
    )
    launch, memory = out.splitlines()
    assert "MIOPEN_LOG_LEVEL" in launch
    assert "no code for this GPU's architecture" in memory


@needs_compiler
def test_miopen_is_missing(tmp_path: Path) -> None:
    """HIP without MIOpen says which of the two is missing, and where HIP is."""
    env = standin.child_environment("hip6")
    root = Path(env["ROCM_PATH"])
    (tmp_path / "lib").mkdir()
    shutil.copy(root / "lib" / standin.HIP, tmp_path / "lib")
    out = child("print(error()); mioconv.conv2d_forward(x, w)", env, ROCM_PATH=str(tmp_path))
    assert out.startswith("ProviderNotFoundError: the rocm provider is not available: MIOpen was")
    assert f"The HIP runtime is there, unopened: {tmp_path}/lib/{standin.HIP}" in out
    assert "MIOCONV_MIOPEN_LIBRARY" in out
    assert "Available providers: cpu." in out


@needs_compiler
@pytest.mark.parametrize(
    ("symbol", "library"),
    [("miopenConvolutionForwardImmediate", "MIOpen"), ("hipStreamWaitEvent", "HIP")],
)
def test_required_symbol_is_missing(tmp_path: Path, symbol: str, library: str) -> None:
    env = standin.child_environment("hip6")
    root = standin.variant(standin.build(), tmp_path / "rocm", 6, (symbol,))
    out = child("print(error()); print(error())", env, ROCM_PATH=str(root))
    assert f"this {library} library has no function {symbol}, which {library}" in out
    assert str(root) in out
    assert out.count(symbol) == 2, "the failure is remembered"


# A function, and what is refused by its name where the library lacks it.
OPTIONAL = {
    "miopenSetTensor": "conv2d_forward(Tensor(x[:, :, ::2]), Tensor(w))",
    "miopenConvolutionForwardBias": "conv2d_forward(Tensor(x), Tensor(w), Tensor(b))",
    "miopenConvolutionBackwardBias": "conv2d_backward_bias(Tensor(x))",
    "miopenCreateActivationDescriptor": "conv2d_relu_forward(Tensor(x), Tensor(w))",
    "miopenOpTensor": "conv2d_add_relu_forward(Tensor(x), Tensor(w), Tensor(y))",
}


@needs_compiler
def test_optional_symbols_are_missing(tmp_path: Path) -> None:
    """Without any of them convolutions run; each feature is refused by the function's name."""
    optional = [
        f.name
        for f in c_declarations.functions()
        if f.need == "OPTIONAL" and f.library != "MIOCONV"
    ]
    optional.remove("hipGetDeviceProperties")  # one of the two must be there for the architecture
    env = standin.child_environment("hip6")
    root = standin.variant(standin.build(), tmp_path / "rocm", 6, tuple(optional))
    code = "on_rocm(); mioconv.conv2d_relu_forward\n"
    code += "g = mioconv.conv2d_backward(Tensor(x), Tensor(y), Tensor(w),"
    code += " output_mask=(True, True, False))\n"
    code += (
        "on = mioconv.providers()['rocm']; print(len(on.missing), on.devices[0]['architecture'])\n"
    )
    for expression in OPTIONAL.values():
        code += (
            f"try:\n    mioconv.{expression}\nexcept mioconv.UnsupportedError as e:\n    print(e)\n"
        )
    first, *refused = child(code, env, ROCM_PATH=str(root)).splitlines()
    count, architecture = first.split()
    assert int(count) == len(optional)
    assert architecture.startswith("gfx90a")
    assert len(refused) == len(OPTIONAL)
    for symbol, text in zip(OPTIONAL, refused, strict=True):
        assert symbol in text


# --- first use ------------------------------------------------------------------------------------


@needs_compiler
def test_folders_that_miopen_cannot_write(tmp_path: Path) -> None:
    """One warning, at the first use; the call itself goes on."""
    env = standin.child_environment("hip6")
    blocked = tmp_path / "file"
    blocked.write_text("")
    code = (
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    on_rocm(); on_rocm()\n"
        "for w in caught: print(w.category.__name__, w.message)\n"
        "print('cannot write' in (mioconv.providers()['rocm'].note or ''))\n"
    )
    unset = {k: v for k, v in env.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    # Without a home it is that of temporary files; the cache switched off leaves the database.
    for where in (
        {"HOME": str(blocked)}, {"TMPDIR": str(blocked)},
        {"HOME": str(blocked), "MIOPEN_DISABLE_CACHE": "1"},
    ):  # fmt: skip
        warned, noted = child(code, {**unset, **where}).splitlines()
        assert warned.startswith("RuntimeWarning MIOpen cannot write to MIOPEN_USER_DB_PATH (")
        assert noted == "True"
    by_cache = {"HOME": str(blocked), "MIOPEN_USER_DB_PATH": str(tmp_path),
                "XDG_CACHE_HOME": str(tmp_path)}  # fmt: skip
    warned, noted = child(code, {**unset, **by_cache}).splitlines()
    assert warned.startswith("RuntimeWarning MIOpen cannot write to MIOPEN_CUSTOM_CACHE_DIR (")
    for fine in (
        {}, {"HOME": str(tmp_path)}, {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(blocked)},
        {**by_cache, "MIOPEN_DISABLE_CACHE": "1"},
    ):  # fmt: skip
        assert child(code, {**unset, **fine}) == "False\n"
    set_apart = {"MIOPEN_USER_DB_PATH": str(tmp_path), "MIOPEN_CUSTOM_CACHE_DIR": str(tmp_path)}
    assert child(code, {**unset, **set_apart}) == "False\n"
    # A folder of this process's own, where none was named; it is removed at the end.
    blocked = {"HOME": str(blocked), "MIOPEN_USER_DB_PATH": str(tmp_path)}
    code += (
        "import os\nprint(os.environ['MIOPEN_USER_DB_PATH'])\n"
        "folder = os.environ['MIOPEN_CUSTOM_CACHE_DIR']\nprint(os.path.isdir(folder), folder)\n"
    )
    noted, kept, made = child(code, {**unset, **blocked}, MIOCONV_MIOPEN_TEMPORARY="1").splitlines()
    assert (noted, kept) == ("False", str(tmp_path))
    there, folder = made.split()
    assert there == "True"
    assert not os.path.exists(folder)


@needs_compiler
def test_temporary_folders_are_a_processs_own(tmp_path: Path) -> None:
    """A forked child leaves its parent's, another program has another one."""
    env = standin.child_environment("hip6") | {"HOME": str(tmp_path)}
    code = (
        "import os, subprocess\n"
        "on_rocm()\n"
        "folder = os.environ['MIOPEN_USER_DB_PATH']\n"
        "if len(sys.argv) > 1: print(folder); sys.exit()\n"
        "child = os.fork()\n"
        "if not child: sys.exit()\n"
        "os.waitpid(child, 0)\n"
        "print(folder, os.path.isdir(folder))\n"
        "sys.stdout.flush()\n"
        "source = open('/proc/self/cmdline').read().split('\\0')[4]\n"
        "subprocess.run([sys.executable, '-c', source, 'inner'], check=True)\n"
        "print(os.path.isdir(folder))\n"
    )
    first, inner, still = child(code, env, MIOCONV_MIOPEN_TEMPORARY="1").splitlines()
    folder, there = first.split()
    assert (there, still) == ("True", "True")
    assert inner != folder
    assert not os.path.exists(folder)
    assert not os.path.exists(inner)


@needs_compiler
def test_databases_that_miopen_lacks(tmp_path: Path) -> None:
    """A note, and no warning: calls work, from guesses."""
    env = standin.child_environment("hip6")
    code = "print('databases' in (mioconv.providers()['rocm'].note or ''))"
    env = {**env, "MIOPEN_SYSTEM_DB_PATH": str(tmp_path)}
    assert child(code, env) == "True\n"
    (tmp_path / "gfx90a68.HIP.fdb.txt").write_text("")
    assert child(code, env) == "False\n"
    del env["MIOPEN_SYSTEM_DB_PATH"]
    assert child(code, env) == "True\n", "the stand-in has none beside it"


def identities(folder: Path) -> set[tuple[str, ...]]:
    """Of the entries in cache files: for which library and device each holds."""
    lines = [line for file in folder.glob("*") for line in file.read_text().splitlines()]
    entries = [json.loads(line.partition(" ")[2]) for line in lines if '"identity"' in line]
    return {tuple(entry["identity"]) for entry in entries}


@needs_compiler
def test_a_layer_that_forwards_to_hipdnn(tmp_path: Path) -> None:
    """It is shown, and what was found with and without it is told apart."""
    env = standin.child_environment("hip6")
    root = standin.variant(standin.build(), tmp_path / "rocm", 6)
    env = {**env, "ROCM_PATH": str(root), "MIOCONV_CACHE_DIR": str(tmp_path / "cache"),
           "MIOCONV_BENCHMARK": "1", "MIOCONV_CACHE": "1"}  # fmt: skip
    code = "on_rocm(); print('hipDNN' in (mioconv.providers()['rocm'].note or ''))"
    on = {"MIOPEN_HIPDNN_FORWARDING": "enabled"}
    assert child(code, {**env, **on}) == "False\n"
    (plain,) = identities(tmp_path / "cache")
    (root / "lib" / "libMIOpen_private.so.1").touch()
    assert child(code, env) == "True\n"
    assert child(code, {**env, **on}) == "True\n"
    assert child(code, {**env, **on}) == "True\n"
    assert identities(tmp_path / "cache") == {
        plain,
        (*plain, "MIOPEN_HIPDNN_FORWARDING=not set"),
        (*plain, "MIOPEN_HIPDNN_FORWARDING=enabled"),
    }


@needs_compiler
def test_device_code_in_a_package_of_its_own(tmp_path: Path) -> None:
    """AMD's wheels, laid out with the stand-in: the package that lacks is named."""
    made = standin.variant(standin.build(), tmp_path / "made", 6) / "lib"
    for package, library in (("core", "libamdhip64.so.6"), ("libraries", "libMIOpen.so.1")):
        folder = tmp_path / f"_rocm_sdk_{package}" / "lib"
        folder.mkdir(parents=True)
        shutil.move(made / library, folder / library)
    (tmp_path / "rocm_sdk_device_gfx90a-10.0.0.dist-info").mkdir()
    code = (
        f"sys.path.append({str(tmp_path)!r})\n"
        "print(mioconv.providers()['rocm'].note)\n"
        "from helpers.standin import Standin\n"
        "s = Standin(); s.fail('hipMalloc', 1, 209); print(error()); s.end_fault()\n"
    )
    env = standin.child_environment("hip6")
    del env["ROCM_PATH"]
    out = child(code, env)
    assert "install rocm-sdk-device-gfx1100 from" in out
    assert "device-gfx90a" not in out
    assert "in a package of its own, rocm-sdk-device-gfx...; `mioconv info` names the one" in out


@needs_compiler
def test_prepare_compiles(tmp_path: Path) -> None:
    """What `prepare` has compiled and searched, a call does not again."""
    out = child(
        "mioconv.providers()\n"
        "from helpers.standin import Standin\n"
        "s = Standin()\n"
        "p = mioconv.Problem('forward', x.shape, w.shape, 'float32', device='rocm:0')\n"
        "s.clear(); mioconv.prepare([p]); print(len(s.names('CompileSolution')) > 0)\n"
        "s.clear(); on_rocm(); print(s.names('^miopen(?!Tensor)'))\n",
        standin.child_environment("hip6"),
    )
    assert out.splitlines() == ["True", "['miopenConvolutionForwardImmediate']"]
