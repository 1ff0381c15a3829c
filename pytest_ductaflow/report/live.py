"""Keep the report of a running session in memory and write it from a separate thread.

The thread writes at most once a second and spends at most a few per cent of the time on it, so that
the report does not slow down a sweep of a thousand short instances.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from pathlib import Path
from typing import Any

from ..core.instance import RUNS, Instance
from ..core.record import INTERRUPTED, Record, Status
from ..core.run_files import REPORT, RunFiles, read_journal, read_record, write_atomic
from ..core.settings import HtmlMode
from .page import SCHEMA, assemble, encode
from .rows import Row, ended_row, flow_row, waiting_row

PAUSE = 1.0  # minimum seconds between two writes
SHARE = 0.03  # largest fraction of the time spent on writing
LOOK = 2.0  # seconds between checks on the progress of running builds
HEARTBEAT = 30.0  # seconds; an older page belongs to a session that was killed


CUT_OFF = "cut off when the session ended"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class LiveReport:
    """The report of one project, written to its file whenever a row is added or changes.

    Args:
        root: Project root; the report goes into its `runs/`.
        command: Command that started the session.
        workers: Number of instances that run at a time.
        html: Mode that says which notebooks get a page.
        shard: Part of the work that this session does, as in `2/5`.
    """

    def __init__(
        self,
        root: Path,
        command: str,
        workers: int = 1,
        html: HtmlMode = "none",
        shard: str | None = None,
    ) -> None:
        self.runs = root / RUNS
        self.path = self.runs / REPORT
        self._data: dict[str, Any] = {
            "schema": SCHEMA,
            "title": root.name,
            "command": command,
            "started": _now(),
            "finished": None,
            "outcome": None,
            "exit_code": None,
            "workers": workers,
            "shard": shard,
        }
        self._html = html
        self._without_page: set[str] = set()
        self._rows: dict[str, Row] = {}
        self._encoded: dict[str, str] = {}
        self._files: dict[str, RunFiles] = {}
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._ending = threading.Event()
        self._journals: dict[str, int] = {}
        self._problem: str | None = None
        self._thread: threading.Thread | None = None

    def add(
        self,
        node_id: str,
        instance: Instance,
        command: str,
        *,
        earlier: bool = False,
        shard: int | None = None,
    ) -> None:
        """Add a row for an instance; with `earlier`, it is not run now, so that its last record counts.

        Among sessions that share the work, `shard` is the one that runs it; None if none does.
        """
        files = RunFiles.of(instance)
        row = {**waiting_row(node_id, instance, command, self.runs), "shard": shard}
        if not instance.html:
            self._without_page.add(node_id)
        if earlier:
            row = {**self._as_recorded(row, files), "earlier": True}
        self._put(node_id, row, files)

    def _as_recorded(self, row: Row, files: RunFiles) -> Row:
        """Return the row of an instance that other sessions have run or are running."""
        record, _ = read_record(files.record)
        if record is None:
            return row
        if record.status is not Status.RUNNING:
            return ended_row(row, record, files, self.runs)
        from ..core.system.instance_lock import is_free

        is_running = not is_free(files, self.runs.parent)  # else it was killed
        return {**row, "status": Status.RUNNING.value} if is_running else row

    def started(self, node_id: str) -> None:
        """Mark an instance as running."""
        row = self._rows.get(node_id)
        if row is not None:
            self._put(node_id, {**row, "status": Status.RUNNING.value, "started": _now()})

    def ended(self, node_id: str, record: Record) -> None:
        """Update the row of an instance that has ended, from its record."""
        row = self._rows.get(node_id)
        if row is not None:
            has_lost_server = record.error is not None and record.error.type == INTERRUPTED
            ran_now = not (record.unchanged or has_lost_server or node_id in self._without_page)
            wanted = self._html == "all" or (self._html == "failed" and record.status is Status.ERROR)
            row = ended_row(row, record, self._files[node_id], self.runs, has_page=ran_now and wanted)
            self._put(node_id, row)

    def blocked(self, node_id: str, message: str) -> None:
        """Mark an instance as blocked: it was not run at all."""
        row = self._rows.get(node_id)
        if row is not None:
            self._put(node_id, {**row, "status": Status.BLOCKED.value, "message": message})

    def failed(self, node_id: str, message: str) -> None:
        """Mark an instance as failed without a record, since its worker crashed."""
        row = self._rows.get(node_id)
        if row is not None:
            self._put(node_id, {**row, "status": Status.ERROR.value, "message": message})

    def finish(self, outcome: str, exit_code: int | None = None) -> str | None:
        """Write the final state and stop the thread.

        Args:
            outcome: `finished` or `interrupted`.
            exit_code: Exit code of pytest.

        Returns:
            The reason why the report could not be written, None if it was.
        """
        if self._thread is not None:
            self._ending.set()
            self._changed.set()
            self._thread.join()
            self._thread = None
        self._settle()
        if any(row["status"] == "waiting" and not row.get("earlier") for row in self._rows.values()):
            outcome = "interrupted"  # for whatever reason, some instances did not run
        if self._data["outcome"] is None and self._rows:
            self._data.update(finished=_now(), outcome=outcome, exit_code=exit_code)
            self._write()
        return self._problem

    def _settle(self) -> None:
        """Mark running rows without a final record as cut off; re-read those that other sessions may run."""
        for node_id, row in list(self._rows.items()):
            if row.get("earlier"):
                self._put(node_id, self._as_recorded(row, self._files[node_id]))
            elif row["status"] == Status.RUNNING.value:
                record, _ = read_record(self._files[node_id].record)
                if record is not None and record.status is not Status.RUNNING:
                    self.ended(node_id, record)
                else:
                    self.failed(node_id, CUT_OFF)

    def _put(self, node_id: str, row: Row, files: RunFiles | None = None) -> None:
        with self._lock:
            self._rows[node_id] = row
            self._encoded.pop(node_id, None)
            if files is not None:
                self._files[node_id] = files
        self._changed.set()

    def follow(self) -> None:
        """Start the writing thread; called after the first rows are added, so that no page lacks some."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="ductaflow-report", daemon=True)
                self._thread.start()

    def set_workers(self, number: int) -> None:
        """Note how many instances run at a time from now on."""
        self._data["workers"] = number

    def _follow(self) -> None:
        began = 0.0
        while not self._ending.is_set():
            changed = self._changed.wait(LOOK)
            if self._builds_moved() or changed or time.monotonic() - began > HEARTBEAT:
                self._changed.clear()
                began = time.monotonic()
                self._write()
                took = time.monotonic() - began
                self._ending.wait(max(PAUSE, took / SHARE))

    def _builds_moved(self) -> bool:
        """Update rows of running builds; return whether one began or ended a flow since the last check."""
        moved = False
        with self._lock:
            running = [node_id for node_id, row in self._rows.items() if row["status"] == "running"]
        for node_id in running:
            journal = self._files[node_id].journal
            with contextlib.suppress(OSError):
                size = journal.stat().st_size
                if self._journals.get(node_id) != size:
                    self._journals[node_id] = size
                    flows = [flow_row(flow, self.runs.parent, self.runs) for flow in read_journal(journal)]
                    with self._lock:
                        row = self._rows[node_id]
                        if row["status"] != Status.RUNNING.value:  # it has ended in the meantime
                            continue
                        self._rows[node_id] = {**row, "kind": "build", "flows": flows}
                        self._encoded.pop(node_id, None)
                    moved = True
        return moved

    def _write(self) -> None:
        with self._lock:
            rows = dict(self._rows)
            encoded = self._encoded.copy()
        changed = {node_id: encode(row) for node_id, row in rows.items() if node_id not in encoded}
        with self._lock:
            self._encoded |= {n: text for n, text in changed.items() if self._rows[n] is rows[n]}
        encoded |= changed
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            header = {**self._data, "updated": _now()}
            write_atomic(self.path, assemble(header, (encoded[node_id] for node_id in rows)))
            self._problem = None
        except OSError as error:
            self._problem = f"the report could not be written: {error}"
