"""Results are looked at before they are believed: a library that computes something else is caught.

`fakes/wrong.cpp` is the cpu provider with one fault, told by a variable; libraries are loaded once
for a process, so each case has a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mioconv
from helpers.standin import FAKES, ROOT, compiler
from mioconv.errors import WrongResultWarning

# y has (2, 32, 7, 7) results; groups of 8 of them share channels.
SIZE = 2 * 32 * 7 * 7
PROGRAM = """
import json, sys, warnings
import numpy as np
import mioconv
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 16, 7, 7)).astype(np.float32)
w = rng.standard_normal((32, 4, 3, 3)).astype(np.float32)
settings = dict(padding=1, groups=4)
with mioconv.flags(verify="off", strict_accuracy=True):
    # By the library that is right: in float64, written out.
    right = np.zeros((2, 32, 7, 7))
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for k in range(32):
        for i in range(3):
            for j in range(3):
                group = padded[:, k // 8 * 4 : k // 8 * 4 + 4, i : i + 7, j : j + 7]
                right[:, k] += np.einsum("nchw,c->nhw", group, w[k, :, i, j].astype(np.float64))
problem = mioconv.Problem("forward", x.shape, w.shape, **settings)
said = []
results = []
warnings.showwarning = lambda message, *rest, **more: said.append(str(message))
warnings.simplefilter("always")
for _ in range(int(sys.argv[1])):
    # So many bytes behind a multiple of 64.
    memory = np.zeros(right.size + 32, np.float32)
    start = (int(sys.argv[2]) - memory.ctypes.data) % 64 // 4
    out = memory[start : start + right.size].reshape(right.shape)
    y = mioconv.conv2d_forward(x, w, out=out, **settings)
    results.append(bool(np.abs(y - right).max() < 1e-4))
faults = [s.fault for s in mioconv.find_solutions(problem)]
print(json.dumps([results, said, faults, mioconv.last_call().tried]))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = compiler()
    if not found:
        pytest.skip("no C++ compiler")
    real = Path(mioconv.providers()["cpu"].paths["mioconv's CPU library"])
    path = tmp_path_factory.mktemp("wrong") / "libwrong.so"
    subprocess.run(
        [*found, "-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror",
         "-fvisibility=hidden", f"-I{ROOT / 'include'}", str(FAKES / "wrong.cpp"), str(real),
         f"-Wl,-rpath,{real.parent}", "-ldl", "-o", str(path)],
        check=True,
    )  # fmt: skip
    return path


def run(
    library: Path, wrong: str, *arguments: str, program: str = PROGRAM, **variables: str
) -> Any:
    environment = os.environ | {
        "MIOCONV_CPU_LIBRARY": str(library), "MIOCONV_CACHE": "0", "WRONG": wrong,
        "MIOCONV_NUM_THREADS": "1", **variables,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CASES = {
    "nothing": "at=0 bytes=0",
    "the first result": "at=0 bytes=4",
    "the last result": f"at={4 * (SIZE - 1)} bytes=4",
    "the last group": f"at={4 * (SIZE - 8 * 49)} bytes={4 * 8 * 49}",
    "behind the result": f"at={4 * SIZE} bytes=4",
    "before the result": "at=-4 bytes=4",
    "behind the scratch memory": "at=0 bytes=0 scratch=4",
    "in the first run": "at=0 bytes=4 call=1",
    "in the second run": "at=0 bytes=4 call=2",
    "where the result lies so": "at=0 bytes=4 offset=20",
    "with three threads": "at=0 bytes=4 threads=3",
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_done_again_by_the_next(library: Path, case: str) -> None:
    threads = "3" if "threads" in case else "1"
    offset = "20" if "offset" in CASES[case] else "0"
    results, said, faults, _ = run(library, CASES[case], "3", offset, MIOCONV_NUM_THREADS=threads)
    assert results == [True] * 3
    if case == "nothing" or (case == "behind the scratch memory" and not any(faults)):
        # The first solution may need no scratch memory at all.
        assert not said
        assert not any(faults)
        return
    assert len(said) == 1
    assert "MIOpenDriver conv" in said[0]
    # Tensors of other alignments are another problem, which `find_solutions` does not show.
    assert sum(fault is not None for fault in faults) == (offset == "0")


@pytest.mark.parametrize(
    ("verify", "call", "expected"),
    [("off", 1, [False, True, True, True]), ("first", 3, [True, True, False, True]),
     ("always", 3, [True] * 4)],
)  # fmt: skip
def test_the_flag_says_how_often(
    library: Path, verify: str, call: int, expected: list[bool]
) -> None:
    results, said, _, _ = run(
        library, f"at=0 bytes={4 * SIZE} call={call}", "4", "0", MIOCONV_VERIFY=verify
    )
    assert results == expected
    assert len(said) == (verify == "always")


def test_three_threads_are_a_problem_of_their_own(library: Path) -> None:
    """With other thread counts the solution stays."""
    results, said, faults, _ = run(library, CASES["with three threads"], "3", "0")
    assert results == [True] * 3
    assert not said
    assert not any(faults)


def test_a_library_that_is_wrong_throughout_is_an_error(library: Path) -> None:
    program = PROGRAM.replace(
        "    y = mioconv.conv2d_forward(x, w, out=out, **settings)\n",
        "    try:\n        y = mioconv.conv2d_forward(x, w, out=out, **settings)\n"
        "    except mioconv.errors.NoSolutionError as error:\n"
        "        print(json.dumps(str(error)))\n        sys.exit()\n",
    )
    text = run(library, "at=0 bytes=4 all=1", "1", "0", program=program)
    assert "every solution of this problem" in text
    assert "wrong" in text


FUSED = """
import json, sys, warnings
import numpy as np
import mioconv
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 16, 7, 7)).astype(np.float32)
w = rng.standard_normal((32, 16, 3, 3)).astype(np.float32)
z = rng.standard_normal((2, 32, 7, 7)).astype(np.float32)
with mioconv.flags(verify="off"):
    y = mioconv.conv2d_forward(x, w, padding=1)
said, results, ways = [], [], []
warnings.showwarning = lambda message, *rest, **more: said.append(str(message))
warnings.simplefilter("always")
for _ in range(3):
    if sys.argv[1] == "relu":
        got, right = mioconv.conv2d_relu_forward(x, w, padding=1), np.maximum(y, 0)
    else:
        in_place, right = z.copy(), np.maximum(y + z, 0)
        out = in_place if sys.argv[1] == "in place" else None
        got = mioconv.conv2d_add_relu_forward(x, w, in_place, padding=1, out=out)
    results.append(bool(np.abs(got - right).max() < 1e-3))
    ways.append(mioconv.last_call().way)
print(json.dumps([results, ways, said]))
"""


@pytest.mark.parametrize("benchmark", ["0", "1"])
@pytest.mark.parametrize("operator", ["relu", "add_relu", "in place"])
@pytest.mark.parametrize("where", ["at=0 bytes=4", f"at={4 * (SIZE - 1)} bytes=4"])
def test_a_fused_operation_that_is_wrong(
    library: Path, where: str, operator: str, benchmark: str
) -> None:
    """Found before its result is anybody's: z that is the result is whole."""
    results, ways, said = run(
        library, f"{where} fused=1", operator, program=FUSED, MIOCONV_BENCHMARK=benchmark
    )
    assert results == [True] * 3
    assert ways == ["separate"] * 3
    assert len(said) == 1
    assert said[0].startswith("a fused operation computes something else")


def test_a_fused_operation_that_writes_behind_its_result(library: Path) -> None:
    results, ways, said = run(library, f"at={4 * SIZE} bytes=4 fused=1", "relu", program=FUSED)
    assert results == [True] * 3
    assert ways == ["separate"] * 3
    assert "outside of its result" in said[0]


def test_a_fused_operation_that_is_right(library: Path) -> None:
    results, ways, said = run(library, "at=0 bytes=0 fused=1", "in place", program=FUSED)
    assert (results, ways, said) == ([True] * 3, ["fused"] * 3, [])


WARMED_UP = """
import json, sys, warnings
import numpy as np
import mioconv
x = np.ones((2, 16, 7, 7), np.float32)
w = np.ones((32, 16, 3, 3), np.float32)
call = mioconv.conv2d_relu_forward if sys.argv[2] == "relu" else mioconv.conv2d_forward
right = 16 * np.outer([2, 3, 3, 3, 3, 3, 2], [2, 3, 3, 3, 3, 3, 2])
said = []
warnings.showwarning = lambda message, *rest, **more: said.append(str(message))
warnings.simplefilter("always")
for _ in range(3):
    call(np.full_like(x, float(sys.argv[1])), w, padding=1)
y = call(x, w, padding=1)
print(json.dumps([bool((y == right).all()), len(said)]))
"""


@pytest.mark.parametrize("benchmark", ["0", "1"])
@pytest.mark.parametrize("operator", ["plain", "relu"])
@pytest.mark.parametrize("value", ["0", "nan", "inf"])
def test_runs_that_show_nothing_are_not_counted(
    library: Path, value: str, operator: str, benchmark: str
) -> None:
    """Zeros, and what is not finite, come out of a wrong solution too: it has to show itself on
    other operands."""
    fused = "fused=1" if operator == "relu" else ""
    right, said = run(
        library, f"at=0 bytes={4 * SIZE} halved=1 {fused}", value, operator, program=WARMED_UP,
        MIOCONV_BENCHMARK=benchmark,
    )  # fmt: skip
    assert right
    assert said == 1


PINNED = """
import json, warnings
import numpy as np
import mioconv
warnings.simplefilter("ignore")
x, w = np.ones((2, 16, 7, 7), np.float32), np.ones((32, 16, 3, 3), np.float32)
solution = mioconv.find_solutions(mioconv.Problem("forward", x.shape, w.shape))[0]
try:
    mioconv.conv2d_forward(x, w, solution=solution)
except mioconv.errors.NoSolutionError as error:
    print(json.dumps(str(error)))
"""


def test_a_pinned_solution_that_is_wrong_is_an_error(library: Path) -> None:
    text = run(library, "at=0 bytes=4", program=PINNED)
    assert "set aside" in text
    assert "the result at (0, 0, 0, 0) is" in text


PLAN = """
import json, warnings
import numpy as np
import mioconv
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 16, 9, 9)).astype(np.float32)
w = rng.standard_normal((32, 16, 3, 3)).astype(np.float32)
problem = mioconv.Problem("forward", x.shape, w.shape)
first = mioconv.find_solutions(problem)[0]
plans = [mioconv.plan(problem, constant_weights=constant) for constant in (False, True)]
ys = [plan(x, w) for plan in plans]
with mioconv.flags(verify="off"):
    y = mioconv.conv2d_forward(x, w, solution=plans[0].solution)
print(json.dumps([bool(np.abs(one - y).max() < 1e-4) for one in ys]
                 + [plans[0].solution.id != first.id]))
"""


def test_a_plan_is_looked_at_when_it_is_made(library: Path) -> None:
    assert run(library, "at=0 bytes=64", program=PLAN) == [True, True, True]


SEARCH = """
import json, pathlib, warnings
import numpy as np
import mioconv
warnings.simplefilter("ignore")
x = np.zeros((2, 16, 9, 9), np.float32)
w = np.zeros((32, 16, 3, 3), np.float32)
problem = mioconv.Problem("forward", x.shape, w.shape)
prepared = mioconv.prepare(problem, benchmark=True)
listed = mioconv.find_solutions(problem)
files = "".join(p.read_text() for p in pathlib.Path(mioconv.cache_path()).glob("*.plans"))
wrong = [s for s in listed if s.fault]
print(json.dumps([len(wrong), [str(s.id) in files for s in wrong],
                  sum(str(s.id) in files for s in listed if not s.fault)]))
"""


def test_a_search_sets_aside_and_never_keeps(library: Path, tmp_path: Path) -> None:
    wrong, kept, others = run(
        library, f"at={4 * 31 * 49} bytes=4", program=SEARCH, MIOCONV_CACHE="1",
        MIOCONV_CACHE_DIR=str(tmp_path), XDG_CACHE_HOME=str(tmp_path),
    )  # fmt: skip
    assert wrong == 1
    assert kept == [False]
    assert others > 0


def test_values_that_are_not_finite_are_no_fault() -> None:
    """What a sum meets there is the caller's; blocks of a solution may spread it further."""
    x = np.ones((1, 16, 9, 9), np.float32)
    x[0, 3, 4, 4] = np.nan
    w = np.ones((16, 16, 3, 3), np.float32)
    problem = mioconv.Problem("forward", x.shape, w.shape, padding=1)
    mioconv.cache_clear()
    for solution in mioconv.find_solutions(problem):
        y = mioconv.conv2d_forward(x, w, padding=1, solution=solution)
        assert np.isnan(y[0, :, 3:6, 3:6]).all(), solution.name
    assert not any(s.fault for s in mioconv.find_solutions(problem))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_huge_values_are_no_fault(dtype: str) -> None:
    largest = float(np.finfo(dtype).max)
    x = np.full((1, 16, 9, 9), largest / 4, dtype)
    w = np.full((16, 16, 3, 3), 1 / 16, dtype)
    mioconv.cache_clear()
    with np.errstate(over="ignore"):
        y = mioconv.conv2d_forward(x, w, padding=1)
    assert y.shape == (1, 16, 9, 9)
    assert not any(
        s.fault
        for s in mioconv.find_solutions(
            mioconv.Problem("forward", x.shape, w.shape, dtype=dtype, padding=1)
        )
    )


def test_wrong_values_of_the_flag_are_refused() -> None:
    with pytest.raises(ValueError, match="'off', 'first', 'always'"):
        mioconv.set_flags(verify="never")
    with pytest.raises(TypeError, match="verify"):
        mioconv.set_flags(verify=True)
    assert mioconv.get_flags()["verify"] == "first"
    assert issubclass(WrongResultWarning, RuntimeWarning)
