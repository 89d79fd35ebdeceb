"""What libraries behind the ABI answer to the same calls: `tests/seam/answers.cpp`, by library.

    python -m helpers.seam record LIBRARY [HIP RUNTIME] > answers     (in tests/)

prints a library's answers as `tests/data/genuine_answers.json` keeps them. `DIFFERENCES` says where
our providers answer otherwise than MIOpen on purpose, and why.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .standin import ROOT, compiler

SEAM = ROOT / "tests" / "seam"
RECORDED = ROOT / "tests" / "data" / "genuine_answers.json"


def build(source: str, folder: Path, *arguments: str) -> Path:
    """Compile a program of `tests/seam`, in C++ or, by its name, in C."""
    found = compiler()
    assert found, "no C++ compiler"
    language = ["-x", "c", "-std=c11"] if source.endswith(".c") else ["-x", "c++", "-std=c++17"]
    program = folder / source.partition(".")[0]
    subprocess.run(
        [*found, *language, "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}",
         str(SEAM / source), "-x", "none", *arguments, "-ldl", "-lm", "-o", str(program)],
        check=True,
    )  # fmt: skip
    return program


def ask(
    program: Path, library: str, hip: str | None = None, environment: dict[str, str] | None = None
) -> dict[str, str]:
    """What a library answers: values by name. It is its own HIP runtime, if none is given."""
    done = subprocess.run(
        [program, library, *filter(None, [hip])], capture_output=True, text=True, check=False,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [line.split(" = ", 1) for line in done.stdout.splitlines()]
    answers = dict(lines)
    assert len(answers) == len(lines), "two answers of one name"
    return answers


def recorded() -> dict[str, dict[str, str]]:
    """The genuine library's answers by MIOpen's version."""
    releases = json.loads(RECORDED.read_text())["releases"]
    base: dict[str, str] = {}
    found = {}
    for version, release in releases.items():
        # Each is written down as what changes against the one before it.
        base = {**base, **release["answers"]}
        base = {name: value for name, value in base.items() if name not in release["silent"]}
        found[version] = base
    return found


def environment(version: str) -> dict[str, str]:
    """Variables with which a release answered."""
    variables: dict[str, str] = json.loads(RECORDED.read_text())["releases"][version]["environment"]
    return variables


def changes(answers: dict[str, str], base: dict[str, str]) -> dict[str, object]:
    """`answers` as `recorded` reads them."""
    return {
        "answers": {name: value for name, value in answers.items() if base.get(name) != value},
        "silent": [name for name in base if name not in answers],
    }


class Difference(NamedTuple):
    """Where our providers differ: the names of the answers, what ours say, and why."""

    names: str  # a regular expression
    ours: str  # another; "" where they do not say anything
    reason: str


_WAYS = r"(forward|data|weights)"
DIFFERENCES = [
    Difference(r"version\.miopen", r"[\d.]+", "a library of its own"),
    Difference(r"tensor ranks\.rank 1[34].*", "3|", "descriptors have 12 dimensions at most"),
    Difference(
        r"convolution properties\.output padding -1", "3", "a negative output padding means nothing"
    ),
    Difference(
        r"output sizes\.(ranks differ|kernel too large|no groups).*", "3|",
        "the sizes that MIOpen computes for these are made up",
    ),
    Difference(
        rf"(y is larger|y has other channels|y has another batch|y has another type|ranks differ"
        rf"|kernel too large|six dimensions) {_WAYS}\..*", "3",
        "descriptors that contradict each other: MIOpen's kernels would leave their memory",
    ),
    Difference(rf"no groups {_WAYS}\..*", "3|", "MIOpen divides by zero"),
    Difference(rf"id (0|123456789) {_WAYS}\..*", "3|", "MIOpen may crash"),
    Difference(rf"wrong calls {_WAYS}\.type . count", "6", "no solutions for this element type"),
    Difference(rf"wrong calls {_WAYS}\.type . list", "0 none", "no solutions for this type"),
    Difference(
        rf"problems\..* {_WAYS}\.each without workspace", "7|",
        "one library's solutions need workspace, another's do not",
    ),
]  # fmt: skip


def differing(theirs: dict[str, str], ours: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Both answers, "" for none, where they are not the same."""
    both = {name: (theirs.get(name, ""), ours.get(name, "")) for name in {**theirs, **ours}}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def excused(name: str, ours: str) -> Difference | None:
    """The difference that explains this answer of ours, if there is one."""
    return next(
        (d for d in DIFFERENCES if re.fullmatch(d.names, name) and re.fullmatch(d.ours, ours)), None
    )


def _record(library: str, hip: str | None = None) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        answers = ask(build("answers.cpp", Path(folder)), library, hip)
    print(json.dumps(changes(answers, {}), indent=1))


if __name__ == "__main__" and sys.argv[1:2] == ["record"]:
    _record(*sys.argv[2:4])
