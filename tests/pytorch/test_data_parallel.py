"""Two processes under torchrun, over gloo: the gradients of one process."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from pytorch.networks import network  # noqa: E402
from pytorch.test_networks import together  # noqa: E402

if not torch.distributed.is_available():
    pytest.skip("this PyTorch has no torch.distributed", allow_module_level=True)

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"


def torchrun(*arguments: Any, processes: int = 2, **variables: str) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), *map(str, arguments)]
    child = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1", **variables}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        printed, errors = child.communicate(timeout=120)
    finally:
        if child.poll() is None:  # its workers as well
            os.killpg(child.pid, signal.SIGKILL)
    assert child.returncode == 0, errors
    return printed


def gradients(model: Any, x: Any) -> dict[str, Any]:
    model(x).square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_two_processes_have_the_gradients_of_one_backward(tmp_path: Path) -> None:
    model, _ = network("unet")
    x = torch.randn(6, 1, 16, 16)
    torch.save(x, tmp_path / "input.pt")
    torchrun(HERE / "ddp_worker.py", tmp_path)
    first, second = (torch.load(tmp_path / f"gradients{rank}.pt") for rank in range(2))
    plain = gradients(copy.deepcopy(model), x)
    wide = gradients(copy.deepcopy(model).double(), x.double())
    for name, exact in wide.items():
        assert torch.equal(first[name], second[name]), name
        together(first[name], plain[name], exact)


def test_processes_share_what_they_measured(tmp_path: Path) -> None:
    """Rank 0 tunes and the others load; all tune at once into one folder, and nothing is lost."""
    folder = tmp_path / "cache"
    torchrun(
        HERE / "cache_worker.py", tmp_path, MIOCONV_CACHE="1", MIOCONV_CACHE_DIR=str(folder)
    )  # fmt: skip
    reports = [json.loads((tmp_path / f"report{rank}.json").read_text()) for rank in range(2)]
    for report in reports:
        assert report["finds of rank 0's"] == 0
        assert report["finds of the others'"] == 0
    # Each problem was searched once, by one of them: 6 for all by rank 0, and 6 each.
    assert [report["finds"] for report in reports] == [12, 6]
    assert reports[0]["first"] == reports[1]["first"]
    assert len(list(folder.glob("*.plans"))) == 2


@pytest.mark.skipif(
    any(importlib.util.find_spec(module) is None for module in ("sklearn", "PIL")),
    reason="scikit-learn or pillow is not installed",
)
def test_example_learns_the_same_on_two_processes() -> None:
    """The example: two processes learn what one does, up to rounding."""
    losses = []
    for processes in (1, 2):
        printed = torchrun(EXAMPLES / "data_parallel.py", 2, processes=processes)
        (loss,) = re.findall(rf"^{processes} processes, 2 epochs: loss ([\d.]+),", printed, re.M)
        losses.append(float(loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert losses[0] < 2.3  # of a network that knows nothing: log(10)
