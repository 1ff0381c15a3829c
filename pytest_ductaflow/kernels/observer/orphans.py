"""What becomes of processes whose parent ends: they end with it, or are adopted by one above. Linux only.

Standalone, and imports little, as the observer does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LONG = 5.0  # seconds after which a killed process is left to the system
_PAUSE = 0.002  # seconds between two looks


def share_fate_of(parent: int) -> None:
    """Have the system kill this process when its parent ends, in whatever way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of all processes below whose own one ends; children do not inherit that."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """The children of this process, also those that have ended and were not waited for."""
    found: set[int] = set()
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as listed:
                found.update(map(int, listed.read().split()))
    except OSError:  # a system that was built without
        return _children_of(os.getpid())
    return found


def _children_of(parent: int) -> set[int]:
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
            if int(stat.read().rpartition(b")")[2].split()[1]) == parent:
                found.add(int(name))
    return found


def end_orphans(known: Collection[int] = ()) -> None:
    """Kill all children of this process that are not known, and those that come from them.

    Args:
        known: Children that stay.
    """
    end = time.monotonic() + _LONG
    while (found := children().difference(known)) and time.monotonic() < end:
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        while (found := {pid for pid in found if _runs(pid)}) and time.monotonic() < end:
            time.sleep(_PAUSE)


def _runs(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False
