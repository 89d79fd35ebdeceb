"""Which faults would no test see? Run by `make mutate`; exits 1 if there are any.

    python -m mutation [--only WORDS] [--keep-build] [-j JOBS]      in tests/

The sources are copied to build/mutants, with each fault of `mutations.py` behind a switch, and
built once, into a folder of its own. Then the tests of each fault run with that one switched on, by
the variable MUTATION; a test that fails, or never ends, has seen it. Without any, all must pass.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutation.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "mutants"
TREE, SITE = WORK / "tree", WORK / "site"
SECONDS = 300  # a test that takes longer waits for ever

HEADER = """#pragma once
#include <cstdlib>
#include <cstring>
namespace mioconv {
inline bool mutation(const char* name) {
    const char* wanted = std::getenv("MUTATION");
    return wanted != nullptr && std::strcmp(wanted, name) == 0;
}
}  // namespace mioconv
"""
CYTHON = """
cdef extern from "mioconv/mutation.hpp" nogil:
    bint mutation "mioconv::mutation"(const char*) noexcept
"""


def mutated(text: str, mutation: Mutation) -> str:
    """The text of a file with one more switch."""
    assert text.count(mutation.old) == 1, (
        f"{mutation.name}: {mutation.file} has {text.count(mutation.old)} times {mutation.old!r}"
    )
    start = text.index(mutation.old)
    line_start = text.rindex("\n", 0, start) + 1
    indent = re.match(" *", text[line_start:]).group()  # type: ignore[union-attr]
    old, new = mutation.old, mutation.new
    suffix = Path(mutation.file).suffix
    switch = {
        ".pyx": f'mutation(b"{mutation.name}")',
        ".py": f'(os.environ.get("MUTATION") == "{mutation.name}")',
    }.get(suffix, f'::mioconv::mutation("{mutation.name}")')
    python = suffix in (".py", ".pyx")
    if mutation.expression:
        both = (
            f"(({new}) if {switch} else ({old}))" if python else f"({switch} ? ({new}) : ({old}))"
        )
    elif python:
        inner = f"{indent}    "
        old = old.replace("\n", "\n    ")
        new = new.replace("\n", f"\n{inner}")
        both = f"if {switch}:\n{inner}{new}\n{indent}else:\n{inner}{old}"
    else:
        both = f"if ({switch}) {{ {new} }} else {{ {old} }}"
    return text.replace(mutation.old, both)


def copy(*folders: str) -> None:
    """The files of the checkout, into the tree."""
    files = subprocess.run(
        ["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    for name in filter(None, files):
        target = TREE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def build() -> None:
    """The mutated tree, and the package from it in SITE."""
    shutil.rmtree(WORK, ignore_errors=True)
    copy()
    (TREE / "include" / "mioconv" / "mutation.hpp").write_text(HEADER)
    for name in dict.fromkeys(mutation.file for mutation in MUTATIONS):
        path = TREE / name
        text = path.read_text()
        for mutation in MUTATIONS:
            if mutation.file == name:
                text = mutated(text, mutation)
        if path.suffix == ".pyx":  # behind the docstring
            text = re.sub(r'\A"""(?:.|\n)*?"""\n', lambda m: m.group() + CYTHON, text)
        elif path.suffix in (".hpp", ".cpp"):
            text = text.replace("#include", '#include "mioconv/mutation.hpp"\n#include', 1)
        path.write_text(text)
    here = importlib.util.find_spec("scikit_build_core") and importlib.util.find_spec("Cython")
    isolation = ["--no-build-isolation"] if here and shutil.which("ninja") else []
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *isolation,
         "--target", str(SITE), str(TREE)],
        check=True,
    )  # fmt: skip
    # An editable install comes before every path, by an import hook.
    (SITE / "sitecustomize.py").write_text(
        "import sys\n"
        "sys.meta_path[:] = [\n"
        "    finder for finder in sys.meta_path\n"
        "    if not type(finder).__module__.startswith('_editable')\n"
        "]\n"
    )


def passes(selection: str, mutation: str) -> bool:
    """Whether the tests pass, one of two times: on a busy machine a search may be cut short."""
    return run(selection, mutation) or run(selection, mutation)


def run(selection: str, mutation: str) -> bool:
    """Whether the tests pass."""
    environment = {**os.environ, "MUTATION": mutation, "PYTHONPATH": str(SITE)}
    tests = TREE / "tests"
    if selection.startswith("rocm:"):
        command = ["-m", "helpers.standin", "hip6", "-x", "-q", "-k", selection[5:]]
        folder = tests
    else:
        command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *shlex.split(selection)]
        folder = TREE
    process = subprocess.Popen(
        [sys.executable, *command], cwd=folder, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return process.wait(SECONDS) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        # What a test has left behind ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def survives(mutation: Mutation) -> bool:
    alive = all(passes(selection, mutation.name) for selection in mutation.tests)
    print(f"{'SURVIVED' if alive else 'seen    '}  {mutation.name}", flush=True)
    return alive


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument(
        "--only", default="", help="faults whose name has this, a regular expression"
    )
    parser.add_argument(
        "--keep-build", action="store_true", help="the last one, with the tests of now"
    )
    parser.add_argument("-j", type=int, default=1, help="faults at a time")
    args = parser.parse_args()
    wanted = [mutation for mutation in MUTATIONS if re.search(args.only, mutation.name)]
    if args.keep_build:
        copy("tests")
    else:
        build()
    for selection in dict.fromkeys(test for mutation in wanted for test in mutation.tests):
        if not passes(selection, ""):
            print(f"without any fault, {selection} fails", file=sys.stderr)
            return 2
    with ThreadPoolExecutor(args.j) as pool:
        alive = [
            mutation for mutation, lives in zip(wanted, pool.map(survives, wanted), strict=True)
            if lives
        ]  # fmt: skip
    print(f"{len(alive)} of {len(wanted)} survived")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
