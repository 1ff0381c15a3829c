"""The state of a file: what tells, without reading it, that it was written or replaced.

A copy may keep size and times of what it is made from. On Linux and macOS the time at which the file's entry
changed tells of it. Windows has none, and `st_ctime` is there when the file was made: what tells is that
another file has another number. A file that was written in place, and then got its size and times back,
cannot be told there.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache

_GRANULARITY = 20_000_000  # ns: a file written twice within one tick of its clock keeps its time
_COARSE = 2_000_000_000  # ns: the same on file systems that keep whole seconds

_MOUNTS = "/proc/self/mountinfo"  # of Linux
# Of these, on disks of this machine, it is known that a folder's time changes with the names in it.
_WITH_TIMES_OF_FOLDERS = frozenset({"ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})


def state_in(status: os.stat_result) -> str:
    """The state of a file or folder in what a look at it tells: size, times and number as text."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def stat_of(path: str | os.PathLike[str]) -> str | None:
    """The state of a file or folder; None if there is none."""
    try:
        return state_in(os.stat(path))
    except (OSError, ValueError):
        return None


def tells_of_names(status: os.stat_result) -> bool:
    """Whether the state of a folder that has settled is bound to change when a name comes into it or goes.

    Network disks, mounted buckets and FAT have no such times, or show them late.
    """
    return _file_system(status.st_dev) in _WITH_TIMES_OF_FOLDERS


@lru_cache(maxsize=64)
def _file_system(device: int) -> str:
    """The type of the file system on a device; "" where nothing tells it."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:
            number = f"{os.major(device)}:{os.minor(device)}"
            found = (line.partition(" - ")[2] for line in mounts if line.split(maxsplit=3)[2] == number)
            return next(found, "").partition(" ")[0]
    except OSError:
        return ""


def born(status: os.stat_result) -> int:
    """When a file came to be, in ns; on Linux, where nothing tells, when it was last changed in any way."""
    seconds: float = getattr(status, "st_birthtime", 0)
    return getattr(status, "st_birthtime_ns", 0) or int(seconds * 1e9) or status.st_ctime_ns


def settled(stat: str) -> bool:
    """Whether a later change of the file is bound to show in its state."""
    changed, now = _last_change(stat), time.time_ns()
    tick = _COARSE if changed % 1_000_000_000 == 0 else _GRANULARITY
    return now - changed > tick


def changed_since(stat: str, moment_ns: int) -> bool:
    """Whether a file was written or replaced after a moment, as far as its times tell."""
    return _last_change(stat) > moment_ns


def _last_change(stat: str) -> int:
    """When a file was last written or replaced; one that claims to be of the future has been told so."""
    _, written_text, replaced_text, _ = stat.split()
    written, replaced = int(written_text), int(replaced_text)
    return replaced if written > time.time_ns() else max(written, replaced)
