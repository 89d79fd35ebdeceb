"""The tests in this folder, inside a root with the genuine libMIOpen of one release.

    python -m genuine 6 [pytest's arguments]         (in tests/; 7: the newer release)
    python -m genuine 6 -- mioconv info              any command instead

Exit status 77: this machine cannot do it, and the text says why.
"""

from __future__ import annotations

import sys

from . import inside, root


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in root.RELEASES:
        print(__doc__)
        return 2
    major, *more = arguments
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q",
               str(inside.STANDIN.parent), *more]  # fmt: skip
    if more[:1] == ["--"]:
        command = more[1:]
    try:
        folder = root.make(major)
        print(f"genuine MIOpen {folder.name}", flush=True)
        return inside.run(folder, major, command)
    except root.NotHere as reason:
        print(f"genuine MIOpen {major}: not run here: {reason}")
        return 77


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
