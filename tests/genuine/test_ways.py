"""Every way to choose and to prepare, through the genuine library, compared with float64."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers import operators, reference
from helpers.checks import operands, random_bias
from helpers.operators import Expected, Operator
from helpers.problems import CASES, TRANSPOSED_CASES, Case
from helpers.rocm import CupyArray, Tensor, read
from helpers.tensors import DTYPES, LAYOUTS, random_array
from helpers.tolerances import assert_close, error_bound
from mioconv import aten

from .processes import child

OPERATORS = [
    operators.FORWARD, operators.BACKWARD_INPUT, operators.BACKWARD_WEIGHT,
    operators.TRANSPOSE_FORWARD, operators.TRANSPOSE_BACKWARD_INPUT,
    operators.TRANSPOSE_BACKWARD_WEIGHT,
]  # fmt: skip
NAMES = {"2d-same", "2d-groups", "3d-uneven", "t2d-strided", "t2d-groups"}
PAIRS = [pytest.param(op, c, id=f"{op}-{c}") for op in OPERATORS for c in op.cases
         if c.name in NAMES]  # fmt: skip
by_pair = pytest.mark.parametrize(("op", "case"), PAIRS)
by_layout = pytest.mark.parametrize("layout", ["packed", "channels_last"])


def problem(op: Operator, case: Case, dtype: Any, layout: str = "packed") -> mioconv.Problem:
    return mioconv.Problem(
        op.name, case.input_shape, case.weight_shape, np.dtype(dtype).name, **case.settings,
        transposed=case.transposed, layout=layout, device="rocm:0",
    )  # fmt: skip


@pytest.mark.parametrize(
    "how",
    [{"benchmark": True}, {"deterministic": True}, {"deterministic": True, "allow_tf32": True},
     {"workspace_limit": 0}, {"exclude": "*gemm*"}, {"exclude": "*naive*"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
@by_layout
@by_pair
def test_chosen(
    standin: None, expect: Callable[..., Expected], op: Operator, case: Case, layout: str,
    dtype: Any, how: dict[str, Any],
) -> None:  # fmt: skip
    a, b = (LAYOUTS[layout](t) for t in operands(op, case, dtype))
    try:
        got = op(case, Tensor(a), Tensor(b), **how)
    except mioconv.NoSolutionError:
        # In channels-last layout the naive solver may be the only one.
        assert how == {"exclude": "*naive*"}
        return
    assert_close(read(got), *expect(op, case, a, b))
    ran = mioconv.last_call()
    assert ran.workspace_bytes <= how.get("workspace_limit", 1 << 40)
    for word in ("Naive", "Gemm"):
        if how.get("exclude") == f"*{word.lower()}*":
            assert word not in ran.solution_name


@pytest.mark.parametrize("dtype", DTYPES)
@by_layout
@by_pair
def test_prepared_and_planned(
    standin: None, expect: Callable[..., Expected], op: Operator, case: Case, layout: str,
    dtype: Any,
) -> None:  # fmt: skip
    a, b = (LAYOUTS[layout](t) for t in operands(op, case, dtype))
    expected = expect(op, case, a, b)
    given = problem(op, case, dtype, layout)
    (ready,) = mioconv.prepare([given])
    assert ready.solution is not None
    for constant in (False, True):
        plan = mioconv.plan(given, constant_weights=constant and op.name != "backward_weight")
        for _ in range(2):
            assert_close(read(plan(Tensor(a), Tensor(b))), *expected)
    assert_close(read(op(case, Tensor(a), Tensor(b))), *expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrap", [Tensor, CupyArray])
@by_layout
@pytest.mark.parametrize(
    "case", [c for c in [*CASES, *TRANSPOSED_CASES] if c.name in NAMES], ids=str
)
def test_three_gradients(
    standin: None, cupy: Any, expect: Callable[..., Expected], case: Case, layout: str, wrap: Any,
    dtype: Any,
) -> None:  # fmt: skip
    family = "conv_transpose" if case.transposed else "conv"
    x = LAYOUTS[layout](random_array(case.input_shape, dtype))
    w = LAYOUTS[layout](random_array(case.weight_shape, dtype, 1))
    g = LAYOUTS[layout](random_array(case.output_shape, dtype, 2))
    function = getattr(mioconv, f"{family}{case.rank}d_backward")
    mask = (True, True, wrap is CupyArray or np.dtype(dtype).name != "bfloat16")
    got = function(wrap(x), wrap(g), wrap(w), **case.settings, output_mask=mask)
    for place, name in enumerate(("backward_input", "backward_weight")):
        op = Operator(family, name)
        pair = (g, w) if name == "backward_input" else (g, x)
        assert_close(read(got[place]), *expect(op, case, *pair))
    if mask[2]:
        axes = (0, *range(2, g.ndim))
        wide = g.astype("f8")
        bound = error_bound(
            dtype, np.abs(wide.sum(axes)), np.abs(wide).sum(axes), case.backward_bias_length
        )
        assert_close(read(got[2]), wide.sum(axes), bound)


def test_pytorch_names(standin: None) -> None:
    case = next(c for c in CASES if c.name == "2d-groups")
    x, w = operands(operators.FORWARD, case)
    bias = random_bias(case)
    exact = reference.conv_forward(x, w, bias, **case.settings)
    got = aten.miopen_convolution(
        *map(Tensor, (x, w, bias)), case.padding, case.stride, case.dilation, case.groups,
        False, False,
    )  # fmt: skip
    np.testing.assert_allclose(read(got), exact, atol=1e-5)


def test_streams(standin: None) -> None:
    """A stream of the caller's, on which the second call waits for nothing on the host."""
    hip = ctypes.CDLL(mioconv.providers()["rocm"].paths["HIP runtime"])
    stream = ctypes.c_void_p()
    assert hip.hipStreamCreateWithFlags(ctypes.byref(stream), 1) == 0
    x, w = random_array((2, 4, 6, 6)), random_array((5, 4, 3, 3), seed=1)
    for on in (stream.value, 0, None):
        got = mioconv.conv2d_forward(Tensor(x), Tensor(w), stream=on)
        np.testing.assert_allclose(read(got), reference.conv_forward(x, w), atol=1e-5)
        del got
    mioconv.empty_cache()
    assert hip.hipStreamDestroy(stream) == 0


