"""Handle processes whose parent ends: they end with it, or an ancestor adopts them (Linux only).

Standalone, with few imports, like the observer.
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
_PAUSE = 0.002  # seconds between two checks


def share_fate_of(parent: int) -> None:
    """Ask Linux to SIGKILL this process when its parent ends in any way (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the new parent of descendants whose parent ends (a subreaper); children do not inherit that."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Return the children of this process, including those that have ended and are not reaped yet."""
    found: set[int] = set()
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", encoding="ascii") as listed:
                found.update(map(int, listed.read().split()))
    except OSError:  # a Linux built without this file
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
    """Kill and reap all children of this process, and orphans of these, except known ones.

    Args:
        known: Children to keep.
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
