"""Wait until something in a folder changes: by inotify on Linux, by short pauses elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
import time
from pathlib import Path
from typing import Self

_PAUSE = 0.2  # seconds, where nothing tells
_MODIFY, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x80, 0x100, 0x200  # from <sys/inotify.h>


class FolderWatch:
    """A watch on the files directly in a folder.

    Args:
        folder: The folder; it may be missing, which is waited for by pauses.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        if sys.platform != "linux":
            return
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(None, use_errno=True)
            self._descriptor = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            events = _MODIFY | _MOVED_TO | _CREATE | _DELETE
            if library.inotify_add_watch(self._descriptor, os.fsencode(folder), events) < 0:
                self._close()

    def wait(self, seconds: float) -> None:
        """Wait until something has changed, at most for so many seconds."""
        if self._descriptor < 0:
            time.sleep(min(_PAUSE, seconds))
            return
        if select.select([self._descriptor], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                while os.read(self._descriptor, 65_536):
                    pass

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
