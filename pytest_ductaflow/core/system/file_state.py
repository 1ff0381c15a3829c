"""The state of a file, from its stat: shows without reading whether the file was written or replaced.

A copy may keep the size and mtime of its original; on Linux and macOS its ctime (inode change) differs.
Windows has no such time, as `st_ctime` is the creation time there, so only the file number tells another file
apart. A file written in place that then got its size and times back cannot be detected there.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache

_GRANULARITY = 20_000_000  # ns: a file written twice within one clock tick keeps its time
_COARSE = 2_000_000_000  # ns: the same on file systems that store whole seconds

_MOUNTS = "/proc/self/mountinfo"  # of Linux
# Local file systems known to change a folder's time whenever a name in it is added or removed.
_WITH_TIMES_OF_FOLDERS = frozenset({"ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})


def state_in(status: os.stat_result) -> str:
    """Return the state of a file or folder from its stat: size, times and inode number as text."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def size_in(state: str) -> int:
    """Return the size of a file, in bytes, from its state."""
    return int(state.partition(" ")[0])


def stat_of(path: str | os.PathLike[str]) -> str | None:
    """Return the state of a file or folder; None if it does not exist."""
    try:
        return state_in(os.stat(path))
    except (OSError, ValueError):
        return None


def tracks_names(status: os.stat_result) -> bool:
    """Return whether a settled folder's state always changes when a name is added or removed.

    Network disks, mounted buckets and FAT have no such times, or update them late.
    """
    return _file_system(status.st_dev) in _WITH_TIMES_OF_FOLDERS


@lru_cache(maxsize=64)
def _file_system(device: int) -> str:
    """Return the type of the file system on a device; "" if it is not known."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="replace") as mounts:
            number = f"{os.major(device)}:{os.minor(device)}"
            found = (line.partition(" - ")[2] for line in mounts if line.split(maxsplit=3)[2] == number)
            return next(found, "").partition(" ")[0]
    except OSError:
        return ""


def created_ns(status: os.stat_result) -> int:
    """Return when a file was created, in ns; on Linux, where that is unknown, its last change of any kind."""
    seconds: float = getattr(status, "st_birthtime", 0)
    return getattr(status, "st_birthtime_ns", 0) or int(seconds * 1e9) or status.st_ctime_ns


def settled(stat: str) -> bool:
    """Return whether any later change of the file is certain to show in its state."""
    changed, now = _last_change(stat), time.time_ns()
    tick = _COARSE if changed % 1_000_000_000 == 0 else _GRANULARITY
    return now - changed > tick


def changed_since(stat: str, moment_ns: int) -> bool:
    """Return whether a file was written or replaced after a moment, as far as its times show."""
    return _last_change(stat) > moment_ns


def _last_change(stat: str) -> int:
    """Return when a file was last written or replaced; a future mtime was set by hand and is ignored."""
    _, written_text, replaced_text, _ = stat.split()
    written, replaced = int(written_text), int(replaced_text)
    return replaced if written > time.time_ns() else max(written, replaced)
