"""The flags that decide how a solution is chosen: for the process, a context, from the environment.

=======================  ===============================  =======  =================================
flag                     environment variable             default  meaning
=======================  ===============================  =======  =================================
``benchmark``            ``MIOCONV_BENCHMARK``            off      measure solutions once a problem,
                                                                   keep the fastest
``deterministic``        ``MIOCONV_DETERMINISTIC``        off      only solutions whose result is
                                                                   the same every time
``allow_tf32``           ``MIOCONV_ALLOW_TF32``           off      float32 may multiply with 10 bits
                                                                   of mantissa
``workspace_limit``      ``MIOCONV_WORKSPACE_LIMIT``      none     bytes of scratch memory
``exclude``              ``MIOCONV_EXCLUDE``              none     solutions that must not run: ids,
                                                                   patterns for names or algorithms
``num_threads``          ``MIOCONV_NUM_THREADS``          0        CPU threads; 0: the machine's
``benchmark_budget_ms``  ``MIOCONV_BENCHMARK_BUDGET_MS``  1000     of measuring one problem, but
                                                                   three solutions at least
``empty_cache_after_     ``MIOCONV_EMPTY_CACHE_AFTER_     on       scratch memory of a search goes
find``                   FIND``                                    back to the device
``strict_accuracy``      ``MIOCONV_STRICT_ACCURACY``      off      plain sums only: neither
                                                                   Winograd nor FFT
``verify``               ``MIOCONV_VERIFY``               first    whose results are looked at:
                                                                   "first", "always" or "off"
=======================  ===============================  =======  =================================
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mioconv._check import flags as _flags

__all__ = ["flags", "get_flags", "set_flags"]

_TRUE = frozenset({"1", "on", "true", "yes"})
_FALSE = frozenset({"0", "off", "false", "no"})


def get_flags() -> dict[str, Any]:
    """All flags as they are in force in this context, by name."""
    return _flags.get()


def set_flags(**values: Any) -> None:
    """Set flags for the whole process.

    Parameters
    ----------
    **values
        `benchmark`, `deterministic`, `allow_tf32`, `empty_cache_after_find`,
        `strict_accuracy` (bool), `workspace_limit` (bytes or None), `exclude` (a solution, an id, a
        pattern, or a sequence of these), `num_threads` (0: the machine's), `benchmark_budget_ms`,
        `verify` ("first": the first two runs of a solution for a problem on a CPU, and on GPUs
        whatever a search measures; "always": every run, which waits for the device; "off").

    Raises
    ------
    TypeError, ValueError
        An unknown flag or a wrong value; then none is set.
    """
    _flags.set_process(values)


@contextmanager
def flags(**values: Any) -> Iterator[None]:
    """Override flags in this context (thread or task) for the length of a ``with`` block.

    Takes what `set_flags` takes. Blocks nest; flags that a block leaves out keep their value.
    """
    token = _flags.push(values)
    try:
        yield
    finally:
        _flags.pop(token)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Flags that MIOCONV_* variables set; one that makes no sense is an error, not ignored."""
    values: dict[str, Any] = {}
    for name, default in _flags.get().items():
        variable = f"MIOCONV_{name.upper()}"
        text = environment.get(variable, "").strip().lower()
        if not text:
            continue
        if isinstance(default, bool):
            if text not in _TRUE | _FALSE:
                raise ValueError(f"{variable}: expected 1 or 0, but got {environment[variable]!r}")
            values[name] = text in _TRUE
        elif text == "none" and name in ("workspace_limit", "exclude"):
            values[name] = None
        elif name == "exclude":
            words = [word.strip() for word in environment[variable].split(",")]
            values[name] = tuple(int(word) if word.isdecimal() else word for word in words)
        elif name == "verify":
            if text not in ("first", "always", "off"):
                raise ValueError(
                    f"{variable}: expected first, always or off, but got {environment[variable]!r}"
                )
            values[name] = text
        elif text.isdecimal():
            values[name] = int(text)
        else:
            raise ValueError(f"{variable}: expected a number, but got {environment[variable]!r}")
    return values


set_flags(**_from_environment(os.environ))
