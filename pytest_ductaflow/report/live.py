"""Keep the report of a running session in memory and write it from a separate thread.

The thread writes at most once a second and spends at most a few per cent of the time on it, so that
the report does not slow down a sweep of a thousand short instances.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..core.instance import RUNS, Instance
from ..core.record import INTERRUPTED, Record, Status
from ..core.run_directory.atomic import write_atomic
from ..core.run_directory.layout import REPORT, RunFiles
from ..core.run_directory.record_files import read_journal, read_record
from ..core.scalars import files_with_scalars, scalars_in
from ..core.settings import HtmlMode
from ..graph.step_edges import StepEdge
from ..graph.waits import Span, Wait
from .analysis.changes import before_of
from .analysis.summary import Summed, summary_of
from .budget import Budget
from .failure_text import last_lines
from .figures.of_session import FiguresOfSession
from .history import RunHistory, most_shown
from .packed_rows import PackedRow, PackedRows, Row, without_empty
from .page import SCHEMA, assemble, read
from .rows import ended_row, flow_row, waiting_row
from .time_left import TimeLeft

PAUSE = 1.0  # minimum seconds between two writes
GLANCE = 0.2  # seconds between looks at whether anything runs, before the first write
ALL_UNCHANGED = 0.002  # seconds for each instance in which a session may end that runs nothing
SHARE = 0.015  # largest fraction of the time spent on writing, as time of a processor
SHARE_OF_SUMMARY = 0.007  # and on summing up
LOOK = 2.0  # seconds between checks on the progress of running builds
HEARTBEAT = 30.0  # seconds without news after which the page is written again
PATIENCE = 3 * HEARTBEAT  # seconds; a page that is older belongs to a session that was killed
SHOWN_OF_BAD = 5  # runs in the history of a failed or orange instance, where there are too many instances
LARGEST_RESULTS = 1_000_000  # bytes of a JSON file; a larger one is data, not results
TAILS = 500  # failed instances of which the page has the last lines of output
OTHER_TAILS = 500  # other instances of which it has them
TAIL = 10  # lines
LONGEST_LINE = 500  # characters

_OF_RUN = ("last_line", "results", "tail", "figures", "history")  # keys of a row


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
        self._last = _LastReport(self.path)
        self._data: dict[str, Any] = {
            **_header(root.name, command, workers, shard),
            "previous": self._last.ended,
            "edges": self._last.edges,
        }
        self._html = html
        self._without_page: set[str] = set()
        self._rows: dict[str, Row] = {}
        self._packed = PackedRows()
        self._texts: dict[str, PackedRow] = {}
        self._unread: dict[str, list[str]] = {}  # files that may hold results, by node id
        self._results: dict[str, Row] = {}
        self._tails: dict[str, list[str]] = {}
        self._figures = FiguresOfSession(self.runs)
        self._others_with_tail = 0
        self._history = RunHistory(self.runs)
        self._time_left: TimeLeft | None = None
        self._idle: Callable[[], Sequence[tuple[Any, ...]]] = tuple
        self._summary: dict[str, Any] = {}
        self._budget, self._budget_of_summary = Budget(SHARE), Budget(SHARE_OF_SUMMARY)
        self._summing = 0.0  # seconds of processor time that the last write has spent on the summary
        self._patience = PATIENCE
        self._instances: dict[str, Instance] = {}
        self._places: dict[tuple[str, str], str] = {}  # node ids by what identifies an instance
        self._besides: Callable[[list[Row]], Iterable[Row]] | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._ending = threading.Event()
        self._has_run = threading.Event()  # whether an instance has ended that is not unchanged
        self._latest = ""  # node id of the instance that has begun last
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
        upstreams: Sequence[str] = (),
    ) -> None:
        """Add a row for an instance; with `earlier`, it is not run now, so that its last record counts.

        Among sessions that share the work, `shard` is the one that runs it; None if none does. `upstreams`
        are the labels of the instances that it waits for.
        """
        row = {**waiting_row(node_id, instance, command, self.runs, upstreams), "shard": shard}
        row["before"] = self._last.before(row)
        if not instance.html:
            self._without_page.add(node_id)
        if earlier:
            row = {**self._as_recorded(row, RunFiles.of(instance), node_id), "earlier": True}
        with self._lock:
            kept = self._places.get(_place_of(row), node_id)
            self._places[_place_of(row)] = node_id
            if kept != node_id:  # kept from an earlier session, where it had another id
                self._rows.pop(kept, None)
                self._texts.pop(kept, None)
        self._put(node_id, row, instance)

    def keep_others(self, planned: Collection[str], is_declared: Callable[[Row], bool]) -> None:
        """Keep the rows of the report before that this session does not know: the overview is not lost.

        An instance that is known by another id now, as one that was named by its folder, keeps its place, its
        id and its command.

        Args:
            planned: Sources all of whose instances were added.
            is_declared: Function that returns whether the instance of such a row still exists.
        """
        with self._lock:
            mine = {_place_of(row): node_id for node_id, row in self._rows.items()}
            kept: dict[str, Row] = {}
            for row in self._last.rows:
                node_id = mine.get(_place_of(row))
                if node_id is not None and row["source"] not in planned:
                    known = {key: row[key] for key in ("id", "source", "command")}
                    kept[node_id] = {**self._rows[node_id], **known}
                elif node_id is None and row["source"] not in planned and is_declared(row):
                    kept[f"{row['id']} {_place_of(row)}"] = _of_earlier_session(row)
            takes_part = any(node_id in self._rows for node_id in kept)
            new = {node_id: row for node_id, row in self._rows.items() if node_id not in kept}
            self._rows = {**kept, **new} if takes_part else {**new, **kept}
            self._texts.clear()

    def keep_all(
        self, is_declared: Callable[[Row], bool], besides: Callable[[list[Row]], Iterable[Row]]
    ) -> None:
        """Keep all rows of the report before until their instances run; called before any is added.

        Args:
            is_declared: Function that returns whether the instance of such a row still exists.
            besides: Function that yields rows of further instances, given those that are known; the thread
                that writes calls it, as it may take long.
        """
        for row in self._last.rows:
            if is_declared(row):
                self._keep(_of_earlier_session(row))
        self._besides = besides

    def _keep(self, row: Row) -> None:
        """Keep a row of an earlier session, unless its instance is known."""
        with self._lock:
            if _place_of(row) in self._places:
                return
            key = row["id"] if row["id"] not in self._rows else f"{row['id']} {_place_of(row)}"
            self._places[_place_of(row)] = key
            self._rows[key] = row

    def drop_earlier(self, is_dropped: Callable[[Row], bool]) -> None:
        """Drop rows of earlier sessions, of instances that are no more."""
        with self._lock:
            for key, row in list(self._rows.items()):
                if row.get("earlier") and is_dropped(row):
                    del self._rows[key]

    def _as_recorded(self, row: Row, files: RunFiles, node_id: str) -> Row:
        """Return the row of an instance that other sessions have run or are running."""
        record, _ = read_record(files.record)
        if record is None:
            return row
        row = _without_run(row)
        if record.status is not Status.RUNNING:
            self._unread[node_id] = files_with_scalars(record)
            self._figures.add(node_id, row["directory"], record, files.output_suffix)
            return ended_row(row, record, files, self.runs)
        from ..core.system.instance_lock import is_free

        is_running = not is_free(files, self.runs.parent)  # else it was killed
        return {**row, "status": Status.RUNNING.value} if is_running else row

    def started(self, node_id: str, worker: str | None = None, wait: Wait | None = None) -> None:
        """Mark an instance as running.

        Args:
            node_id: Its id.
            worker: Who runs it, where there are several.
            wait: What it has waited for, if that is known.
        """
        row = self._rows.get(node_id)
        if row is not None:
            waited = _waited(wait) if wait is not None else {}
            now = {"status": Status.RUNNING.value, "started": _now(), "worker": worker}
            self._put(node_id, {**row, **now, **waited})
            self._latest = node_id  # by which `_wait_for_news` sees whether it takes longer than a moment

    def show_edges(self, edges: Sequence[StepEdge[tuple[str, str]]]) -> None:
        """Show between which steps dependencies lead; a step is named by its source and its name."""
        mine = [[*edge.earlier, *edge.later, edge.dependents, edge.is_order_only] for edge in edges]
        steps = {tuple(edge[2:4]) for edge in mine}
        kept = [edge for edge in self._data["edges"] if tuple(edge[2:4]) not in steps]
        self._data["edges"] = [*mine, *kept]

    def show_idle(self, spans: Callable[[], Sequence[Span]]) -> None:
        """Show when workers have nothing to do; `spans` returns it at any time."""
        self._idle = spans

    def expect(self, time_left: TimeLeft) -> None:
        """Show how long the session still takes."""
        self._time_left = time_left

    def ended(self, node_id: str, record: Record) -> None:
        """Update the row of an instance that has ended, from its record."""
        row = self._rows.get(node_id)
        if row is not None:
            has_lost_server = record.error is not None and record.error.type == INTERRUPTED
            ran_now = not (record.unchanged or has_lost_server or node_id in self._without_page)
            wanted = self._html == "all" or (self._html == "failed" and record.status is Status.ERROR)
            files = self._files(node_id)
            row = ended_row(_without_run(row), record, files, self.runs, has_page=ran_now and wanted)
            self._unread[node_id] = files_with_scalars(record)
            self._figures.add(node_id, row["directory"], record, files.output_suffix)
            self._put(node_id, row)
            if not record.unchanged:
                self._has_run.set()

    def failed_once(self, node_id: str, record: Record) -> None:
        """Mark an instance as waiting for its next attempt."""
        row = self._rows.get(node_id)
        if row is not None and record.retry_at is not None:
            due = datetime.datetime.fromtimestamp(record.retry_at, datetime.UTC).astimezone()
            again = f"again at {due:%H:%M:%S}"
            message = f"attempt {record.attempts} failed ({again}): {record.message or ''}"
            self._put(node_id, {**row, "status": "waiting", "message": message})

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
            self._has_run.set()
            self._thread.join()
            self._thread = None
        self._settle()
        if any(row["status"] == "waiting" and not row.get("earlier") for row in self._rows.values()):
            outcome = "interrupted"  # for whatever reason, some instances did not run
        if self._data["outcome"] is None and self._rows:
            self._data.update(finished=_now(), outcome=outcome, exit_code=exit_code)
            self._write()
        self._figures.leave()
        return self._problem

    def _settle(self) -> None:
        """Mark running rows without a final record as cut off; re-read those that other sessions may run."""
        for node_id, row in list(self._rows.items()):
            if row.get("earlier"):
                if node_id in self._instances:
                    self._put(node_id, self._as_recorded(row, self._files(node_id), node_id))
            elif row["status"] == Status.RUNNING.value or (row["status"] == "waiting" and row.get("message")):
                record, _ = read_record(self._files(node_id).record)
                if record is not None and record.status is not Status.RUNNING:
                    self.ended(node_id, record)
                else:
                    self.failed(node_id, CUT_OFF)

    def _put(self, node_id: str, row: Row, instance: Instance | None = None) -> None:
        with self._lock:
            self._rows[node_id] = without_empty(row)
            self._texts.pop(node_id, None)
            if instance is not None:
                self._instances[node_id] = instance
        if not self._changed.is_set():
            self._changed.set()

    def _files(self, node_id: str) -> RunFiles:
        return RunFiles.of(self._instances[node_id])

    def follow(self) -> None:
        """Start the writing thread; called after the first rows are added, so that no page lacks some."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="ductaflow-report", daemon=True)
                self._thread.start()

    def set_workers(self, number: int) -> None:
        """Note how many instances run at a time from now on."""
        self._data["workers"] = number
        if self._time_left is not None:
            self._time_left.workers = number

    def _follow(self) -> None:
        began = 0.0
        if self._besides is not None:
            for row in self._besides(list(self._rows.values())):
                self._keep(_of_earlier_session(row))
        self._wait_for_news()
        while not self._ending.is_set():
            changed = self._changed.wait(LOOK)
            moved = self._builds_moved() | self._logs_moved()
            moved |= self._figures_moved()
            if moved or changed or time.monotonic() - began > HEARTBEAT:
                self._changed.clear()
                began, used = time.monotonic(), time.thread_time()
                self._write()
                took = time.thread_time() - used - self._summing
                self._budget.spend(took)
                pause = max(PAUSE, self._budget.due - time.monotonic())
                self._patience = PATIENCE + 2 * pause
                self._ending.wait(pause)

    def _wait_for_news(self) -> None:
        """Wait until an instance runs, has run, or a session in which all are unchanged would have ended.

        A page for such a session alone would make it take longer, unless it is short.
        """
        latest, until = None, time.monotonic() + ALL_UNCHANGED * len(self._rows)
        while time.monotonic() + GLANCE < until and not self._has_run.wait(GLANCE) and latest != self._latest:
            latest = self._latest

    def _builds_moved(self) -> bool:
        """Update rows of running builds; return whether one began or ended a flow since the last check."""
        moved = False
        with self._lock:
            running = [node_id for node_id, row in self._rows.items() if row["status"] == "running"]
        for node_id in running:
            journal = self._files(node_id).journal
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
                        self._texts.pop(node_id, None)
                    moved = True
        return moved

    def _logs_moved(self) -> bool:
        """Note the last line that each running instance has printed; return whether one is new."""
        moved = False
        with self._lock:
            running = [node_id for node_id, row in self._rows.items() if row["status"] == "running"]
        for node_id in filter(self._instances.__contains__, running):
            lines = last_lines(self._files(node_id).log)
            line = next((each for each in reversed(lines) if each.strip()), "")[:LONGEST_LINE]
            with self._lock:
                row = self._rows[node_id]
                if line and row["status"] == Status.RUNNING.value and row.get("last_line") != line:
                    self._rows[node_id] = {**row, "last_line": line}
                    self._texts.pop(node_id, None)
                    moved = True
        return moved

    def _figures_moved(self) -> bool:
        """Take what was prepared of figures; return whether any was."""
        moved = self._figures.update()
        with self._lock:
            for node_id in moved:
                self._texts.pop(node_id, None)
        return bool(moved)

    def _write(self) -> None:
        self._figures_moved()
        with self._lock:
            rows = dict(self._rows)
            texts = self._texts.copy()
        self._read_results()
        changed = {node_id: self._pack(node_id, row) for node_id, row in rows.items() if node_id not in texts}
        with self._lock:
            self._texts |= {n: text for n, text in changed.items() if self._rows[n] is rows[n]}
        texts |= changed
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            self._history.flush()
            header = {**self._data, **self._now(rows), **self._summed_up(rows, texts)}
            write_atomic(self.path, assemble(header, self._packed, (texts[node_id] for node_id in rows)))
            self._problem = None
        except OSError as error:
            self._problem = f"the report could not be written: {error}"

    def _now(self, rows: dict[str, Row]) -> Row:
        """Return what the header says of this moment."""
        left = None if self._data["finished"] or self._time_left is None else self._time_left.seconds(rows)
        idle = [[worker, _iso(since), _iso(until), why] for worker, since, until, why in self._idle()]
        return {"updated": _now(), "left": left, "idle": idle, "patience": self._patience}

    def _summed_up(self, rows: dict[str, Row], texts: dict[str, PackedRow]) -> dict[str, Any]:
        """Return the summary of all rows; while the session runs, one that may be some time old."""
        self._summing, used = 0.0, time.thread_time()
        if self._data["finished"] or time.monotonic() >= self._budget_of_summary.due:
            pairs = [Summed(row, texts[node_id]) for node_id, row in rows.items()]
            self._summary = summary_of(pairs, self._packed)
            self._summing = time.thread_time() - used
            self._budget_of_summary.spend(self._summing)
        return self._summary

    def _read_results(self) -> None:
        """Read the results of instances that have ended, which is not done while others wait for it."""
        while self._unread:
            node_id, names = self._unread.popitem()
            results: Row = {}
            directory, row = self._files(node_id).directory, self._rows[node_id]
            for (stem, key), value in scalars_in(directory, names, largest=LARGEST_RESULTS).items():
                results.setdefault(stem, {})[key] = value
            if results:
                self._results[node_id] = results
            else:
                self._results.pop(node_id, None)
            if row["status"] not in ("waiting", Status.RUNNING.value):
                self._history.add(row, results)
            self._read_tail(node_id, row)

    def _read_tail(self, node_id: str, row: Row) -> None:
        """Read the last lines of output, of failed instances and of the first others."""
        self._tails.pop(node_id, None)
        has_failed = row["status"] == Status.ERROR.value
        if has_failed:
            has_room = len(self._tails) - self._others_with_tail < TAILS
        else:
            has_room = self._others_with_tail < OTHER_TAILS
        if has_room and (lines := last_lines(self._files(node_id).log)[-TAIL:]):
            self._tails[node_id] = [line[:LONGEST_LINE] for line in lines]
            self._others_with_tail += not has_failed

    def _pack(self, node_id: str, row: Row) -> PackedRow:
        """Return a row as it is in the page, with its results; `row` has them, too, to be summed up."""
        if node_id in self._results:
            row["results"] = self._results[node_id]
        if node_id in self._tails:
            row["tail"] = self._tails[node_id]
        if figures := self._figures.of(node_id):
            row["figures"] = figures
        most = most_shown(len(self._rows))
        if most < 2 and row["status"] in (Status.ERROR.value, Status.WARNING.value):
            most = SHOWN_OF_BAD
        if most > 1 and (history := self._history.shown(row, most)):
            row["history"] = history
        return self._packed.pack(row)


