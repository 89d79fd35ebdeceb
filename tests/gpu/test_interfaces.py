"""On a GPU too: PyTorch's operators, modules, autocast, other allocators, the driver's command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.checks import operands
from helpers.cimport import build_caller
from helpers.operators import BACKWARD, FORWARD
from helpers.problems import CASES, FEW, Case
from helpers.tensors import LAYOUTS, random_array
from helpers.tolerances import assert_close, error_bound
from mioconv import aten

from .arrays import Kind, Torch
from .test_operators import TRANSFORMS

WIDE = Case("wide", 4, 32, (14, 14), 48, (3, 3), 1, 1)


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def place(case: Case) -> tuple[Any, ...]:
    """In the order of `torch.miopen_convolution`."""
    settings = case.settings
    return (
        *(settings[name] for name in ("padding", "stride", "dilation", "groups")), False, False,
    )  # fmt: skip


@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_aten(kind: Kind, case: Case, layout: str) -> None:
    x, w = (LAYOUTS[layout](a) for a in operands(FORWARD, case, np.float32))
    dy = LAYOUTS[layout](random_array(case.output_shape, seed=5))
    px, pw, pdy = (kind.put(a) for a in (x, w, dy))
    y = aten.miopen_convolution(px, pw, None, *place(case))
    assert kind.is_mine(y)
    assert_close(y, *FORWARD.expected(case, x, w))
    dx, dw, _ = aten.miopen_convolution_backward(px, pdy, pw, *place(case), (True, True, False))
    assert_close(dx, *BACKWARD[0].expected(case, dy, w))
    assert_close(dw, *BACKWARD[1].expected(case, dy, x))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("case", [c for c in CASES if c.rank == 2 and c.groups == 1], ids=str)
def test_modules_and_gradients(torch: Any, case: Case, dtype: str) -> None:
    """A module's output and its gradients; what autograd hands on is on the device."""
    import mioconv.torch

    kind = Torch()
    host = [a.astype(np.float32) for a in operands(FORWARD, case, np.float32)]
    half = getattr(torch, dtype)
    x, w = (kind.put(a).to(half).requires_grad_(True) for a in host)
    dy = kind.put(random_array(case.output_shape, seed=5)).to(half)
    y = mioconv.torch.conv2d(x, w, **case.settings)
    y.backward(dy)
    wide = [t.detach().double().cpu().numpy() for t in (x, w, dy)]
    for op, got, pair in (
        (FORWARD, y, (0, 1)), (BACKWARD[0], x.grad, (2, 1)), (BACKWARD[1], w.grad, (2, 0)),
    ):  # fmt: skip
        a, b = (wide[i] for i in pair)
        assert got.is_cuda
        assert got.dtype == half
        value, magnitude = op.exact(case, a, b), op.exact(case, np.abs(a), np.abs(b))
        stored = {"float32": np.float32, "float16": np.float16}.get(dtype)
        if stored is None:
            stored = pytest.importorskip("ml_dtypes").bfloat16
        bound = error_bound(
            stored, np.abs(value), magnitude, op.length(case), amplification=TRANSFORMS
        )
        assert_close(got.detach().double().cpu().numpy(), value, bound)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_autocast(torch: Any, dtype: str) -> None:
    """A float32 model within autocast convolves in the half type, forward and backward."""
    import mioconv.torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 1)
    ).cuda()
    x = torch.randn(4, 8, 20, 20, device="cuda")
    exact = model.double()(x.double())
    exact.square().mean().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.float()
    half = getattr(torch, dtype)
    with mioconv.torch.use(strict=True) as routing, torch.autocast("cuda", dtype=half):
        y = model(x)
    assert y.dtype == half
    y.float().square().mean().backward()
    assert routing.calls.total() == 2
    # Against PyTorch's own error under autocast: the same steps, so errors of the same size.
    got = [y, *(p.grad.clone() for p in model.parameters())]
    model.zero_grad()
    with torch.autocast("cuda", dtype=half):
        theirs = model(x)
    theirs.float().square().mean().backward()
    other = [theirs, *(p.grad for p in model.parameters())]
    for mine, reference, exactly in zip(got, other, [exact, *expected], strict=True):
        size = exactly.norm()
        error = (mine.double() - exactly).norm() / size
        allowed = (reference.double() - exactly).norm() / size
        unit = 2.0**-11 if dtype == "float16" else 2.0**-8
        assert error <= 2 * allowed + unit


