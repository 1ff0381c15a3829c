"""Format a failed instance for the terminal: place, line, traceback, and how to repeat it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.instance import stem_of
from ..core.number_text import amount, in_line, percent
from ..core.record import (
    FLOW_FAILED,
    INTERRUPTED,
    MEMORY_LIMIT,
    Difference,
    DifferingValue,
    Failure,
    Record,
    Status,
)
from ..core.run_directory.layout import RunFiles

_AROUND = 4  # lines of code before and after the one that failed
_TAIL = 10  # last lines of output shown if there is no traceback
_TAIL_BYTES = 10_000  # read from the end to find these: a log may be very long


@dataclass(frozen=True)
class Line:
    """A line of text and its terminal style (`red`, `bold`, …)."""

    text: str
    style: tuple[str, ...] = ()


def failure_lines(record: Record, root: Path, here: Path, command: str, *, short: bool = False) -> list[Line]:
    """Return the text of a failure.

    Args:
        record: Record of the instance that failed.
        root: Its project root, to which the record's paths are relative.
        here: Directory to which the paths shown are relative.
        command: Command that repeats just this instance.
        short: Whether to leave out the code around the line, the traceback and the paths of files.
    """
    if record.differs:
        return [*_differences(record, root, here), Line(""), *_places(record, record, root, here, command)]
    chain = _to_the_cause(record)
    lines: list[Line] = []
    for depth, failed in enumerate(chain):
        if depth == len(chain) - 1:
            lines += _cause(failed, root, here, short=short)
        else:
            kind = f"{failed.step}/{failed.instance}" if depth == 0 else stem_of(failed.flow)
            inner = chain[depth + 1]
            verb = "warned" if record.status is Status.WARNING else "failed"
            lines.append(Line(f"{kind}: its flow {stem_of(inner.flow)} {verb}", ("red", "bold")))
    if short:
        return [*lines, Line(f"repeat: {command}")]
    return [*lines, Line(""), *_places(chain[-1], record, root, here, command)]


def place_of(record: Record) -> tuple[object, ...] | None:
    """Return a key shared by failures with the same place and type of error; None if outputs differ.

    It consists of the flows on the way to the cause, with their cells and lines, and the traceback's frames.
    """
    if record.differs:
        return None
    chain = _to_the_cause(record)
    ways = [(link.flow, link.error.cell, link.error.file_line) for link in chain if link.error is not None]
    failure = chain[-1].error
    if failure is None:
        return chain[-1].flow, str(chain[-1].status)
    return *ways, failure.type, *filter(_is_frame, failure.traceback.splitlines())


def kind_of(record: Record) -> str:
    """Return what happened where, as the failures of a session are counted: `ValueError in growth cell 3`."""
    failed = failed_first(record)
    if record.differs:
        return f"{stem_of(record.flow)} with other outputs than stored"
    what = failed.error.type if failed.error is not None else str(failed.status)
    cell = f" cell {failed.error.cell}" if failed.error is not None and failed.error.cell else ""
    return f"{what} in {stem_of(failed.flow)}{cell}"


def message_of(record: Record) -> str:
    """Return the message of the flow that failed first."""
    cause = failed_first(record)
    return _message(cause.error) if cause.error is not None else cause.message or str(cause.status)


def failed_first(record: Record) -> Record:
    """Return the flow that caused the failure: in a build, the one that failed first."""
    return _to_the_cause(record)[-1]


def _places(record: Record, failed: Record, root: Path, here: Path, command: str) -> Iterator[Line]:
    """Yield the paths of the files of an instance and of what failed first in it, and useful commands."""
    run_dir = root / record.run_dir
    yield Line(f"run directory: {_typed(run_dir, here)}")
    yield Line(f"output:        {_typed(RunFiles(run_dir, stem_of(record.flow)).log, here)}")
    for number, why in enumerate(failed.attempts_told, 1):
        yield Line(in_line(f"attempt {number}:     {why}"))
    if failed.last_good:
        yield Line(f"last good run: {_typed(root / failed.last_good, here)}")
        run = quoted(_typed(root / failed.run_dir, here))
        yield Line(f"bring it back: ductaflow restore {run}")
    yield Line(f"repeat:        {command}")
    if record.differs:
        yield Line(f"tolerances:    {_typed(root / record.source, here)}")
        yield Line(f"update:        {command} --ductaflow-update")


def _differences(record: Record, root: Path, here: Path) -> Iterator[Line]:
    """Yield lines on what a stored instance did not write as expected."""
    folder = _typed((root / record.source).parent, here)
    yield Line(f"{stem_of(record.flow)} ran, but its outputs are not as stored in {folder}", ("red", "bold"))
    for difference in record.differences:
        yield Line("")
        yield Line(in_line(f"E   {difference.file}: {difference.message}"), ("red", "bold"))
        yield from difference_lines(difference, root / record.run_dir, here)


def difference_lines(difference: Difference, run_dir: Path, here: Path) -> Iterator[Line]:
    """Yield the details of a difference: notes, the values that differ most, the paths of its figures."""
    yield from (Line(f"    {in_line(note)}") for note in difference.notes)
    if difference.worst:
        rows = [TITLES, *map(cells_of, difference.worst)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for cells in rows:
            first, *others = zip(cells, widths, strict=True)
            text = "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])
            yield Line(f"    {text}".rstrip())
    for name, file in difference.figures.items():
        yield Line(in_line(f"    {name + ':':<12}{_typed(run_dir / file, here)}"))


TITLES = ("where", "expected", "found", "difference", "relative")  # of the columns in `cells_of`


def cells_of(value: DifferingValue) -> tuple[str, ...]:
    """Return one row in a table of the values that differ most."""
    absolute = "" if value.absolute is None else amount(value.absolute)
    relative = "" if value.relative is None else percent(value.relative)
    return in_line(value.where), in_line(value.expected), in_line(value.found), absolute, relative


def _to_the_cause(record: Record) -> list[Record]:
    """Return the chain from a build to the flow in it that failed (or warned) first, and so on inward."""
    causes = (Status.WARNING,) if record.status is Status.WARNING else (Status.ERROR, Status.RUNNING)
    chain = [record]
    while True:
        build = chain[-1]
        inner = [flow for flow in build.flows if flow.status in causes and not _ended_with(flow, build)]
        if not inner:
            return chain
        chain.append(inner[0])


def _ended_with(flow: Record, build: Record) -> bool:
    """Return whether a flow was only ended because its build was out of time, or used too much memory."""
    if build.error is not None and build.error.type == MEMORY_LIMIT:
        return flow.status is Status.RUNNING
    is_interrupted = flow.error is not None and flow.error.type == INTERRUPTED
    return is_interrupted and build.error is not None and build.error.type not in (FLOW_FAILED, INTERRUPTED)


def _cause(record: Record, root: Path, here: Path, *, short: bool) -> Iterator[Line]:
    stem = stem_of(record.flow)
    failure = record.error
    if failure is None:
        yield Line(f"{stem}: {record.status}", ("red", "bold"))
        yield from (Line(f"  {line}", ("yellow",)) for line in record.warnings)
        return
    flow = _typed(root / record.flow, here)
    at = f"{flow}:{failure.file_line}" if failure.file_line else flow
    cell = f" in cell [{failure.cell}]" if failure.cell else ""
    yield Line(f"{stem} failed{cell}, {at}", ("red", "bold"))
    if not short:
        yield Line("")
    yield from _code(failure, around=0 if short else _AROUND)
    yield from (Line(f"E   {line}", ("red", "bold")) for line in _message(failure).splitlines())
    if short:
        return
    if _frames(failure.traceback) > 1:
        yield Line("")
        yield from (Line(line) for line in failure.traceback.splitlines())
    elif not failure.traceback:
        yield from _last_output(RunFiles(root / record.run_dir, stem).log)


def _message(failure: Failure) -> str:
    return f"{failure.type}: {failure.message}" if failure.message else failure.type


def _frames(traceback: str) -> int:
    return sum(map(_is_frame, traceback.splitlines()))


def _is_frame(line: str) -> bool:
    return line.startswith(("File ", "Cell In[")) or " in cell [" in line


def _code(failure: Failure, around: int = _AROUND) -> Iterator[Line]:
    """Yield the cell around the line that failed, with line numbers of the flow's file where known."""
    lines = failure.source.splitlines()
    if not lines:
        return
    at = failure.line
    first = 1 if at is None or len(lines) <= 2 * around + 1 else max(1, at - around)
    last = min(len(lines), first + 2 * around)
    offset = failure.file_line - (at or 1) if failure.file_line else 0
    width = len(str(last + offset))
    for number in range(first, last + 1):
        marked = number == at
        text = f"{'>' if marked else ' '} {number + offset:>{width}}  {lines[number - 1]}"
        yield Line(text.rstrip(), ("bold",) if marked else ())


