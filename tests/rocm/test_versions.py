"""What differs between releases, and that each is asked instead of assumed."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.rocm import Interface, Tensor, read
from helpers.standin import CONFIGS, Standin
from helpers.tensors import random_array

CONFIG = os.environ.get("FAKE_ROCM_CONFIG", "hip6")
WANTED = CONFIGS[CONFIG]


def test_info(standin: Standin) -> None:
    info = mioconv.providers()["rocm"]
    version = WANTED["options"].get("hip_version", 60200000)
    miopen = WANTED["options"].get("miopen_version", 3002000)
    assert info.versions["hip_runtime"] == version
    assert info.versions["miopen"] == (miopen // 10**6, miopen // 1000 % 1000, miopen % 1000)
    lacks = set(WANTED.get("lacks", ()))
    assert set(info.missing) == lacks
    assert info.paths["HIP runtime"].endswith(f"libamdhip64.so.{WANTED['hip_major']}")
    assert [d["architecture"] for d in info.devices] == ["gfx90a:sramecc+:xnack-", "gfx1100"]
    assert [d["compute_units"] for d in info.devices] == [104, 48]
    assert info.devices[0]["name"] == "Recording Device"
    assert info.devices[0]["total_memory"] == 1 << 36


@pytest.mark.parametrize(("kind", "device"), [(0, "rocm:1"), (1, "rocm:1"), (2, "cpu")])
def test_memory_types(standin: Standin, kind: int, device: str) -> None:
    """Device, managed and host: their numbers moved with HIP 6."""
    x, w = random_array((1, 2, 4, 4)), random_array((3, 2, 2, 2))
    for a in (x, w):
        standin.own(a.ctypes.data, a.nbytes, 1, kind)
    got = mioconv.conv2d_forward(Interface(x), Interface(w))
    assert got.device == device
    np.testing.assert_allclose(read(got), mioconv.conv2d_forward(x, w), atol=1e-6)


def test_wide_descriptors(standin: Standin) -> None:
    """64-bit setters for what 32 bits cannot say, where there are any."""
    standin.set(skip_run=1, invent=1)
    x = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.float16), (2, 1, 2**16, 2**16), (2**33, 2**33, 2**17, 2)
    )
    w = np.zeros((1, 1, 1, 1), np.float16)
    far = np.asarray(_At(x, x.ctypes.data + 2**36))
    if "miopenSetTensorDescriptorV2" in WANTED.get("lacks", ()):
        with pytest.raises(mioconv.UnsupportedError, match="miopenSetTensorDescriptorV2"):
            mioconv.conv2d_forward(Tensor(x), Tensor(w), out=Tensor(far))
        return
    mioconv.conv2d_forward(Tensor(x), Tensor(w), out=Tensor(far))
    wide = standin.calls("SetTensorDescriptorV2")
    assert len(wide) == 2
    assert wide[0]["args"]["stridesA"] == [2**32, 2**32, 2**16, 1]
    assert len(standin.calls("Immediate")) == 1


class _At:
    def __init__(self, like: Any, address: int) -> None:
        self.__array_interface__ = {
            **like.__array_interface__,
            "data": (address, False),
            "strides": like.strides,
        }


@pytest.mark.parametrize("known", [True, False])
def test_tf32_attribute_may_be_unknown(standin: Standin, known: bool) -> None:
    """Releases before it answer BadParm, and print an error: nothing to forbid there, and nothing
    to ask for again. None before 3.5 is asked at all."""
    old = WANTED["options"].get("miopen_version", 3002000) < 3005000
    statuses = []
    standin.set(no_math_type=int(not known))
    for size in (4, 5, 6):
        x, w = Tensor(random_array((1, 2, size, size))), Tensor(random_array((3, 2, 2, 2)))
        mioconv.conv2d_forward(x, w)
        calls = [c for c in standin.calls("SetConvolutionAttribute") if c["args"]["attr"] == 3]
        statuses = [call["status"] for call in calls]
    assert statuses == ([] if old else [0, 0, 0] if known else [3])


def test_deterministic_wins_over_tf32(standin: Standin) -> None:
    """MIOpen's deterministic TF32 gradients are faulty: both together ask for strict arithmetic."""
    x, w = Tensor(random_array((1, 2, 4, 4))), Tensor(random_array((3, 2, 2, 2)))
    for deterministic in (False, True):
        standin.clear()
        mioconv.conv2d_forward(x, w, allow_tf32=True, deterministic=deterministic)
        mioconv.conv2d_forward(x, w, allow_tf32=False, deterministic=deterministic)
        asked = standin.names("GetSolution$")
        assert len(asked) == (1 if deterministic else 2), "one problem, not two"


def test_workspaces(standin: Standin) -> None:
    """From the device's memory pool where it has one."""
    x, w = Tensor(random_array((2, 8, 9, 9))), Tensor(random_array((8, 8, 3, 3)))
    problem = mioconv.Problem("forward", x.array.shape, w.array.shape, "float32", device="rocm:0")
    needy = max(mioconv.find_solutions(problem), key=lambda s: s.workspace_bytes)
    assert needy.workspace_bytes > 0
    mioconv.empty_cache()
    standin.clear()
    out = Tensor(np.zeros((2, 8, 7, 7), np.float32))
    mioconv.conv2d_forward(x, w, out=out, solution=needy, stream=0x500)
    allocated = standin.calls("hipMalloc")
    if WANTED["options"].get("memory_pools"):
        assert [(c["call"], c["args"]["stream"]) for c in allocated] == [("hipMallocAsync", 0x500)]
        (freed,) = standin.calls("hipFree")
        assert freed["args"]["stream"] == 0x500
        names = standin.names("Immediate", "hipFree")
        assert names == ["miopenConvolutionForwardImmediate", "hipFreeAsync"]
    else:
        assert [c["call"] for c in allocated] == ["hipMalloc"]
        assert not standin.names("hipFree")
    mioconv.conv2d_forward(x, w)


def test_errors_that_stay(standin: Standin) -> None:
    """HIP 7 keeps an error past successes: after a refusal nothing may be left for the next."""
    x, w = Tensor(random_array((2, 8, 9, 9))), Tensor(random_array((8, 8, 3, 3)))
    out = Tensor(np.zeros((2, 8, 7, 7), np.float32))
    problem = mioconv.Problem("forward", (2, 8, 9, 9), (8, 8, 3, 3), device="rocm:0")
    needy = max(mioconv.find_solutions(problem), key=lambda s: s.workspace_bytes)
    mioconv.empty_cache()
    standin.set(memory=100)
    with pytest.raises(mioconv.OutOfMemoryError):
        mioconv.conv2d_forward(x, w)
    with pytest.raises(mioconv.OutOfMemoryError):
        mioconv.conv2d_forward(x, w, out=out, solution=needy)
    mioconv.conv2d_forward(x, w, out=out)  # by the solution that needs no scratch memory
    mioconv.empty_cache()
    standin.set(memory=0)
    mioconv.conv2d_forward(x, w, out=out)  # the stand-in's launches fail while an error is pending
    standin.clear()
    from mioconv._native import api as _api

    assert _api.devices("rocm")
    assert not [c for c in standin.calls("hipGetLastError") if c["status"]]
