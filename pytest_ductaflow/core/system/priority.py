"""Let other processes have the cores for a while."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# Of the processes of one session (setsid), which share their part of the cores (Linux, `man 7 sched`). Unlike
# the niceness of a process, it can be taken back.
_NICENESS = Path("/proc/self/autogroup")
_LAST = 5  # enough that the page of a short flow is not late


@contextlib.contextmanager
def behind_others() -> Iterator[None]:
    """Have this process run within the block after the others where cores are short.

    Nothing changes where the system does not group processes by session, or where other processes may be in
    this one's.
    """
    is_alone = hasattr(os, "getsid") and os.getsid(0) == os.getpid()
    if is_alone:
        _set(_LAST)
    try:
        yield
    finally:
        if is_alone:
            _set(0)


def _set(niceness: int) -> None:
    with contextlib.suppress(OSError):
        _NICENESS.write_text(f"{niceness}\n", encoding="ascii")