def needy(case: Case) -> mioconv.Solution:
    problem = mioconv.Problem(
        "forward", case.input_shape, case.weight_shape, "float16", **case.settings, device="cuda"
    )
    return next(s for s in mioconv.find_solutions(problem) if s.workspace_bytes > 0)


@pytest.mark.parametrize("name", ["torch", "cupy"])
def test_scratch_from_a_librarys_allocator(name: str) -> None:
    """`set_allocator("torch")`: scratch memory is counted there, serves, and goes back."""
    from .arrays import KINDS

    module = pytest.importorskip(name, reason=f"{name} is not installed")
    kind = KINDS[name]()
    host = operands(FORWARD, WIDE, np.float16)
    x, w = (kind.put(a) for a in host)
    out = kind.put(np.zeros(WIDE.output_shape, np.float16))
    solution = needy(WIDE)
    mioconv.empty_cache()

    def most() -> int:
        if name == "torch":
            return int(module.cuda.max_memory_allocated())
        return int(module.get_default_memory_pool().total_bytes())

    def used() -> int:
        if name == "torch":
            return int(module.cuda.memory_allocated())
        return int(module.get_default_memory_pool().used_bytes())

    kind.free()
    if name == "torch":
        module.cuda.reset_peak_memory_stats()
    before, peak = used(), most()
    mioconv.set_allocator(name)
    try:
        for stream in (None, kind.stream()):
            if stream is None:
                FORWARD(WIDE, x, w, out=out, solution=solution.id)
            else:
                with kind.on(stream):
                    FORWARD(WIDE, x, w, out=out, solution=solution.id)
            kind.synchronize()
            assert_close(out, *FORWARD.expected(WIDE, *host))
        assert most() - peak >= solution.workspace_bytes
        assert used() == before
    finally:
        mioconv.set_allocator(None)


@pytest.mark.parametrize("dtype", ["conv", "convfp16", "convbfp16"])
def test_driver(dtype: str) -> None:
    """Every direction of a line, verified against float64 by the command itself."""
    line = f"{dtype} -n 4 -c 16 -H 12 -W 13 -k 24 -y 3 -x 3 -p 1 -q 1 -F 0 -i 3 -V 1 -t 1"
    done = subprocess.run(
        [sys.executable, "-m", "mioconv", "driver", "--device", "cuda:0", *line.split()],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Verifies") == 3, done.stdout


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_pointers_from_cython(torch: Any, tmp_path: Path, dtype: str) -> None:
    """Each direction by the C entries, on a stream of the caller's."""
    kind = Torch()
    caller = build_caller(tmp_path)
    x, w = operands(FORWARD, WIDE, np.dtype(dtype))
    dy = random_array(WIDE.output_shape, seed=5).astype(dtype)
    stream = kind.stream()
    stream.wait_stream(torch.cuda.current_stream())
    for name, op, pair in (
        ("forward", FORWARD, (x, w)),
        ("backward_input", BACKWARD[0], (dy, w)),
        ("backward_weight", BACKWARD[1], (dy, x)),
    ):
        tensors = [kind.put(a) for a in (x, w, dy)]
        result = tensors[("backward_input", "backward_weight", "forward").index(name)]
        torch.cuda.synchronize()
        caller.on_device(
            name, *((t.data_ptr(), *t.shape) for t in tensors), 1 if dtype == "float32" else 0, 1,
            2, 0, kind.handle(stream),
        )  # fmt: skip
        stream.synchronize()
        assert_close(result, *op.expected(WIDE, *pair))
