from collections.abc import Callable
from typing import Any, Final

version: Final[str]  # of mioconv
cython_version: Final[str]  # of the compiler of these modules
PROVIDERS: Final[tuple[str, str, str]]
CPU: Final[int]
ROCM: Final[int]
CUDA: Final[int]

def set_loader(function: Callable[[int], None]) -> None:
    """What loads a provider at its first use: it is called with its number, and calls `install`."""

def open_library(path: str, only_if_loaded: bool = False) -> int:
    """Open a shared library, privately and for good; OSError with the loader's own words, and with
    an errno where the process lacks descriptors; MemoryError."""

def library_path(handle: int) -> str:
    """The file behind a handle of `open_library`."""

def install(provider: int, hip: int, miopen: int, own: int, paths: tuple[str, str]) -> list[str]:
    """Fill a provider's table; returns the optional functions that its libraries lack."""

def versions(provider: int | str) -> dict[str, Any]:
    """Versions that the loaded libraries report: hip_runtime, hip_driver, miopen, and onednn or
    cudnn and cuda."""

def release(provider: int | str) -> str:
    """The versions that a provider's results and times depend on."""

def devices(provider: int | str) -> list[dict[str, Any]]:
    """Name, architecture, compute units and memory (bytes) of each device."""

def describe(provider: int | str) -> str | None:
    """One line about the library behind a provider of ours; None for the vendor's."""

def object_counts(provider: int | str) -> dict[str, Any]:
    """What a provider of ours made, destroyed, and was called: for leak tests."""

def inject_fault(
    provider: int | str,
    function: str | None,
    *,
    nth: int = 1,
    above_bytes: int = 0,
    solution_id: int = 0,
    status: int = 0,
) -> None:
    """Make a function of a provider of ours fail; ``function=None`` clears every fault."""
