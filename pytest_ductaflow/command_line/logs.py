"""Print what a run has printed, and follow it while it runs: `logs`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from ..core.record import Record, Status
from ..core.run_directory.record_files import read_record
from .shared.file_events import FolderWatch
from .shared.find_run import RUN, Run, find_run
from .shared.project import shown
from .shared.refusal import Refusal

_LOOK = 1.0  # seconds between looks whether the process that runs the instance is alive

_PIECE = 65_536  # characters of a log that are printed at once, or a line


@click.command()
@click.argument("run", type=RUN)
@click.option("-f", "--follow", is_flag=True, help="Go on while it runs, and end when the instance ends.")
@click.option("--grep", "pattern", metavar="PATTERN", help="Only lines in which this expression matches.")
def logs(run: str, pattern: str | None, *, follow: bool) -> None:
    """Print what a run has printed and logged.

    PATTERN is a regular expression, as in Python.
    """
    found = find_run(run)
    try:
        wanted = re.compile(pattern) if pattern is not None else None
    except re.error as error:
        raise Refusal(f"--grep {pattern!r} is no regular expression: {error}") from None
    log = found.files.log
    if not log.exists() and not (follow and _is_running(found)):
        raise Refusal(f"{found.label} has printed nothing yet: {shown(log)} is not there")
    pieces = _followed(found) if follow else _read(log)
    for lines in _lines(pieces):
        chosen = lines if wanted is None else filter(wanted.search, lines)
        if text := "".join(chosen):
            click.echo(text, nl=False)


def _lines(pieces: Iterator[str]) -> Iterator[list[str]]:
    """Yield the complete lines of each piece of a text, and what is left at its end."""
    rest = ""
    for piece in pieces:
        *complete, rest = (rest + piece).split("\n")
        yield [f"{line}\n" for line in complete]
    if rest:
        yield [f"{rest}\n"]


def _read(log: Path) -> Iterator[str]:
    """Yield pieces of a log, of whole lines."""
    with open(log, encoding="utf-8", errors="replace", newline="") as file:
        while lines := file.readlines(_PIECE):
            yield "".join(lines)


def _followed(run: Run) -> Iterator[str]:
    """Yield what a log has, and what comes while its instance runs; a new attempt begins anew."""
    log, place, rest = run.files.log, 0, b""
    with FolderWatch(run.directory) as watch:
        while True:
            goes_on = _is_running(run)  # before reading: what is printed last must not be missed
            try:
                if log.stat().st_size < place:
                    place, rest = 0, b""
                with open(log, "rb") as file:
                    file.seek(place)
                    piece = file.read()
            except FileNotFoundError:
                piece = b""
            place += len(piece)
            text = rest + piece
            end = text.rfind(b"\n") + 1  # characters of several bytes stay whole
            rest = text[end:]
            if end:
                yield text[:end].decode("utf-8", "replace")
            if not goes_on:
                if rest:
                    yield rest.decode("utf-8", "replace")
                return
            watch.wait(_LOOK)


def _is_running(run: Run) -> bool:
    """Return whether a process that is alive runs the instance, or a build around it."""
    record, _ = read_record(run.files.record)
    if record is None or record.status is not Status.RUNNING:
        return False
    return _is_alive(record)


def _is_alive(record: Record) -> bool:
    from ..core.system.instance_lock import is_alive

    return record.owner is not None and is_alive(record.owner)
