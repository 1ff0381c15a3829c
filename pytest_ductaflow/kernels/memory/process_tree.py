"""Find the processes that a kernel has started, and how much memory they use together.

On Linux this reads `/proc` itself: of a process that it has seen, it never asks again for the parent, so that
a look costs no more with a thousand other processes on the machine. Elsewhere psutil is asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from typing import Protocol

import psutil

_PROC = "/proc"


class Tree(Protocol):
    """Processes and all that these have started."""

    def look(self, roots: Iterable[int]) -> Sequence[int]:
        """Return the processes that are there now, below and with the given ones."""

    def resident(self, pids: Iterable[int]) -> int:
        """Return the bytes of memory that processes have, those that several share as often; cheap."""

    def own(self, pids: Iterable[int]) -> int:
        """Return the same with each shared page counted once, where the system knows that."""


def tree_of_processes() -> Tree:
    """Return a tree for this system."""
    return LinuxTree() if sys.platform == "linux" else AnyTree()


class LinuxTree:
    """The processes below some others, by `/proc`.

    A process that has been seen below them stays in, even if its parent ends.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._mine: set[int] = set()
        self._page = os.sysconf("SC_PAGE_SIZE")

    def look(self, roots: Iterable[int]) -> Sequence[int]:
        first = list(roots)
        there = {int(name) for name in os.listdir(_PROC) if name.isdecimal()}
        self._mine = (self._mine | set(first)) & there
        new = {pid: above for pid in there - self._seen if (above := _above(pid)) is not None}
        self._seen = there
        found = self._mine
        while found:
            found = {pid for pid, above in new.items() if pid not in self._mine and above & self._mine}
            self._mine |= found
        return [*(pid for pid in first if pid in self._mine), *sorted(self._mine - set(first))]

    def resident(self, pids: Iterable[int]) -> int:
        return sum(map(self._resident, pids))

    def own(self, pids: Iterable[int]) -> int:
        return sum(self._own(pid) for pid in pids)

    def _resident(self, pid: int) -> int:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"{_PROC}/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * self._page
        return 0

    def _own(self, pid: int) -> int:
        """Return the memory of a process, with its share of what others have, too."""
        unknown = contextlib.suppress(OSError, ValueError, IndexError)  # not ours, an old system, or gone
        with unknown, open(f"{_PROC}/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
        return self._resident(pid)


def _above(pid: int) -> set[int] | None:
    """Return the parent, process group and session of a process; None if it is gone."""
    with contextlib.suppress(OSError, ValueError), open(f"{_PROC}/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()  # the name before may have blanks and brackets
        return {int(number) for number in fields[1:4]} - {0}
    return None


class AnyTree:
    """The processes below some others, by psutil."""

    def look(self, roots: Iterable[int]) -> Sequence[int]:
        found: dict[int, None] = {}
        for pid in roots:
            with contextlib.suppress(psutil.Error):
                root = psutil.Process(pid)
                found |= dict.fromkeys([pid, *(each.pid for each in root.children(recursive=True))])
        return list(found)

    def resident(self, pids: Iterable[int]) -> int:
        total = 0
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                total += int(psutil.Process(pid).memory_info().rss)
        return total

    own = resident


def kill(pids: Iterable[int]) -> None:
    """Kill processes, in this order."""
    for pid in pids:
        with contextlib.suppress(OSError, psutil.Error):
            if os.name == "posix":
                os.kill(pid, signal.SIGKILL)
            else:
                psutil.Process(pid).kill()