def _header(title: str, command: str, workers: int, shard: str | None) -> Row:
    """Return what the header says of a session that begins."""
    ended = {"finished": None, "outcome": None, "exit_code": None}
    begun = {"schema": SCHEMA, "title": title, "command": command, "started": _now()}
    return {**begun, **ended, "workers": workers, "shard": shard}


class _LastReport:
    """The report that the session before has left: what this one is compared with, and goes on from.

    Args:
        path: Its file. One that is missing or cannot be read counts as one without rows.
    """

    def __init__(self, path: Path) -> None:
        self.rows: list[Row] = []
        self.edges: list[list[Any]] = []  # between steps, as `LiveReport.show_edges` has them
        self.ended: str | None = None
        with contextlib.suppress(OSError, ValueError, RecursionError):
            data = read(path)
            if data.get("schema") == SCHEMA and all(map(_is_whole, data["rows"])):
                self.rows, self.ended = data["rows"], data.get("finished") or data.get("updated")
                edges = data.get("edges")
                self.edges = [edge for edge in edges if len(edge) == 6] if isinstance(edges, list) else []
        self._by_place = {_place_of(row): row for row in self.rows}

    def before(self, row: Row) -> Row | None:
        """Return what the instance of a row was in that report; None if it is new."""
        earlier = self._by_place.get(_place_of(row))
        return None if earlier is None else before_of(earlier)


def _without_run(row: Row) -> Row:
    """Return a row without what it says of its last run besides the record."""
    return {key: value for key, value in row.items() if key not in _OF_RUN}


def _waited(wait: Wait) -> Row:
    """Return what a row says of the time before its instance began."""
    return {"ready": _iso(wait.ready), "waited_for": wait.waited_for, "held_by": wait.held_by}


def _iso(seconds: float) -> str:
    time_of = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return time_of.isoformat(timespec="milliseconds")


def _is_whole(row: Any) -> bool:
    """Return whether a row has all that identifies and describes its instance."""
    needed = ("id", "source", "step", "instance", "status", "directory", "flow")
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in needed)


def _place_of(row: Row) -> tuple[str, str]:
    """Return what identifies an instance whatever its id is: its run directory and its flow."""
    return row["directory"], row["flow"]


def _of_earlier_session(row: Row) -> Row:
    """Return a row of the report before, as one of an earlier session."""
    is_cut = row["status"] == Status.RUNNING.value
    return {**row, "earlier": True, "shard": None, "status": "waiting" if is_cut else row["status"]}
