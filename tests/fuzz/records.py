"""What workers wrote, as outcomes: who was announced and never finished has ended its process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .draw import Problem
from .examine import Outcome


def read(path: Path) -> Iterator[tuple[Problem, list[Outcome]]]:
    """Each problem of a file of records with what its solutions did."""
    problem: Problem | None = None
    running: dict[str, str] | None = None

    def ended() -> list[Outcome]:
        if running is None:
            return [Outcome("none yet", "", "crash: the process ended before a solution ran")]
        return [Outcome(running["solution"], running["basis"], "crash: the process ended")]

    with open(path) as lines:
        for line in lines:
            if not line.endswith("\n"):
                break  # written when the process ended
            entry = json.loads(line)
            if "problem" in entry:
                if problem is not None:
                    yield problem, ended()
                problem, running = Problem.from_json(entry["problem"]), None
            elif "outcomes" in entry:
                assert problem is not None
                yield problem, [Outcome(**outcome) for outcome in entry["outcomes"]]
                problem = running = None
            else:
                running = entry
    if problem is not None:
        yield problem, ended()
