"""The index of figures that are prepared, `runs/.figures/index.jsonl`: a line for each run.

Lines are added by the process that prepares figures, and read by sessions, which may run at the same time. Of
lines on one run directory and flow the last one holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Collection
from pathlib import Path

from ...core.run_directory.atomic import add_line, write_atomic
from ...core.run_directory.layout import FIGURES
from .entries import Entry, Place, is_entry

_INDEX = "index.jsonl"
_OLD = 86_400.0  # seconds after which a file that nothing needs is removed


class Index:
    """The figures that are prepared, by run.

    Args:
        runs: The folder of the report.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self.folder = runs / FIGURES
        self._path = self.folder / _INDEX
        self._known: dict[tuple[str, str], tuple[str, list[Entry]]] = {}
        self._at = 0
        self._lines = 0

    def read(self) -> list[Place]:
        """Read the lines that are new; return the runs that they are on."""
        found: list[Place] = []
        with contextlib.suppress(OSError), open(self._path, "rb") as file:
            if os.fstat(file.fileno()).st_size < self._at:  # another process has made it anew
                self._at = self._lines = 0
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # the rest of it is still to come
                self._at += len(line)
                self._lines += 1
                with contextlib.suppress(ValueError, TypeError):
                    (directory, flow, started), entries = json.loads(line)
                    if all(map(is_entry, entries)):
                        self._known[directory, flow] = started, entries
                        found.append((directory, flow, started))
        return found

    def entries(self, place: Place) -> list[Entry] | None:
        """Return the figures of a run; None if they are not prepared, or by another run."""
        started, entries = self._known.get(place[:2], (None, []))
        return entries if started == place[2] else None

    def add(self, place: Place, entries: list[Entry]) -> None:
        """Add a line."""
        self._known[place[:2]] = place[2], entries
        add_line(self._path, [place, entries])
        self._lines += 1

    def tidy(self, used: Collection[str]) -> None:
        """Remove lines of runs that are gone, and files of a day ago or older that nothing needs.

        Args:
            used: Names in the folder that rows need.
        """
        there = [where for where in self._known if (self._runs / where[0]).is_dir()]
        self._known = {where: self._known[where] for where in there}
        entries_left = (each for _, entries in self._known.values() for each in entries)
        kept = {*used, *(name for each in entries_left for name in each[1:3])}
        with contextlib.suppress(OSError), os.scandir(self.folder) as found:
            for file in found:
                is_old = file.stat(follow_symlinks=False).st_mtime < time.time() - _OLD
                if is_old and file.name not in kept and file.name != _INDEX:
                    os.unlink(file.path)
        if self._lines > 2 * len(self._known) + 100:
            lines = [json.dumps([[*where, of], entries]) for where, (of, entries) in self._known.items()]
            with contextlib.suppress(OSError):
                write_atomic(self._path, "".join(f"{line}\n" for line in lines))
