"""Find the line of user code that makes a call."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ..core.run_directory.layout import display_path
from ..core.system.places import PACKAGE

LIBRARY = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib"))
PACKAGES = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("purelib", "platlib"))


@dataclass(frozen=True)
class Origin:
    """The place of a declaration: a file and, if known, the line."""

    file: str
    line: int | None = None

    def at(self, root: Path) -> str:
        """Return the place for messages: `conductor.py:27`."""
        return display_path(self.file, root) + (f":{self.line}" if self.line else "")


def caller() -> Origin:
    """Return the line of user code that calls into this package.

    A thread may have nothing but a function of ours to run: the call is then that of the script.
    """
    found = next((frame for frame in _frames() if not _is_of_library(frame)), None)
    if found is not None:
        return Origin(found.f_code.co_filename, found.f_lineno)
    script = getattr(sys.modules["__main__"], "__file__", None)
    return Origin(os.path.abspath(script) if script else "<thread>")


def _frames() -> Iterator[FrameType]:
    """Yield the frames around the call into this package, the innermost first."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as warnings and logging do
    while frame is not None:
        if not frame.f_code.co_filename.startswith((PACKAGE, "<frozen")):
            yield frame
        frame = frame.f_back


def _is_of_library(frame: FrameType) -> bool:
    """Return whether code is that of Python's library or, in a thread, of a package with pools of threads."""
    file = frame.f_code.co_filename
    is_package = file.startswith(PACKAGES)
    is_main = threading.current_thread() is threading.main_thread()
    return not is_main if is_package else file.startswith(LIBRARY)
