"""Opening a provider's libraries and handing them to the core.

A provider is loaded once, at its first use, by one thread; the outcome is remembered either way.

The vendor's two libraries must belong together, and a process must never hold two HIP runtimes:
each would have its own idea of contexts, streams and memory. So:

1. A HIP runtime that is in the process already, or that MIOCONV_HIP_LIBRARY names, is *the*
   runtime. If both exist and are different files, that is an error.
2. MIOpen is searched for. Beside that runtime, if there is one, right after the explicit variable
   and the copies already loaded; then in the usual order.
3. If there was no runtime yet, MIOpen has brought its own as a dependency, and that one is taken:
   never another found by a search of its own. Only where MIOpen's dependency cannot be resolved is
   the HIP runtime of the same installation opened first and MIOpen tried again.
4. At last every copy of the HIP runtime in the process is counted. A second one is an error that
   names both files.

Libraries are opened with RTLD_NOW | RTLD_LOCAL and never closed.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mioconv._loader import elf, search
from mioconv._loader.catalogue import NUMBERS, Library, Provider
from mioconv._loader.search import Candidate, Looked
from mioconv.errors import ProviderNotFoundError

__all__ = ["Failed", "Found", "Loaded", "Loader", "Native"]


# What the process lacks now, and may have later.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class Native(Protocol):
    """What the loader needs from the compiled core."""

    def open_library(self, path: str, only_if_loaded: bool = False, /) -> int:
        """Open a library and return its handle; OSError with the loader's own words, and with an
        errno where the process lacks descriptors; MemoryError."""

    def library_path(self, handle: int, /) -> str:
        """The file behind a handle."""

    def install(
        self, provider: int, hip: int, miopen: int, own: int, paths: tuple[str, str], /
    ) -> list[str]:
        """Fill the table; return missing optional symbols, LookupError for required ones."""


@dataclass(frozen=True, slots=True)
class Found:
    """A library that was opened.

    Attributes
    ----------
    title : str
        What it is.
    path : str
        Its real path.
    step : str
        The search step that found it.
    """

    title: str
    path: str
    step: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A provider that is ready.

    Attributes
    ----------
    provider : str
        Its name.
    libraries : tuple of Found
        The libraries behind it, HIP first; for a provider of our own its library, then what that
        needs.
    missing : tuple of str
        Optional functions that this release of the libraries does not have.
    """

    provider: str
    libraries: tuple[Found, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A provider that could not be loaded, and the text that says why."""

    provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Opened:
    handle: int
    found: Found


class _LoadError(Exception):
    """A reason, in the words of the final error, without the list of other providers."""


@dataclass(slots=True)
class _Report:
    """Everything that was tried for one library, as the error text tells it."""

    library: Library
    lines: list[str] = field(default_factory=list)

    def add(self, step: str, text: str) -> None:
        self.lines.append(f"  {step}: {text}")

    def __str__(self) -> str:
        names = ", ".join(self.library.names)
        return "\n".join([f"{self.library.title} ({names}) was searched for:", *self.lines])


class Loader:
    """Loads providers, each once, and remembers the outcome.

    Parameters
    ----------
    native : Native
        The compiled core's functions.
    package_folders : iterable of str
        Folders that hold mioconv's own libraries.
    environ : mapping, optional
        Environment variables, read when a provider is loaded.

    Attributes
    ----------
    lock : threading.RLock
        Held while libraries are opened.
    """

    def __init__(
        self,
        native: Native,
        package_folders: Iterable[str],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._native = native
        self._folders = tuple(package_folders)
        self._environ = os.environ if environ is None else environ
        self._outcomes: dict[int, Loaded | Failed] = {}
        self._texts: dict[int, str] = {}
        # One lock for all: loading takes milliseconds, and the error of one provider asks for the
        # others, which separate locks would turn into a deadlock. Reentrant for the same reason.
        self.lock = threading.RLock()

    def load(self, number: int) -> Loaded:
        """Load a provider, or raise what loading it raised the first time.

        Parameters
        ----------
        number : int
            The core's number of the provider.

        Raises
        ------
        ProviderNotFoundError
            Its libraries are not there or not usable; a new object with the same text every time.
        """
        outcome = self.outcome(number)
        if isinstance(outcome, Loaded):
            return outcome
        with self.lock:
            if number not in self._texts:
                self._texts[number] = self._text(outcome)
            raise ProviderNotFoundError(self._texts[number])

    def outcome(self, number: int) -> Loaded | Failed:
        """Load a provider if that was not tried yet, and say how it went.

        Raises
        ------
        MemoryError, OSError
            The process lacks memory, address space or file descriptors. That says nothing of the
            libraries, and the next call tries again.
        """
        known = self._outcomes.get(number)
        if known is not None:
            return known
        with self.lock:
            if number not in self._outcomes:
                provider = NUMBERS[number]
                try:
                    self._outcomes[number] = self._attempt(provider)
                except _LoadError as error:
                    # A search finds nothing, and says nothing, where no folder can be opened.
                    with open(os.devnull):
                        pass
                    self._outcomes[number] = Failed(provider.name, str(error))
            return self._outcomes[number]

    def loaded(self, number: int) -> Loaded | None:
        """The provider if it is loaded; loads nothing."""
        known = self._outcomes.get(number)
        return known if isinstance(known, Loaded) else None

    def _text(self, failed: Failed) -> str:
        available = [p.name for p in NUMBERS.values() if self._is_available(p)]
        return (
            f"the {failed.provider} provider is not available: {failed.reason}\n"
            f"Available providers: {', '.join(available) if available else 'none'}."
        )

    def _is_available(self, provider: Provider) -> bool:
        # Our own libraries are small and sit in the package: try them. The vendor's are not
        # brought into a process for the sake of an error text.
        if provider.own is not None and not provider.needs:
            return isinstance(self.outcome(provider.number), Loaded)
        return self.loaded(provider.number) is not None

    def _attempt(self, provider: Provider) -> Loaded:
        if provider.own is not None:
            return self._attempt_own(provider, provider.own)
        assert provider.hip is not None
        assert provider.miopen is not None
        hip, miopen = self._open_vendor(provider.hip, provider.miopen)
        missing = self._install(provider, hip, miopen, own=0)
        return Loaded(provider.name, (hip.found, miopen.found), missing)

    def _attempt_own(self, provider: Provider, library: Library) -> Loaded:
        report = _Report(library)
        opened = self._explicit(library, report)
        if opened is None:
            opened = self._first([search.in_package(library, self._folders)], library, report)
        if opened is None:
            raise _LoadError(
                f"{library.title} was not found. This build of mioconv may be without it.\n{report}"
                f"\nSet {library.variable} to its full path to use another copy."
            )
        needed = [self._open_needed(need) for need in provider.needs]
        missing = self._install(provider, opened, opened, own=opened.handle)
        return Loaded(provider.name, (opened.found, *needed), missing)

    def _open_needed(self, library: Library) -> Found:
        """Open what a library of ours will ask the dynamic loader for by name."""
        report = _Report(library)
        opened = self._explicit(library, report)
        if opened is None:
            steps = [search.already_loaded(library)]
            steps.extend(search.everywhere_else(library, self._environ))
            opened = self._first(steps, library, report)
        if opened is None:
            raise _LoadError(
                f"{library.title} was not found.\n{report}\n"
                f"Set {library.variable} to the full path of {library.names[0]}."
            )
        return opened.found

    def _open_vendor(self, hip: Library, miopen: Library) -> tuple[_Opened, _Opened]:
        hip_report, report = _Report(hip), _Report(miopen)
        runtime = self._running(hip, hip_report)
        named = self._environ.get(hip.variable, "")
        # Compared before it is opened: opening it would already be the second runtime.
        if runtime and os.path.isfile(named) and os.path.realpath(named) != runtime.found.path:
            raise _LoadError(
                _two_runtimes([runtime.found.path, os.path.realpath(named)])
                + f" Unset {hip.variable}, or set it to the copy that is loaded."
            )
        runtime = self._explicit(hip, hip_report) or runtime

        found = self._explicit(miopen, report, companion=None if runtime else hip)
        if found is None:
            steps = [search.already_loaded(miopen)]
            if runtime is not None:
                steps.append(search.beside(miopen, runtime.found.path, hip.title))
            steps.extend(search.everywhere_else(miopen, self._environ))
            found = self._first(steps, miopen, report, companion=None if runtime else hip)
        if found is None:
            raise _LoadError(
                f"{miopen.title} was not found.\n{report}\n{self._whereabouts(hip, runtime)}\n"
                f"Set {miopen.variable} to the full path of {miopen.names[0]}, and {hip.variable} "
                f"if the {hip.title} is not beside it."
            )

        if runtime is None:
            runtime = self._running(hip, hip_report, step=f"brought by {miopen.title}")
        if runtime is None:
            # MIOpen without a HIP dependency of its own: its neighbour, or the usual search.
            steps = [search.beside(hip, found.found.path, miopen.title)]
            steps.extend(search.everywhere_else(hip, self._environ))
            runtime = self._first(steps, hip, hip_report)
        if runtime is None:
            raise _LoadError(
                f"{miopen.title} is {found.found.path}, but the {hip.title} was not found.\n"
                f"{hip_report}\nSet {hip.variable} to the full path of {hip.names[-1]}."
            )
        copies = {runtime.found.path, *search.mapped_files(hip.names[-1])}
        if len(copies) > 1:
            raise _LoadError(
                _two_runtimes(sorted(copies))
                + f" {miopen.title} is {found.found.path}. Set {hip.variable} and "
                f"{miopen.variable} to libraries of one installation, the one that the other "
                "packages of this process use."
            )
        return runtime, found

    def _running(
        self, library: Library, report: _Report, step: str = "already loaded"
    ) -> _Opened | None:
        """The copy that is in the process now, if there is one."""
        looked = search.already_loaded(library)
        candidates = tuple(Candidate(c.name, step, c.only_if_loaded) for c in looked.candidates)
        return self._first([Looked(step, looked.where, candidates)], library, report)

    def _explicit(
        self, library: Library, report: _Report, companion: Library | None = None
    ) -> _Opened | None:
        """What the library's variable names; a failure is an error, never skipped."""
        looked = search.from_variable(library, self._environ)
        opened = self._first([looked], library, report, companion)
        if looked.candidates and opened is None:
            raise _LoadError(
                f"{library.variable} is set, but what it names cannot be opened.\n"
                + "\n".join(report.lines[-1:])
                + f"\nCorrect {library.variable}, or unset it to search for {library.title}."
            )
        return opened

    def _first(
        self,
        steps: Iterable[Looked],
        library: Library,
        report: _Report,
        companion: Library | None = None,
    ) -> _Opened | None:
        """Open the first candidate that opens; put every attempt into the report."""
        for looked in steps:
            failures: list[str] = []
            for candidate in looked.candidates:
                try:
                    return self._open(candidate, library, companion)
                except OSError as error:
                    if error.errno in _PASSING:
                        raise
                    failures.append(str(error))
            if not looked.candidates:
                report.add(looked.step, looked.where)
            elif all(c.only_if_loaded for c in looked.candidates):
                report.add(looked.step, "no")
            else:
                report.add(looked.step, "; ".join(dict.fromkeys(failures)))
        return None

    def _open(
        self, candidate: Candidate, library: Library, companion: Library | None = None
    ) -> _Opened:
        if not candidate.only_if_loaded:
            elf.check(candidate.name)
        try:
            handle = self._native.open_library(candidate.name, candidate.only_if_loaded)
        except OSError as error:
            if error.errno in _PASSING or companion is None or not os.path.isabs(candidate.name):
                raise
            # The library may be there and only its dependency not: open that one from the same
            # installation. Where it is missing too, the first error is the one that helps.
            beside = search.beside(companion, candidate.name, library.title)
            if self._first([beside], companion, _Report(companion)) is None:
                raise
            handle = self._native.open_library(candidate.name, candidate.only_if_loaded)
        path = os.path.realpath(self._native.library_path(handle))
        return _Opened(handle, Found(library.title, path, candidate.step))

    def _install(
        self, provider: Provider, hip: _Opened, miopen: _Opened, own: int
    ) -> tuple[str, ...]:
        paths = (hip.found.path, miopen.found.path)
        try:
            missing = self._native.install(provider.number, hip.handle, miopen.handle, own, paths)
        except LookupError as error:
            # The text names library, file and function.
            raise _LoadError(str(error)) from None
        return tuple(missing)

    def _whereabouts(self, library: Library, opened: _Opened | None) -> str:
        """Where a library is that was not the reason of a failure; opens nothing."""
        if opened is not None:
            return f"The {library.title} is {opened.found.path} ({opened.found.step})."
        # The loader's own word is no path: what it would find is looked up.
        known = search.known_to_loader(library, self._environ)
        found = [
            known.get(candidate.name, candidate.name)
            for looked in search.everywhere_else(library, self._environ)
            for candidate in looked.candidates
        ]
        files = list(dict.fromkeys(name for name in found if os.path.isabs(name)))
        if files:
            return f"The {library.title} is there, unopened: {', '.join(files)}."
        names = ", ".join(library.names)
        return f"The {library.title} ({names}) is in none of these places either."


def _two_runtimes(paths: list[str]) -> str:
    return (
        f"two HIP runtimes would be in this process: {' and '.join(paths)}. Each keeps its own "
        "contexts and memory, so mioconv uses neither."
    )
