"""The exceptions that mioconv raises beside Python's own.

Wrong arguments are `ValueError`, `TypeError` or `BufferError`, as everywhere in Python. What goes
wrong behind the arguments is a `MioconvError`.
"""

from __future__ import annotations

__all__ = [
    "CaptureError",
    "MioconvError",
    "NoSolutionError",
    "OutOfMemoryError",
    "ProviderNotFoundError",
    "StatusError",
    "UnsupportedError",
    "WrongResultWarning",
]


class MioconvError(Exception):
    """Base of every error that is mioconv's own."""


class ProviderNotFoundError(MioconvError):
    """The libraries behind a device could not be loaded.

    The message tells what was searched and where, the loader's own words for each attempt, the
    variable to set and the providers that are available. A failed load is remembered: the same
    text is raised at every later use, in a new exception object.
    """


class UnsupportedError(MioconvError):
    """The provider was loaded, but what was asked is not in it, or not in this release of it."""


class StatusError(MioconvError):
    """A MIOpen or HIP call returned a status other than success.

    Parameters
    ----------
    call : str
        The function that failed, by its exported name.
    status : int
        The `miopenStatus_t` or `hipError_t` that it returned.
    text : str
        The library's own text for that status.
    driver_line : str or None, optional
        The problem as a MIOpenDriver command line, where there is one.
    tried : tuple of str, optional
        Names of the solutions that failed, in this order, where it was solutions.

    Attributes
    ----------
    call, status, text, driver_line, tried
        As given.
    """

    call: str
    status: int
    text: str
    driver_line: str | None
    tried: tuple[str, ...]

    def __init__(
        self,
        call: str,
        status: int,
        text: str,
        driver_line: str | None = None,
        tried: tuple[str, ...] = (),
    ) -> None:
        # args holds exactly the constructor's arguments: pickle rebuilds an exception from them.
        super().__init__(call, status, text, driver_line, tried)
        self.call = call
        self.status = status
        self.text = text
        self.driver_line = driver_line
        self.tried = tried

    def __str__(self) -> str:
        message = f"{self.call} returned status {self.status} ({self.text})"
        if self.driver_line is not None:
            message += f"; the problem: {self.driver_line}"
        if self.tried:
            message += f"; solutions tried: {', '.join(self.tried)}"
        return message


class NoSolutionError(MioconvError):
    """No solution of the library serves this problem under the flags in force.

    The library listed none, none fits the workspace limit, or each of them failed when it ran.
    """


class CaptureError(MioconvError):
    """The call would have to search or compile while a stream is captured into a graph."""


class OutOfMemoryError(MioconvError, MemoryError):
    """The device has not enough memory, after cached blocks were released and retried."""


class WrongResultWarning(RuntimeWarning):
    """A solution of the native library computed something else than the convolution.

    It is set aside for this problem in this process, and the call was done again by another one:
    the result that the caller gets is right. The message has what was seen and the problem as a
    MIOpenDriver command line, for a report.
    """
