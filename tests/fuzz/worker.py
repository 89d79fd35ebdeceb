"""A process that examines problems one after another and tells a file; it may be ended by any."""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from providers import abi

from .draw import Problem, draw, near
from .examine import Examiner
from .records import read

_SCRATCH_GAP = 1024


def problems(arguments: argparse.Namespace) -> Iterator[Problem]:
    if arguments.problem:
        yield Problem.from_json(arguments.problem)
        return
    rng = random.Random(arguments.seed)
    end = time.monotonic() + arguments.seconds
    faulty = []
    if arguments.near:
        for file in sorted(arguments.near.glob("*.jsonl")):
            faulty += [p for p, outcomes in read(file) if any(o.fault for o in outcomes)]
    while time.monotonic() < end:
        yield near(rng, rng.choice(faulty)) if faulty else draw(rng, arguments.provider)


def main() -> None:
    """Write a line of JSON for each problem: before it, before each solution, and after it.

    What is announced and never finished has ended the process.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--records", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--admit-all", action="store_true")
    parser.add_argument("--near", type=Path)
    parser.add_argument("--problem")
    parser.add_argument("--solution")
    arguments = parser.parse_args()
    library = abi.Library(arguments.library, arguments.provider)
    if arguments.admit_all:
        library.call("mioconvAdmitAll", 1)
    if arguments.provider == "cpu":
        library.call("mioconvSetScratchGap", abi.c.c_size_t(_SCRATCH_GAP))
    with library.handle() as handle, open(arguments.records, "a", buffering=1) as records:
        examiner = Examiner(library, handle)
        for problem in problems(arguments):
            print(json.dumps({"problem": problem.to_json()}), file=records)

            def announce(solution: str, basis: str) -> None:
                print(json.dumps({"solution": solution, "basis": basis}), file=records)

            outcomes = examiner.examine(problem, announce, arguments.solution)
            print(json.dumps({"outcomes": [o.to_json() for o in outcomes]}), file=records)
    os._exit(0)  # a library whose heap is damaged need not get through its own end


if __name__ == "__main__":
    main()