LINE = "conv -n 2 -c 4 -H 8 -W 8 -k 6 -y 3 -x 3 -p 1 -q 1"


@pytest.mark.parametrize("direction", [1, 2, 4])
@pytest.mark.parametrize("name", ["conv", "convfp16", "convbfp16"])
def test_driver(standin: None, capsys: Any, name: str, direction: int) -> None:
    from mioconv.cli import main

    line = LINE.replace("conv", name, 1).split()
    status = main(["driver", "--device", "rocm:0", *line, "-F", str(direction), "-V", "1"])
    assert not status, capsys.readouterr()


def test_tune(tmp_path: Path) -> None:
    """What `mioconv tune` found is what a later process runs."""
    file = tmp_path / "lines"
    file.write_text(f"MIOpenDriver {LINE} -F 1\nMIOpenDriver {LINE} -F 4\n")
    cache = {"MIOCONV_CACHE": "1", "MIOCONV_CACHE_DIR": str(tmp_path / "cache")}
    child(
        "from mioconv.cli import main\n"
        f"assert not main(['tune', '--device', 'rocm:0', {str(file)!r}])\n",
        **cache,
    )
    out, _ = child(
        "p = mioconv.Problem('forward', x.shape, w.shape, 'float32', padding=1, device='rocm:0')\n"
        "print(mioconv.find_solutions(p)[0].source)\n",
        **cache,
    )
    assert out == "measured"


@pytest.mark.parametrize("database", ["/nowhere", "/usr/share/miopen/db"])
def test_databases(database: str) -> None:
    """With and without those of the distribution, whatever this library finds there."""
    out, _ = child(
        "print(right(conv()), right(conv(benchmark=True)))", MIOPEN_SYSTEM_DB_PATH=database
    )
    assert out == "True True"
