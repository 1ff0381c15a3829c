"""End a process without a last search through all its objects."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io

_WRITERS = {io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom}


def skip_last_collection() -> None:
    """Skip the garbage collection at this process's exit, which takes 0.15 s after large imports.

    Open files that only that collection would have closed are flushed before.
    """
    atexit.register(_flush_and_freeze)


def _flush_and_freeze() -> None:
    for each in gc.get_objects():
        if type(each) in _WRITERS:
            with contextlib.suppress(OSError, ValueError):  # a full disk, or a closed file
                each.flush()
    gc.freeze()
