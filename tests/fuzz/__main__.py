"""Fuzz a provider's solutions for a while; the exit status says whether all were right.

A fault is printed with a command that shows it again. Workers are processes of their own: one that
a solution ends, or that hangs, is replaced.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from providers import abi

from .draw import DIRECTIONS, DTYPES, Problem
from .examine import Outcome
from .records import read

_HANGS_AFTER = 120  # seconds in which nothing was written


@dataclass
class Job:
    """A worker, and the file that it writes."""

    process: subprocess.Popen[bytes]
    records: Path

    def hangs(self) -> bool:
        return time.time() - self.records.stat().st_mtime > _HANGS_AFTER


def _start(arguments: argparse.Namespace, seed: int, seconds: float, folder: Path) -> Job:
    records = folder / f"{seed}.jsonl"
    records.touch()
    command = [
        sys.executable, "-m", "tests.fuzz.worker", "--provider", arguments.provider,
        "--library", str(arguments.library), "--records", str(records), "--seed", str(seed),
        "--seconds", str(seconds),
    ]  # fmt: skip
    if arguments.admit_all:
        command.append("--admit-all")
    if arguments.near:
        command += ["--near", str(arguments.near)]
    if arguments.problem:
        command += ["--problem", arguments.problem]
    if arguments.solution:
        command += ["--solution", arguments.solution]
    # Two workers must not wait for each other's threads.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    return Job(subprocess.Popen(command, env=environment), records)


def _run(arguments: argparse.Namespace, folder: Path) -> list[Path]:
    """Let workers run until the time is over; their files."""
    end = time.monotonic() + arguments.seconds
    seed = arguments.seed
    files: list[Path] = []
    jobs: list[Job] = []

    def start() -> None:
        nonlocal seed
        jobs.append(_start(arguments, seed, max(1.0, end - time.monotonic()), folder))
        files.append(jobs[-1].records)
        seed += 1

    for _ in range(arguments.jobs):
        start()
    while jobs:
        time.sleep(0.05)
        for job in list(jobs):
            if job.process.poll() is None:
                if job.hangs():
                    job.process.kill()
                continue
            jobs.remove(job)
            if job.process.returncode and not job.records.stat().st_size:
                raise SystemExit("a worker ended before its first problem")
            if time.monotonic() < end - 1 and not arguments.problem:
                start()
    return files


def _reproduction(arguments: argparse.Namespace, problem: Problem, outcome: Outcome) -> str:
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return " ".join([
        *([f"ONEDNN_MAX_CPU_ISA={limit}"] if limit else []),
        f"python -m tests.fuzz --provider {arguments.provider}",
        *(["--admit-all"] if arguments.admit_all else []),
        f"--solution '{outcome.solution}' --problem '{problem.to_json()}'",
    ])  # fmt: skip


def _coverage(seen: Counter[tuple[str, str, str]]) -> str:
    """Runs of solutions by direction, element type and layout."""
    layouts = ("packed", "channels_last", "mixed")
    rows = [f"{'solutions run':18}" + "".join(f"{layout:>15}" for layout in layouts)]
    for direction in DIRECTIONS:
        for dtype in DTYPES:
            counts = "".join(f"{seen[direction, dtype, layout]:15,}" for layout in layouts)
            rows.append(f"{direction:15} {dtype:9}"[:25].ljust(25) + counts[7:])
    return "\n".join(rows)


def main() -> int:
    """Run, report, and answer 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--provider", default="cpu", choices=("cpu", "cuda", "rocm"))
    parser.add_argument("--library", type=Path, help="of the provider; else the installed one")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--jobs", type=int, default=1, help="workers at a time")
    parser.add_argument("--seed", type=int, default=None, help="of the first worker")
    parser.add_argument("--records", type=Path, help="a folder that keeps what was seen")
    parser.add_argument(
        "--admit-all", action="store_true", help="also what the provider does not offer"
    )
    parser.add_argument("--near", type=Path, help="records: problems like those with faults there")
    parser.add_argument("--problem", help="this one alone, as a reproduction has it")
    parser.add_argument("--solution", help="this one alone, by its name")
    arguments = parser.parse_args()
    arguments.library = arguments.library or abi.library_path(arguments.provider)
    if arguments.library is None:
        print(f"there is no {arguments.provider} library here")
        return 77
    arguments.library = arguments.library.resolve()
    if arguments.seed is None:
        arguments.seed = secrets.randbelow(1 << 40) << 10
    print(f"seed {arguments.seed}", flush=True)

    problems = runs = 0
    faults: dict[tuple[str, str], list[tuple[Problem, Outcome]]] = {}
    seen: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.records or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for file in _run(arguments, folder):
            for problem, outcomes in read(file):
                problems += 1
                layout = {(True,) * 3: "channels_last", (False,) * 3: "packed"}.get(
                    problem.last, "mixed"
                )
                seen[problem.direction, problem.dtype, layout] += len(outcomes)
                runs += len(outcomes)
                for outcome in outcomes:
                    if outcome.fault:
                        kind = f"{problem.direction} {problem.dtype} {outcome.solution}"
                        key = kind, outcome.fault.split(":")[0]
                        faults.setdefault(key, []).append((problem, outcome))
    print(_coverage(seen))
    for (kind, fault), found in sorted(faults.items()):
        problem, outcome = min(found, key=lambda item: item[0].operations)
        print(f"\n{fault}, {len(found)} times: {kind}\n  {outcome.fault}")
        print(f"  {_reproduction(arguments, problem, outcome)}")
    wrong = sum(map(len, faults.values()))
    print(f"\n{problems} problems, {runs} solutions, each run twice: {wrong} faults")
    return 1 if wrong or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
