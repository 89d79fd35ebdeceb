"""A progress bar on standard error; nothing where that is no terminal."""

from __future__ import annotations

import shutil
import sys

__all__ = ["Bar"]


class Bar:
    """Draws ``title [####      ] 4/10 what``, over itself."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = sys.stderr.isatty()

    def show(self, done: float, total: int, what: str = "") -> None:
        """Draw the bar anew; `done` may count a part of the next step."""
        if not self._shown:
            return
        filled = int(30 * done / total) if total else 30
        text = f"{self._title} [{'#' * filled:<30}] {int(done)}/{total} {what}"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{text[:width]:<{width}}")
        sys.stderr.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            sys.stderr.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            sys.stderr.flush()
