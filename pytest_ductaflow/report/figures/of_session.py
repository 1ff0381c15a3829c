"""The figures of the instances of a session, which a process of its own prepares meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ...core.record import Record
from .entries import Entry, Job
from .index import Index
from .prepare import files_as_they_are, needs_preparing
from .process import END

_left_alone: list[subprocess.Popen[bytes]] = []  # processes that still work for sessions that have ended


class FiguresOfSession:
    """What the page shows of the figures of a session.

    Args:
        runs: The folder of the report.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._index = Index(runs)
        self._new: dict[str, Job] = {}
        self._asked: dict[tuple[str, str, str], str] = {}  # node ids by place
        self._entries: dict[str, list[Entry]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs = ""
        self._lock = threading.Lock()

    def add(self, node_id: str, directory: str, record: Record, suffix: str) -> None:
        """Note that an instance has ended, which takes no time.

        Args:
            node_id: Its id in the report.
            directory: Its run directory as seen from `runs/`.
            record: Its record.
            suffix: End of the names of its executed notebooks.
        """
        with self._lock:
            self._new[node_id] = Job.of(directory, record, suffix)

    def of(self, node_id: str) -> list[Entry] | None:
        """Return the figures of an instance, None if it has not ended."""
        return self._entries.get(node_id)

    def update(self) -> set[str]:
        """Look at new figures, have them prepared, and take what is prepared; return whose are others now."""
        moved = {self._asked[place] for place in self._index.read() if place in self._asked}
        with self._lock:
            new, self._new = self._new, {}
        for node_id, job in new.items():
            self._entries[node_id] = self._first_entries(node_id, job)
        for place, node_id in self._asked.items() if moved else ():
            if node_id in moved and (entries := self._index.entries(place)) is not None:
                self._entries[node_id] = entries
        return moved

    def _first_entries(self, node_id: str, job: Job) -> list[Entry]:
        if (known := self._index.entries(job.place)) is not None:
            return known
        if needs_preparing(self._runs, job):
            self._asked[job.place] = node_id
            self._ask(json.dumps(job.to_json()))
        return files_as_they_are(self._runs, job)

    def _ask(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it has died, or cannot be started: images are shown themselves
            if self._process is None:
                self._jobs, self._process = self._started()
            with open(self._jobs, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def _started(self) -> tuple[str, subprocess.Popen[bytes]]:
        """Start the process; return the file in which it looks for jobs, and the process."""
        descriptor, jobs = tempfile.mkstemp(prefix="dk", suffix=".jsonl")
        os.close(descriptor)
        # -P: the session's working directory may hold modules of any name.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.process", str(self._runs), jobs],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not stop it
        )
        return jobs, process

    def leave(self) -> None:
        """Leave the process alone with what it has to do, now that the page of the session is written."""
        if self._process is None:
            return
        self._ask(END)
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        _left_alone[:] = [each for each in (*_left_alone, self._process) if each.poll() is None]
        self._process = None
