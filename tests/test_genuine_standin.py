"""The kernels that stand below a genuine libMIOpen, alone: against references, on any machine."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genuine import root
from helpers import reference
from helpers.standin import ROOT, compiler

STANDIN = ROOT / "tests" / "genuine" / "standin"
pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
rng = np.random.default_rng(11)


@pytest.fixture(scope="module")
def compute(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    found = compiler()
    assert found is not None
    library = tmp_path_factory.mktemp("standin") / "kernels.so"
    sources = sorted(map(str, STANDIN.glob("kernels*.cpp")))
    command = [*found, "-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run([*command, *sources, "-o", str(library)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    function = ctypes.CDLL(str(library)).standin_compute

    def call(
        name: str, options: str, *arguments: tuple[str, Any], threads: tuple[int, ...] = (1, 1, 1)
    ) -> int:
        """Arguments as (format of struct, value or array), each aligned to its own size."""
        packed = b""
        for kind, value in arguments:
            size = struct.calcsize(kind)
            packed += b"\0" * (-len(packed) % size)
            if isinstance(value, np.ndarray):
                value = value.ctypes.data
            packed += value if isinstance(value, bytes) else struct.pack(f"<{kind}", value)
        return int(
            function(
                name.encode(), options.encode(), (ctypes.c_uint64 * 3)(*threads), packed,
                ctypes.c_size_t(len(packed)),
            )
        )  # fmt: skip

    return call


def ints(*values: int) -> list[tuple[str, int]]:
    return [("i", value) for value in values]


def last(a: Any) -> Any:
    """The memory of a channels-last tensor, as an array in that order."""
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("direction", ["fwd", "bwd", "wrw"])
@pytest.mark.parametrize("groups", [1, 2])
def test_naive(compute: Any, groups: int, direction: str, layout: str) -> None:
    n, c, k, size, kernel = 2, 4, 6, (5, 6), (3, 2)
    stride, dilation, pad = (2, 1), (1, 2), (1, 2)
    settings = {"stride": stride, "padding": pad, "dilation": dilation, "groups": groups}
    x = rng.uniform(-1, 1, (n, c, *size)).astype("f4")
    w = rng.uniform(-1, 1, (k, c // groups, *kernel)).astype("f4")
    exact = reference.conv_forward(x, w, **settings)
    out = exact.shape[2:]
    y = rng.uniform(-1, 1, exact.shape).astype("f4")
    if direction == "bwd":
        exact = reference.conv_backward_input(x.shape, y, w, **settings)
    elif direction == "wrw":
        exact = reference.conv_backward_weight(w.shape, y, x, **settings)
    arrays = [last(a) if layout == "nhwc" else a.copy() for a in (x, w, y)]
    result = {"bwd": 0, "wrw": 1, "fwd": 2}[direction]
    arrays[result][...] = np.nan
    status = compute(
        f"naive_conv_ab_packed_{direction}_{layout}_float_double_float", "",
        ("Q", arrays[0]), ("Q", arrays[1]), ("d", 1.0), ("d", 0.0), ("Q", arrays[2]),
        *[("Q", 0)] * 15, *ints(*size, n, k // groups, c // groups, *out),
        *ints(*stride, *dilation, *pad, *kernel, groups),
    )  # fmt: skip
    assert status == 1
    got = np.moveaxis(arrays[result], -1, 1) if layout == "nhwc" else arrays[result]
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)


def test_columns(compute: Any) -> None:
    """As a matrix product over columns a convolution is right, and the way back is the adjoint."""
    x = rng.uniform(-1, 1, (3, 5, 6)).astype("f4")
    w = rng.uniform(-1, 1, (4, 3, 3, 2)).astype("f4")
    size, kernel, pad, stride, dilation = (5, 6), (3, 2), (1, 0), (2, 1), (1, 2)
    exact = reference.conv_forward(x[None], w, stride=stride, padding=pad, dilation=dilation)[0]
    out = exact.shape[1:]
    columns = np.full((18, np.prod(out)), np.nan, "f4")
    assert compute(
        "Im2d2Col_v2", "-DMIOPEN_USE_FP32=1", ("i", x.size), ("Q", x), ("Q", 0),
        *ints(*size, *kernel, *out, *pad, *stride, *dilation), ("Q", columns),
    ) == 1  # fmt: skip
    np.testing.assert_allclose(w.reshape(4, -1) @ columns, exact.reshape(4, -1), atol=1e-5)
    cotangent = rng.uniform(-1, 1, columns.shape).astype("f4")
    image = np.full_like(x, np.nan)
    assert compute(
        "Col2Im2dU", "-DMIOPEN_USE_FP32=1", ("Q", cotangent),
        *ints(*out, *kernel, *pad, *stride, *dilation, *size), ("Q", image), ("I", 0),
        threads=(x.size, 1, 1),
    ) == 1  # fmt: skip
    np.testing.assert_allclose(np.vdot(columns, cotangent), np.vdot(x, image), rtol=1e-4)


def test_bias_takes_pixels_to_lie_side_by_side(compute: Any) -> None:
    """Right on packed tensors; on channels-last ones as wrong as MIOpen's own kernel."""
    y, bias = rng.uniform(-1, 1, (2, 3, 2, 4)).astype("f4"), rng.uniform(-1, 1, 3).astype("f4")
    exact = y + bias.reshape(1, 3, 1, 1)
    for memory, n_stride, c_stride, right in ((y, 24, 8, True), (last(y), 24, 1, False)):
        out = memory.copy()
        assert compute(
            "OpTensorFwdBias", "-DMIOPEN_TYPE=float -DMIOPEN_TENSOR_OP=miopenAdd",
            ("Q", out), ("Q", bias), ("i", 3), ("Q", out), *ints(2, n_stride, c_stride, 8),
            ("f", 1.0), ("f", 1.0), ("f", 0.0), *[("q", 0)] * 3, *ints(6, 1),
        ) == 1  # fmt: skip
        got = out if right else np.moveaxis(out, -1, 1)
        assert np.allclose(got, exact) == right


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("-DMIOPEN_USE_FP16=1", "nothing"),
        ("-DMIOPEN_USE_FP16=1 -DMIOPEN_BETA_IS_ZERO=1", "zeros"),
        ("-DMIOPEN_USE_FP16=1 -DMIOPEN_BETA_IS_ZERO=1 -DMIOPEN_ALPHA_IS_ONE=1", "copy"),
    ],
)
def test_scalars_of_a_copy(compute: Any, options: str, expected: str) -> None:
    """A float 1.0 is a half 0.0 and something; and 0 times what was there is added."""
    source = np.arange(6, dtype="f2").reshape(2, 3)
    for alpha, right in ((b"\0\0", False), (np.float16(1).tobytes(), True)):
        target = np.full((3, 2), np.nan, "f2").T
        assert compute(
            "SubTensorOpWithTransform2d", options, ("Q", source), ("H", alpha), ("Q", target),
            ("H", b"\0\0"), *ints(0, 0, 3, 1, 1, 2, 2, 3),
        ) == 1  # fmt: skip
        if expected == "nothing":
            assert np.isnan(target).all()
        elif expected == "copy" or right:
            np.testing.assert_array_equal(target, source)
        else:
            assert not target.any()


def test_what_is_not_known_is_refused(compute: Any) -> None:
    assert compute("conv3x3", "") == -1
    assert compute("OpTensorFwdBias", "-DMIOPEN_TYPE=bfloat16") == 0
    assert compute("naive_conv_ab_packed_fwd_nchw_float_double_half", "") == 0


def test_old_roots_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the same release that nobody used for long, and what a killed process left."""
    monkeypatch.setenv("GENUINE_CACHE", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = ["6-new", "6-old", f"6-new.{gone.pid}", f"6-new.{os.getpid()}", "7-old", "apt-6"]
    for name in names:
        (tmp_path / name / "root").mkdir(parents=True)
    for name in ("6-old", "7-old", "apt-6"):
        os.utime(tmp_path / name, (0, 0))
    root.prune("6")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"6-new", f"6-new.{os.getpid()}", "7-old", "apt-6"}
