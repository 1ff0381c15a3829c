"""Configs and records on disk, and the journal in which a build's flows tell it theirs.

Unreadable records are treated as missing, with a one-line reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..instance import RUNS, Instance
from ..record import Failure, Record, Status
from ..system.file_state import settled, size_in, state_in
from .atomic import add_line, write_json
from .build_variable import surrounding_build
from .layout import RECORD_END, RunFiles, folders_of_runs, is_record


def write_config(files: RunFiles, config: Mapping[str, Any]) -> None:
    """Write the exact config into the run directory, creating the directory if necessary."""
    files.directory.mkdir(parents=True, exist_ok=True)
    write_json(files.config, config)


def write_record(files: RunFiles, record: Record) -> None:
    write_json(files.record, record.to_json())


def write_failure(files: RunFiles, record: Record) -> None:
    """Write the record of a failed run; on a full disk, overwrite the one that says it is running."""
    try:
        write_record(files, record)
    except OSError:
        text = json.dumps(record.to_json(), separators=(",", ":"), default=str)
        with contextlib.suppress(OSError), open(files.record, "r+b", buffering=0) as file:
            file.write(text.encode(errors="backslashreplace"))  # into a block that the file already has
            file.truncate()


def publish(files: RunFiles, record: Record) -> None:
    """Write a record, and append it to the journal of the build around it, if any."""
    write_record(files, record)
    tell_build(record)


def tell_build(record: Record) -> None:
    """Append a record to the journal of the build around this code, if any."""
    if (build := surrounding_build()) is not None:
        journal, _ = build
        add_to_journal(journal, record)


def close_record(instance: Instance, message: str, kind: str = "WorkerDied") -> Record | None:
    """Mark the record of an instance whose process died as failed, so that it does not stay `running`.

    Args:
        instance: Instance that no longer runs.
        message: What has happened.
        kind: Type of the failure.

    Returns:
        The new record; None if there was no record with status `running`.
    """
    files = RunFiles.of(instance)
    record, _ = read_record(files.record)
    if record is None or record.status is not Status.RUNNING:
        return None
    failure = Failure(kind, message.strip())
    closed = record.with_(status=Status.ERROR, error=failure, owner=None)
    with contextlib.suppress(OSError):
        write_record(files, closed)
    return closed


def read_record(path: Path) -> tuple[Record | None, str | None]:
    """Return a record, or None and the reason; no reason if the file is missing."""
    try:
        state = state_in(os.stat(path))
        return _read(str(path), state), None
    except FileNotFoundError:
        _kept.drop(str(path))
        return None, None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return None, f"{path}: not a readable record ({error}); treated as if it were not there"


_MOST_KEPT = 32_000_000  # bytes of the files of all records kept
_LARGEST_SHARED = 50  # entries of a mapping
_PARTS = ("inputs", "code", "packages", "environment", "stats")  # similar in all runs of a flow


class _KeptRecords:
    """The first records that were read, as long as the states of their files do not change.

    The first ones are kept, and not the last ones: where there are more, all are read again in the same
    order, and each would be dropped before its turn.
    """

    def __init__(self) -> None:
        self._records: dict[str, tuple[str, Record]] = {}
        self._size = 0
        self._lock = threading.RLock()

    def get(self, path: str, state: str) -> Record | None:
        """Return the record of a file if it was kept when the file had this state."""
        kept_state, record = self._records.get(path, ("", None))
        return record if kept_state == state else None

    def add(self, path: str, state: str, record: Record) -> Record:
        """Keep a record if there is room, and return it."""
        with self._lock:
            self.drop(path)
            if self._size + size_in(state) > _MOST_KEPT:
                return record
            self._size += size_in(state)
            record = record.with_(**{name: _shared(getattr(record, name)) for name in _PARTS})
            self._records[path] = state, record
            return record

    def drop(self, path: str) -> None:
        """Drop the record of a file."""
        with self._lock:
            if (kept := self._records.pop(path, None)) is not None:
                self._size -= size_in(kept[0])


_kept = _KeptRecords()


def _shared(part: Mapping[str, str]) -> Mapping[str, str]:
    """Return a mapping, the same one for equal ones: most that a record says is said by hundreds."""
    return part if len(part) > _LARGEST_SHARED else _same(tuple(part.items()))


@lru_cache(maxsize=1_000)
def _same(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(items)


def _read(path: str, state: str) -> Record:
    """Return the record in a file, read once as long as the file's state does not change."""
    if (kept := _kept.get(path, state)) is not None:
        return kept
    is_settled = settled(state)  # a file written just now may be written again without a change of its times
    with open(path, "rb", buffering=0) as file:
        record = Record.from_json(json.loads(file.read().decode()))
    return _kept.add(path, state, record) if is_settled else record


def records_in(directory: Path) -> dict[str, Record]:
    """Return the records in one folder by the stem of their flows."""
    read = {
        path.name.removesuffix(RECORD_END): read_record(path)[0] for path in directory.glob(f"*{RECORD_END}")
    }
    return {stem: record for stem, record in read.items() if record is not None}


def records(runs: Path) -> Iterator[tuple[Path, Record]]:
    """Yield every instance's record under `runs`, without those of the flows inside builds.

    Yields:
        The run directory and its record, sorted by path.
    """
    of_builds: set[tuple[str, str]] = set()
    for folder, folders, names in os.walk(runs):
        read = (read_record(Path(folder, name))[0] for name in sorted(names) if name.endswith(RECORD_END))
        found = [record for record in read if record is not None]
        flows = (flow for record in found for nested in record.flows for flow in nested.with_flows())
        of_builds |= {(flow.run_dir, flow.flow) for flow in flows}
        for record in found:
            if (record.run_dir, record.flow) not in of_builds:
                yield Path(folder), record
        folders[:] = folders_of_runs(folders, in_run=bool(found))


def folders_with_records(runs: Path, known: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below `runs` that holds records, with the names of these files, unread.

    Args:
        runs: A `runs/`, or a folder in it.
        known: Run directories that need not be searched for further ones.
    """
    folders = [str(runs)]
    while folders:
        folder = folders.pop()
        try:
            if folder in known:
                yield folder, sorted(filter(is_record, os.listdir(folder)))
                continue
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except OSError:
            continue
        names = sorted(entry.name for entry in entries if is_record(entry.name))
        if names:
            yield folder, names
        below = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        folders += sorted((e.path for e in below if not (names and e.name == RUNS)), reverse=True)


def add_to_journal(journal: Path, record: Record) -> None:
    """Append the record of a flow that has begun or ended to its build's journal: one line, one write."""
    add_line(journal, record.to_json())


def read_journal(journal: Path) -> tuple[Record, ...]:
    """Return the latest record of each flow of a build, in the order in which they began."""
    latest: dict[tuple[str, str], Record] = {}
    with contextlib.suppress(OSError):
        for line in journal.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                record = Record.from_json(json.loads(line))
                latest[record.run_dir, record.flow] = record
    return tuple(latest.values())
