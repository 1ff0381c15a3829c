"""Make the report of what is in `runs/` from its records alone, and an archive that opens elsewhere."""

from __future__ import annotations

import datetime
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import DuctaflowError
from ..core.instance import Instance, slug
from ..core.record import Record, Status
from ..core.run_directory.atomic import write_atomic
from ..core.run_directory.layout import EARLIER, REPORT, SHARED_BY_PAGES, RunFiles, display_path
from ..core.run_directory.record_files import records
from ..core.scalars import files_with_scalars, json_object, scalars_in
from .failure_text import last_lines, quoted
from .figures.entries import files_in
from .figures.of_runs import figures_of_runs
from .history import RunHistory, most_shown
from .live import CUT_OFF, LARGEST_RESULTS, LONGEST_LINE, TAIL
from .packed_rows import Row
from .page import SCHEMA, read, render
from .rows import ended_row, waiting_row


def write_report(
    runs: Path, command: str, is_declared: Callable[[Path, Record], bool] = lambda *_: True
) -> Path:
    """Write the report of all instances whose records are in a `runs/`.

    Args:
        runs: The folder, in its project.
        command: Command to be shown in the report.
        is_declared: Function that returns, for the path of a record and the record, whether to show it.

    Raises:
        DuctaflowError: If there are no records, or the report cannot be written.
    """
    found = [
        (directory, record)
        for directory, record in records(runs)
        if is_declared(RunFiles(directory, Path(record.flow).stem).record, record)
    ]
    rows = [row_of(directory, record, runs) for directory, record in found]
    if not rows:
        raise DuctaflowError(f"{runs}: no record of an instance in it")
    edges = _edges(rows, [record for _, record in found])
    history, most = RunHistory(runs), most_shown(len(rows))
    rows = [{**row, "history": history.shown(row, most)} for row in rows]
    ended = [(row["directory"], record) for row, (_, record) in zip(rows, found, strict=True)]
    for row, figures in zip(rows, figures_of_runs(runs, ended), strict=True):
        row["figures"] = figures
    rows.sort(key=lambda row: (row["source"], row["step"]))  # else by path: records() sorts them
    path = runs / REPORT
    try:
        write_atomic(path, render({**_header(rows, runs, command), "edges": edges, "rows": rows}))
    except OSError as error:
        raise DuctaflowError(f"{path}: could not be written: {error}") from None
    return path


def row_of(directory: Path, record: Record, runs: Path) -> Row:
    """Return the row of an instance of which only the record is known.

    Args:
        directory: Its run directory.
        record: The record.
        runs: Folder of the report.
    """
    files = RunFiles(directory, Path(record.flow).stem)
    config = {key: value for key, value in json_object(files.config).items() if key != "_project_root"}
    flow, root = runs.parent / record.flow, runs.parent
    instance = Instance(str(flow), record.step, record.instance, config, str(directory), str(root))
    source = display_path(record.source, root) if record.source else record.flow
    parts = (
        (source, slug(record.instance))
        if record.stored
        else (source, slug(record.step), slug(record.instance))
    )
    node_id = "::".join(parts)
    command = f"pytest --ductaflow {quoted(display_path(directory, root))}"
    row = waiting_row(node_id, instance, command, runs)
    if record.status is Status.RUNNING:
        if _is_being_run(files, root):
            return {**row, "status": Status.RUNNING.value, "started": record.started or None}
        return {**row, "status": Status.ERROR.value, "message": CUT_OFF}
    results: Row = {}
    for (stem, key), value in scalars_in(
        directory, files_with_scalars(record), largest=LARGEST_RESULTS
    ).items():
        results.setdefault(stem, {})[key] = value
    tail = last_lines(files.log)[-TAIL:] if record.status is Status.ERROR else []
    tail = [line[:LONGEST_LINE] for line in tail]
    return {**ended_row(row, record, files, runs), "results": results, "tail": tail}


def _is_being_run(files: RunFiles, root: Path) -> bool:
    from ..core.system.instance_lock import is_free  # not needed where nothing runs

    return not is_free(files, root)


def _edges(rows: Sequence[Row], found: Sequence[Record]) -> list[list[Any]]:
    """Return between which steps dependencies lead, each as `LiveReport.show_edges` has them."""
    steps = {f"{row['step']}/{row['instance']}": (row["source"], row["step"]) for row in rows}
    counts: Counter[tuple[str, ...]] = Counter()
    for row, record in zip(rows, found, strict=True):
        earlier = {steps[label] for label in record.upstreams if label in steps}
        counts.update((*step, row["source"], row["step"]) for step in earlier)
    return [[*steps, dependents, False] for steps, dependents in counts.items()]


def _header(rows: list[Row], runs: Path, command: str) -> dict[str, Any]:
    starts = sorted(row["started"] for row in rows if row.get("started"))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    ends = max(map(_end, rows), default="") or now
    has_ended = not any(row["status"] == Status.RUNNING.value for row in rows)
    times = {"started": starts[0] if starts else now, "updated": now, "finished": ends if has_ended else None}
    outcome = "finished" if has_ended else None
    rest = {"exit_code": None, "workers": None, "shard": None, "outcome": outcome}
    return {"schema": SCHEMA, "title": runs.parent.name, "command": command, **times, **rest}


def _end(row: Row) -> str:
    """Return when the instance of a row ended, in ISO 8601; "" if that is not known."""
    try:
        began = datetime.datetime.fromisoformat(row.get("started") or "")
    except ValueError:
        return ""
    ended = began + datetime.timedelta(seconds=row.get("duration") or 0)
    return ended.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def write_archive(report: Path, target: Path) -> int:
    """Write a zip archive of a report with all files that it links to.

    Args:
        report: The report, in its `runs/`.
        target: The archive.

    Returns:
        The number of linked files that are not in it, as they are missing or not in `runs/`.

    Raises:
        DuctaflowError: If the report cannot be read, or the archive not be written.
    """
    runs, missing = report.parent, 0
    try:
        names = dict.fromkeys((REPORT, *_linked(read(report)["rows"])))
        top = f"{report.resolve().parent.parent.name}-report"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in (*names, *(each for each in SHARED_BY_PAGES if (runs / each).is_file())):
                if _is_inside(runs, name):
                    archive.write(runs / name, f"{top}/{name}")
                else:
                    missing += 1
    except (OSError, ValueError, zipfile.LargeZipFile) as error:
        raise DuctaflowError(f"{target}: could not be written: {error}") from None
    return missing


def _linked(rows: list[Row]) -> Iterator[str]:
    """Yield the paths, relative to the report, of all files to which rows link, with those of their flows."""
    for row in rows:
        yield from filter(None, (row.get("links") or {}).values())
        yield from files_in(row)
        yield from _linked(row.get("flows") or [])
        for difference in row.get("differences") or ():
            yield from (f"{row['directory']}/{path}" for path in difference["figures"].values())
            if difference["is_there"]:
                yield f"{row['directory']}/{difference['file']}"


def _is_inside(runs: Path, name: str) -> bool:
    """Return whether a path names a file that really lies in `runs/`."""
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or EARLIER in place.parts:
        return False
    real = os.path.realpath(runs / name)
    return os.path.isfile(real) and Path(real).is_relative_to(os.path.realpath(runs))
