"""The command line: one module a command, listed in `COMMANDS`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final, Protocol

from mioconv.cli import bench, driver, info, tune
from mioconv.errors import MioconvError

__all__ = ["main"]


class Command(Protocol):
    """What a module of this package offers to be a command; its docstring is the help text."""

    __name__: str
    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's own arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; the result is the process's exit code."""


COMMANDS: Final[tuple[Command, ...]] = (info, bench, tune, driver)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mioconv` with these arguments.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process if None.

    Returns
    -------
    int
        Exit code: 0 done, 1 a mioconv error (its text goes to standard error), 2 wrong usage.
    """
    parser = argparse.ArgumentParser(
        prog="mioconv", description="Convolutions on AMD GPUs through MIOpen, and on CPUs."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        text = (command.__doc__ or "").strip()
        own = commands.add_parser(
            command.__name__.rpartition(".")[2],
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    args = parser.parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except MioconvError as error:
        print(f"mioconv: {error}", file=sys.stderr)
        return 1
    except (ValueError, OverflowError, OSError) as error:
        # Of what was asked for: a number that makes no sense, a file that cannot be written.
        if isinstance(error, BrokenPipeError):
            # The reader, such as `head`, has seen enough. Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        print(f"mioconv: {error}", file=sys.stderr)
        return 2
    return code
