"""Which solution runs: names, the vendor's general solvers, pins, what was remembered."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import operators
from helpers.checks import operands
from helpers.operators import Operator
from helpers.problems import CASES, Case
from helpers.rocm import Tensor, read
from helpers.tensors import DTYPES, LAYOUTS
from helpers.tolerances import assert_close

from .library import solver_name
from .processes import child

HEADER = Path(__file__).resolve().parents[2] / "include" / "mioconv" / "solver_names.hpp"
CASE = next(case for case in CASES if case.name == "2d")
ARCHITECTURES = ["gfx90a:sramecc+:xnack-", "gfx942:sramecc+:xnack-", "gfx1100"]
each_direction = pytest.mark.parametrize(
    "op", [operators.FORWARD, operators.BACKWARD_INPUT, operators.BACKWARD_WEIGHT], ids=str
)


def problem(op: Operator, case: Case, dtype: Any = np.float32) -> mioconv.Problem:
    return mioconv.Problem(
        op.name, case.input_shape, case.weight_shape, np.dtype(dtype).name, **case.settings,
        device="rocm:0",
    )  # fmt: skip


def test_names_are_the_librarys() -> None:
    """Every id of the table is this release's, under this name, or not this release's at all."""
    ours = {int(id): name for id, name in re.findall(r'\{(\d+), "(.+)"\}', HEADER.read_text())}
    theirs = {id: solver_name(id) for id in range(1, 400)}
    assert {id: theirs[id] for id in ours if theirs[id]} == {
        id: name for id, name in ours.items() if theirs[id]
    }
    of_convolutions = {
        id: name
        for id, name in theirs.items()
        if name and re.match("Conv|Gemm|fft", name) and not re.search("Fused|BiasActiv", name)
    }
    assert of_convolutions.items() <= ours.items()
    assert len(of_convolutions) > 80


@each_direction
def test_listed_by_name(standin: None, op: Operator) -> None:
    found = mioconv.find_solutions(problem(op, CASE))
    assert found
    for solution in found:
        assert solution.name == solver_name(solution.id)
    architecture = mioconv.providers()["rocm"].devices[0]["architecture"]
    if not (
        os.environ["GENUINE"] == "7" and architecture.startswith("gfx11")
    ):  # its source is not in the package
        left = {"forward": "Fwd", "backward_input": "Bwd", "backward_weight": "Wrw"}[op.name]
        assert any(s.name == f"ConvDirectNaiveConv{left}" for s in found)
    a, b = map(Tensor, operands(op, CASE))
    op(CASE, a, b, exclude="*naive*")
    assert "Naive" not in mioconv.last_call().solution_name
    op(CASE, a, b, exclude=["Gemm*", "*Wino*", "*Asm*"])
    assert "Naive" in mioconv.last_call().solution_name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["packed", "channels_last"])
@each_direction
def test_general_solvers_can_be_pinned(
    standin: None, expect: Any, op: Operator, layout: str, dtype: Any
) -> None:
    """Listed or not; what does not apply, or is another direction's, is no solution."""
    general = {"forward": (91, 85), "backward_input": (97, 86), "backward_weight": (102, 87)}
    a, b = (LAYOUTS[layout](t) for t in operands(op, CASE, dtype))
    for id in general[op.name]:
        if layout == "channels_last" and id > 90:
            continue  # the library's matrix products take packed tensors only
        got = op(CASE, Tensor(a), Tensor(b), solution=id)
        assert_close(read(got), *expect(op, CASE, a, b))
        assert mioconv.last_call().solution_id == id
    others = [id for name, ids in general.items() if name != op.name for id in ids]
    for id in (*others, 106, 147, 999):
        with pytest.raises(ValueError, match=f"solution: {id} is not one of this problem's"):
            op(CASE, Tensor(a), Tensor(b), solution=id)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_architectures(architecture: str) -> None:
    """Immediate, benchmark and deterministic; also where nothing that is listed can run."""
    out, _ = child(
        "print(right(conv()), right(conv(benchmark=True)), right(conv(deterministic=True)))\n"
        "p = mioconv.Problem('forward', x.shape, w.shape, 'float32', device='rocm:0')\n"
        "print(mioconv.prepare([p], benchmark=True)[0].solution.source)\n"
        "print(mioconv.providers()['rocm'].devices[0]['architecture'])\n",
        STANDIN_ARCH=architecture,
    )
    assert out.splitlines() == ["True True True", "measured", architecture]


def test_a_list_that_is_used_up() -> None:
    """The general solvers come last, by the name that the error would have."""
    out, _ = child(
        "p = mioconv.Problem('forward', x.shape, w.shape, 'float32', device='rocm:0')\n"
        "conv(exclude=[s.id for s in mioconv.find_solutions(p) if s.id not in (85, 91)])\n"
        "print(mioconv.last_call().solution_name)\n"
        "try:\n    conv(exclude='*')\n"
        "except mioconv.NoSolutionError as error:\n    print(str(error)[:60])\n",
        STANDIN_ARCH="gfx1100",
    )
    name, error = out.splitlines()
    assert name in ("GemmFwdRest", "ConvDirectNaiveConvFwd")
    assert error.startswith("every solution of this problem is excluded")


def test_remembered(tmp_path: Path) -> None:
    """A second process runs what the first one found; not what another release or HIP did."""
    cache = {"MIOCONV_CACHE": "1", "MIOCONV_CACHE_DIR": str(tmp_path)}
    show = (
        "p = mioconv.Problem('forward', x.shape, w.shape, 'float32', device='rocm:0')\n"
        "print([(s.source, s.workspace_bytes) for s in mioconv.find_solutions(p) if s.id == 91])\n"
    )
    first, _ = child("conv(benchmark=True)\n" + show, **cache)
    ((source, workspace),) = eval(first)
    assert source == "measured"
    assert workspace > 0
    assert child(show, **cache)[0] == first
    (file,) = tmp_path.glob("*.plans")
    text = file.read_text()
    architecture = mioconv.providers()["rocm"].devices[0]["architecture"].partition(":")[0]
    release = r"miopen 3\.\d\.\d, hip \d+, mioconv [\d.]+"
    assert re.search(rf'"identity":\["rocm","{release}","{architecture}', text)
    # Another workspace than this library needs: its own word counts.
    change = (
        "from mioconv import cache_files\nfrom pathlib import Path\n"
        f"path = Path({str(file)!r})\n"
        "records = cache_files._read(path)\n"
        "for r in records:\n"
        "    r['solutions'] = [(i, t, {bytes}, *more) for i, t, b, *more in r['solutions']]\n"
        "    r['identity'] = ({identity})\n"
        "cache_files._write_whole(path, records)\n"
    )
    child(change.format(bytes=7, identity="r['identity']"), **cache)
    assert child(show, **cache)[0] == first
    assert child("print(right(conv()))", **cache)[0] == "True"
    other = "r['identity'][0], r['identity'][1].replace('hip ', 'hip 1'), r['identity'][2]"
    child(change.format(bytes="b", identity=other), **cache)
    assert "measured" not in child(show, **cache)[0]
