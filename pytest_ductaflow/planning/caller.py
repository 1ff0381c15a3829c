"""Find the line of user code that makes a call."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ..core.run_files import display_path
from ..core.system.places import PACKAGE


@dataclass(frozen=True)
class Origin:
    """The place of a declaration: a file and, if known, the line."""

    file: str
    line: int | None = None

    def at(self, root: Path) -> str:
        """Return the place for messages: `conductor.py:27`."""
        return display_path(self.file, root) + (f":{self.line}" if self.line else "")


def caller() -> Origin:
    """Return the line of user code that calls into this package."""
    frame = sys._getframe(1)  # noqa: SLF001 - as warnings and logging do
    while frame.f_back is not None and frame.f_code.co_filename.startswith((PACKAGE, "<frozen")):
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)
