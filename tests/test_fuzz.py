"""The fuzz finds what is wrong and says how to see it again; regions hold what it found."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fuzz import draw, regions
from fuzz.draw import Problem
from fuzz.examine import Outcome
from fuzz.memory import Arena, in_layout
from fuzz.records import read
from helpers.standin import ROOT
from providers import abi


def fuzz(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments], cwd=ROOT, env=os.environ | variables,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cpu() -> Path:
    path = abi.library_path("cpu")
    assert path is not None
    return path


def test_what_is_offered_is_right() -> None:
    done = fuzz("--seconds", "4", "--seed", "1")
    assert done.returncode == 0, done.stdout
    problems = int(re.search(r"(\d+) problems", done.stdout)[1])  # type: ignore[index]
    assert problems > 3


def test_fused_operations_are_right() -> None:
    """Of forward problems, beside the solutions."""
    done = fuzz("--seconds", "4", "--seed", "2", "--solution", "fused")
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) solutions", done.stdout)[1]) > 3  # type: ignore[index]
    assert re.search(r"^Forward ", done.stdout, re.MULTILINE)


def test_the_same_seed_draws_the_same_problems() -> None:
    first, second = (
        [draw.draw(rng, "cpu") for _ in range(20)] for rng in (random.Random(7), random.Random(7))
    )
    assert first == second
    assert [Problem.from_json(p.to_json()) for p in first] == first


def test_drawn_problems_cover_every_class() -> None:
    """Of ranks, directions, element types, layouts, groups, strides, dilations and alignments."""
    rng = random.Random(3)
    drawn = [draw.draw(rng, "cpu") for _ in range(600)]
    assert {p.direction for p in drawn} == set(draw.DIRECTIONS)
    assert {p.dtype for p in drawn} == set(draw.DTYPES)
    assert {len(p.x) for p in drawn} == {4, 5}
    assert len({p.last for p in drawn}) > 3
    assert {1, 2, 3} <= {s for p in drawn for s in p.stride}
    assert {1, 2, 3} <= {d for p in drawn for d in p.dilation}
    assert {p.transposed for p in drawn} == {False, True}
    assert any(p.groups > 1 and p.w[1] == 1 for p in drawn)
    assert any(any(p.offset) for p in drawn)
    assert all(min(p.y) >= 1 for p in drawn)


def test_neighbours_differ_and_are_possible() -> None:
    rng = random.Random(4)
    problem = draw.draw(rng, "cpu")
    near = [draw.near(rng, problem) for _ in range(50)]
    assert all(p != problem and min(p.y) >= 1 for p in near)


@pytest.mark.parametrize("pages", [False, True])
@pytest.mark.parametrize("at_end", [False, True])
def test_the_memory_around_an_operand_is_watched(pages: bool, at_end: bool) -> None:
    arena = Arena(pages)
    for count, offset in ((4, 0), (100, 4), (4096, 8)):
        memory = arena.place(count, offset, at_end)
        assert memory.ctypes.data % 64 == offset
        memory[...] = 1
        assert arena.touched() == 0
        margin = max(arena._margins(), key=len)
        margin[-1] = 0
        assert arena.touched() == 1


def test_a_layout_is_a_view() -> None:
    memory = np.zeros(2 * 3 * 4 * 5 * 2, np.uint8)
    last = in_layout(memory, (2, 3, 4, 5), np.float16, True)
    assert last.strides == (120, 2, 30, 6)
    last[0, 1, 0, 0] = 1
    assert memory.view(np.float16)[1] == 1


# --- records and regions --------------------------------------------------------------------------


def test_who_never_finished_has_crashed(tmp_path: Path) -> None:
    problem = draw.draw(random.Random(5), "cpu")
    lines = ['{"problem": %s}', '{"solution": "a", "basis": "a packed 0"}', '{"outcomes": []}',
             '{"problem": %s}', '{"solution": "b", "basis": "b packed 0"}']  # fmt: skip
    quoted = __import__("json").dumps(problem.to_json())
    (tmp_path / "0.jsonl").write_text(
        "\n".join(line.replace("%s", quoted) for line in lines) + "\n"
    )
    found = list(read(tmp_path / "0.jsonl"))
    assert found[0] == (problem, [])
    assert found[1][1][0].solution == "b"
    assert found[1][1][0].fault.startswith("crash")


def write(path: Path, runs: list[tuple[Problem, Outcome]]) -> None:
    import json

    with open(path, "w") as file:
        for problem, outcome in runs:
            print(json.dumps({"problem": problem.to_json()}), file=file)
            print(json.dumps({"outcomes": [outcome.to_json()]}), file=file)


def test_an_area_holds_its_faults_and_no_more_than_it_must(tmp_path: Path) -> None:
    """A made-up implementation that is wrong where the batch is large and the rows are long."""
    rng = random.Random(6)
    runs = []
    counts = [count for _, count in regions._FEATURES]
    names = [name for name, _ in regions._FEATURES]
    batch, width = names.index("batch"), names.index("width_out")
    for _ in range(3000):
        problem = draw.draw(rng, "cpu")
        classes = [rng.randrange(count) for count in counts]
        wrong = classes[batch] == 2 and classes[width] >= 4
        basis = "made:avx2 packed " + " ".join(map(str, classes))
        runs.append((problem, Outcome("made", basis, "wrong: all" if wrong else "")))
    write(tmp_path / "0.jsonl", runs)
    rows = regions.gather([tmp_path / "0.jsonl"], [])
    for key, found in rows.items():
        areas = regions.wrong_areas([found], [])
        assert areas is not None, key
        for classes, wrong in zip(found.classes, found.faulty, strict=True):
            struck = any(all(mask >> classes[f] & 1 for f, mask in area) for area in areas)
            assert struck or not wrong
            if struck:
                assert classes[batch] == 2 or classes[width] >= 4
    # What is written can be read back.
    made = regions.make(rows)
    read_back = regions.read_data(regions.to_text(made, "avx2 avx512_core"))
    assert read_back == (made, "avx2 avx512_core")


def test_an_implementation_that_is_often_wrong_is_not_admitted(tmp_path: Path) -> None:
    rng = random.Random(8)
    runs = [
        (draw.draw(rng, "cpu"), Outcome(
            "made", "made:avx2 packed " + " ".join("0" for _ in regions._FEATURES),
            "wrong: all" if rng.random() < 0.2 else ""))
        for _ in range(300)
    ]  # fmt: skip
    write(tmp_path / "0.jsonl", runs)
    rows = regions.make(regions.gather([tmp_path / "0.jsonl"], []))
    assert rows
    assert all(row.comment == "refused" and not any(row.masks) for row in rows)


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_the_data_has_what_is_known(provider: str) -> None:
    """A defect that was added to the script alone would still be offered."""
    data = ROOT / "providers" / provider / f"{provider}_regions_data.inc"
    rows, sets = regions.read_data(data.read_text())
    assert [regions.amended(row) for row in rows] == rows
    assert regions.to_text(rows, sets) == data.read_text()


# Of 290,000 problems on four instruction sets, those that were wrong before the implementation was
# struck out there, or mended ("").
FOUND: list[tuple[str, str, Problem]] = [
    (isa, implementation, Problem(
        direction=direction, dtype=dtype, x=x, w=w, stride=stride, padding=padding,
        dilation=(1,) * len(stride), groups=groups, transposed=transposed, last=(last,) * 3,
        offset=(0, 0, 0), at_end=(True, True, True), threads=threads, tf32=False,
        values="positive", seed=1))
    for isa, implementation, direction, dtype, x, w, stride, padding, groups, transposed, last,
    threads in (
        ("AVX512_CORE", "jit_bf16_1x1", "BackwardData", "bfloat16", (1, 80, 1, 5), (80, 72, 1, 1),
         (1, 1), (0, 0), 1, True, False, 2),
        ("AVX512_CORE_BF16", "jit_bf16", "BackwardWeights", "bfloat16", (17, 11, 1, 1),
         (48, 11, 1, 1), (1, 2), (0, 0), 1, False, True, 2),
        ("AVX512_CORE_BF16", "jit_bf16", "BackwardWeights", "bfloat16", (1, 1, 22, 1),
         (8, 1, 3, 1), (1, 2), (0, 0), 1, False, False, 2),
        ("AVX512_CORE_BF16", "jit_bf16_1x1", "BackwardWeights", "bfloat16", (5, 8, 1, 11352),
         (80, 8, 1, 1), (1, 4), (0, 0), 1, False, True, 2),
        ("AVX512_CORE", "jit_dw", "BackwardWeights", "float32", (1, 16, 18, 12), (16, 1, 26, 2),
         (4, 1), (12, 0), 16, True, False, 1),
        ("AVX2", "jit_dw", "BackwardWeights", "float32", (1, 12, 37, 9), (12, 1, 13, 3), (2, 1),
         (4, 0), 12, False, False, 1),
        ("AVX512_CORE", "jit_dw", "BackwardWeights", "float32", (4, 33, 68, 31), (33, 1, 14, 1),
         (2, 1), (4, 0), 33, False, True, 2),
        ("AVX2", "jit_dw", "BackwardWeights", "float32", (1, 8, 32, 2), (8, 1, 8, 1), (2, 1),
         (4, 0), 8, False, False, 1),
        ("DEFAULT", "brgconv:avx512_core_amx", "Forward", "bfloat16", (1, 48, 2, 24),
         (48, 48, 2, 4), (2, 2), (0, 0), 1, False, True, 2),
        ("DEFAULT", "brgconv:avx512_core_amx", "Forward", "bfloat16", (1, 80, 1, 22),
         (52, 80, 1, 2), (1, 2), (0, 0), 1, False, True, 2),
        ("DEFAULT", "", "BackwardWeights", "bfloat16", (1, 32, 80, 32), (9, 32, 2, 4), (2, 1),
         (0, 0), 1, False, True, 2),
        ("DEFAULT", "", "BackwardWeights", "bfloat16", (10, 38, 15, 61), (6, 38, 1, 3), (1, 1),
         (0, 1), 1, False, True, 3),
    )
]  # fmt: skip


@pytest.mark.parametrize(("isa", "implementation", "problem"), FOUND)
def test_what_was_found_is_right(
    isa: str, implementation: str, problem: Problem, tmp_path: Path
) -> None:
    """Where the machine has the instruction set; elsewhere the problem is right as well."""
    done = fuzz("--problem", problem.to_json(), "--records", str(tmp_path), ONEDNN_MAX_CPU_ISA=isa)
    assert done.returncode == 0, done.stdout
    ((_, outcomes),) = [run for file in tmp_path.glob("*.jsonl") for run in read(file)]
    assert outcomes
    if implementation:
        assert not [o.solution for o in outcomes if o.solution.startswith(implementation)]


def test_the_provider_lists_what_its_regions_admit(cpu: Path) -> None:
    """In a process of its own each: what is wrong is there, and is not offered."""
    program = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import numpy as np\n"
        "from providers import abi\n"
        "library = abi.Library(sys.argv[1])\n"
        "if sys.argv[2] == 'all': library.call('mioconvAdmitAll', 1)\n"
        "x, w, y = (abi.channels_last(np.zeros(s, np.float32)) for s in\n"
        "           ((8, 14, 64, 64), (16, 14, 1, 1), (8, 16, 32, 32)))\n"
        "with library.handle() as handle, abi.problem(library, handle, abi.BACKWARD_WEIGHTS,\n"
        "        x, w, y, stride=(2, 2), padding=(0, 0), dilation=(1, 1)) as problem:\n"
        "    print([library.solution_name(s.solution_id) for s in problem.solutions()])\n"
    )
    listed = {
        what: subprocess.run(
            [sys.executable, "-c", program, str(cpu), what], cwd=ROOT, capture_output=True,
            text=True, check=True, timeout=60,
        ).stdout
        for what in ("all", "admitted")
    }  # fmt: skip
    assert "jit_1x1" not in listed["admitted"]
    assert len(listed["admitted"]) > 10
    description = subprocess.run(
        [sys.executable, "-c", "import mioconv; print(mioconv.providers()['cpu'].description)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    if "not fuzzed" not in description:
        assert "jit_1x1" in listed["all"]
