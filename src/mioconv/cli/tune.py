"""Search and keep the best solutions of the problems in a file, ahead of their first use.

FILE holds MIOpenDriver command lines, as typed or as MIOpen logs them with
MIOPEN_ENABLE_LOGGING_CMD=1; empty lines and those that start with # are skipped. The results go
where later processes find them (MIOCONV_CACHE_DIR), and to --output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from mioconv.cli.progress import Bar
from mioconv.preparation import Prepared, SearchProgress, on_search, prepare, read_problems
from mioconv.selection import cache_path, cache_save

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("file", type=Path, help="file of MIOpenDriver command lines")
    parser.add_argument("--device", default="cpu", help='"cpu", "rocm:0", … (default: %(default)s)')
    parser.add_argument("--output", type=Path, help="also save everything to this file")
    parser.add_argument("--workspace-limit", type=int, help="bytes that a solution may use")
    parser.add_argument(
        "--exclude",
        action="append",
        help="a solution's id, or a pattern for its name or algorithm; may be given again",
    )
    parser.add_argument("--deterministic", action="store_true", help="bitwise repeatable ones only")
    parser.add_argument("--allow-tf32", action="store_true", help="as for calls that allow it")


def run(args: argparse.Namespace) -> int:
    """Tune; a problem that could not be is in the table, and makes the exit code 1."""
    try:
        problems = read_problems(args.file, args.device)
    except (OSError, ValueError) as error:
        print(f"mioconv tune: {error}", file=sys.stderr)
        return 2
    prepared: list[Prepared] = []
    bar = Bar("tune")

    def finished(one: Prepared, done: int, total: int) -> None:
        prepared.append(one)
        bar.show(done, total)

    def searching(at: SearchProgress) -> None:
        bar.show(len(prepared) + at.done / at.total, len(problems), at.solution.name)

    before = on_search(searching)
    try:
        prepare(
            problems,
            deterministic=args.deterministic or None,
            allow_tf32=args.allow_tf32 or None,
            workspace_limit=args.workspace_limit,
            exclude=[int(x) if x.isdecimal() else x for x in args.exclude or ()] or None,
            progress=finished,
        )
    finally:
        on_search(before)
        bar.end()
    print("\n".join(_table(prepared)))
    kept = cache_path()
    print(f"kept in {kept}" if kept else "not kept for other processes: MIOCONV_CACHE=0")
    if args.output:
        print(f"{cache_save(args.output)} problems saved to {args.output}")
    return 1 if any(one.error for one in prepared) else 0


def _table(prepared: list[Prepared]) -> Iterator[str]:
    """What was chosen, its time and workspace; the time of what would have run without a search."""
    yield f"{'ms':>9} {'before':>9} {'gain':>6} {'workspace':>12}  solution, problem"
    for one in prepared:
        line = one.problem.driver_line()
        if one.solution is None or one.before is None:
            yield f"{'-':>9} {'-':>9} {'-':>6} {'-':>12}  {one.error}"
            continue
        before = f"{one.before.time_ms:9.4f}" if one.before.source == "measured" else f"{'-':>9}"
        gain = f"{one.speedup:6.2f}" if one.speedup else f"{'-':>6}"
        yield (
            f"{one.solution.time_ms:9.4f} {before} {gain} {one.solution.workspace_bytes:12d}  "
            f"{one.solution.name}, {line}"
        )