def code_text(failure: Failure) -> str:
    """Return the cell around the line that failed, which is marked, as text; "" if it is not known."""
    return "\n".join(line.text for line in _code(failure))


def last_lines(log: Path) -> list[str]:
    """Return the last lines of a log that are complete, a long first one without its beginning."""
    try:
        if not os.path.getsize(log):
            return []
        with open(log, "rb") as file:
            begin = file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = file.read().decode("utf-8", "replace").split("\n")[:-1]
    except OSError:
        return []
    if lines and begin:
        lines[0] = f"…{lines[0]}"
    return lines


def _last_output(log: Path) -> Iterator[Line]:
    lines = last_lines(log)[:-1]  # the last one only says that it has failed
    if any(map(str.strip, lines)):
        yield Line("")
        yield Line("last output:")
        yield from (Line(f"  {line}") for line in lines[-_TAIL:])


DEBUGGING = "pytest_ductaflow.api.debugging"  # the module that runs a flow for a debugger


def debug_command(flow: str, config: str, folder: str = "") -> str:
    """Return the command that stops a flow in Python's debugger where it fails, or at a `breakpoint()`.

    Args:
        flow: The flow.
        config: The file with its config.
        folder: Its working directory, if that is not the config's folder.
    """
    arguments = " ".join(quoted(each) for each in (flow, config, folder) if each)
    return f"python -m pdb -c continue -m {DEBUGGING} {arguments}"


def quoted(text: str) -> str:
    """Quote an argument for the shell of this platform."""
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)


def _typed(path: Path, here: Path) -> str:
    """Return a path as one would type it in `here`."""
    try:
        return Path(os.path.relpath(path, here)).as_posix()
    except ValueError:  # another drive
        return str(path)
