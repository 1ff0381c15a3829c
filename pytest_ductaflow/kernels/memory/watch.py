"""Watch how much memory a kernel and what it starts use, and end all of them if that is too much.

A control group would do the same in the system's kernel, but only where somebody has delegated one to the
user; a look five times a second works everywhere and costs next to nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from ...core.number_text import in_bytes
from .process_tree import Tree, kill, tree_of_processes

_PAUSE = 0.2  # seconds between two looks
_SHARE = 0.01  # largest share of the time that looks take
_SHARE_NEAR_LIMIT = 0.1  # and closer looks, where it is to be known whether a limit is exceeded
_GROWTH = 0.02  # by which what is resident has to have grown before it is looked at more closely


class MemoryWatch:
    """A thread that looks at the processes of one run, between `start` and `stop`.

    What is resident is cheap to read, and never less than what counts; only if it has grown to a new maximum
    is it asked for exactly.

    Args:
        roots: Function that returns the kernel's process, and those of further kernels that it waits for.
        limit: Bytes that they may use together; None for any number.
        name: What the user calls the limit.
        tree: Finds processes and their memory.

    Attributes:
        peak: The most that was seen at a time, in bytes; None if the kernel never had other processes.
        excess: What they used when they were ended for that; None if they were not.
    """

    def __init__(
        self,
        roots: Callable[[], Collection[int]],
        limit: int | None,
        name: str = "_memory",
        tree: Tree | None = None,
    ) -> None:
        self.peak: int | None = None
        self.excess: int | None = None
        self._roots, self._limit, self._name = roots, limit, name
        self._tree = tree or tree_of_processes()
        self._highest = 0.0  # resident
        self._took = 0.0  # seconds that the last look took, without a closer one
        self._closely = (0.0, 0.0)  # when the last closer look began, and what it took
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def message(self) -> str:
        """Why the run was ended; empty if it was not for its memory."""
        if self.excess is None or self._limit is None:
            return ""
        used, limit = in_bytes(self.excess), in_bytes(self._limit)
        if used == limit:
            used, limit = f"{self.excess:,} bytes", f"{self._limit:,} bytes"
        return f"the flow and what it started used {used}, its limit ({self._name}) is {limit}"

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ductaflow-memory", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a second call does nothing."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._ended.wait(max(_PAUSE, self._took / _SHARE)):
            with contextlib.suppress(OSError):
                self.look()

    def look(self) -> None:
        """Look once, and end the processes if they use too much."""
        began = time.thread_time()
        pids = self._tree.look(self._roots())
        resident = self._tree.resident(pids)
        self._took = time.thread_time() - began
        is_near = self._limit is not None and resident > self._limit
        has_grown = len(pids) > 1 and resident > self._highest * (1 + _GROWTH)
        if not (is_near or has_grown) or not self._may_look_closely(is_near=is_near):
            return
        self._highest = max(self._highest, resident)
        began = time.monotonic()
        used = self._tree.own(pids)
        self._closely = (began, time.monotonic() - began)
        if len(pids) > 1 or is_near:
            self.peak = max(self.peak or 0, used)
        if self._limit is not None and used > self._limit:
            self.excess = max(self.excess or 0, used)
            kill(pids)
            kill(self._tree.look(self._roots()))  # what was started meanwhile

    def _may_look_closely(self, *, is_near: bool) -> bool:
        """Return whether the last closer look, which takes long for large processes, is long enough ago."""
        began, took = self._closely
        share = _SHARE_NEAR_LIMIT if is_near else _SHARE
        return took <= _SHARE * _PAUSE or time.monotonic() - began >= took / share


@contextlib.contextmanager
def noted(files: Iterable[Path], pid: int | None) -> Iterator[None]:
    """Note, within the block, the kernel of a flow for the builds that wait for it and share their limits.

    Args:
        files: A file of each of these builds.
        pid: Its process; None if it is not known.
    """
    files = list(files) if pid is not None else []
    _append(files, f"+{pid}\n")
    try:
        yield
    finally:
        _append(files, f"-{pid}\n")


def _append(files: Iterable[Path], line: str) -> None:
    for file in files:
        with contextlib.suppress(OSError), open(file, "a", encoding="ascii") as lines:
            lines.write(line)


def noted_kernels(file: Path) -> list[int]:
    """Return the kernels that are noted for a build and have not ended."""
    running: dict[int, None] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text(encoding="ascii").split():
            if line.startswith("+"):
                running[int(line)] = None
            else:
                running.pop(-int(line), None)
    return list(running)
