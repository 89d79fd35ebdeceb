"""Refuses sub-interpreters, before a compiled module is imported in one.

What the compiled modules keep, and the threads that they wait for, are the process's. One that was
imported in a sub-interpreter, if only to refuse, could not be imported in the main one any more.
"""

from __future__ import annotations

from importlib import import_module

REFUSAL = (
    "mioconv works in a process's main interpreter only, and this is a sub-interpreter (of "
    "mod_wsgi: set WSGIApplicationGroup %{GLOBAL})"
)


def in_main_interpreter() -> bool:
    """Whether this code runs in the main interpreter; True where Python does not say."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # 3.13 renamed it
        try:
            current = import_module(name).get_current()
        except ImportError:
            continue
        return int(current[0] if isinstance(current, tuple) else current) == 0
    return True


if not in_main_interpreter():
    raise ImportError(REFUSAL)
