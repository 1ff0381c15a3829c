"""Turn records into pytest's outcomes, and into the failures that the terminal shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter

from ..core.number_text import in_line
from ..core.record import Record
from ..report.failure_text import Line, failure_lines


class FlowWarning(UserWarning):
    """A warning that `warnings.warn` issued inside a flow."""


class Waiting(FlowWarning):
    """A message that an instance waits for another process that is running it."""


class FailureRepr(TerminalRepr):
    """A failure as the terminal shows it, coloured only on output.

    Args:
        lines: All lines, for files.
        location: Source of pytest's short summary and JUnit's message.
        shown: Lines that the terminal shows, if not all.
    """

    def __init__(
        self, lines: list[Line], location: ReprFileLocation, shown: list[Line] | None = None
    ) -> None:
        self.lines = lines
        self.reprcrash = location
        self._shown = lines if shown is None else shown
        self._alike: Callable[[int], list[Line]] | None = None

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines)

    def toterminal(self, tw: TerminalWriter) -> None:
        _write([*self._shown, *(self._alike(tw.fullwidth) if self._alike is not None else ())], tw)

    def add(self, alike: Callable[[int], list[Line]]) -> None:
        """Add lines about similar failures, which are computed, for a width, when this one is shown."""
        self._alike = alike


def _write(lines: list[Line], tw: TerminalWriter) -> None:
    for line in lines:
        tw.line(in_line(line.text.expandtabs()), **dict.fromkeys(line.style, True))


def failure_repr(record: Record, root: Path, here: Path, command: str, style: str = "auto") -> FailureRepr:
    """Return a record's failure for the terminal.

    Args:
        record: The record of the instance that failed.
        root: Its project root.
        here: The directory to which the paths shown are relative.
        command: The command that repeats just this instance.
        style: The value of `--tb`.
    """
    line = record.error.file_line if record.error else None
    message = record.error.message if record.error and record.differs else record.message
    shown = "\n".join(in_line(text.expandtabs()) for text in (message or "").split("\n"))
    location = ReprFileLocation(str(root / record.flow), line or 1, sendable(shown))
    lines = _sendable_lines(failure_lines(record, root, here, command))
    if style == "line":  # pytest itself writes the location
        return FailureRepr(lines, location, [])
    if style == "short":
        return FailureRepr(
            lines, location, _sendable_lines(failure_lines(record, root, here, command, short=True))
        )
    return FailureRepr(lines, location)


def _sendable_lines(lines: list[Line]) -> list[Line]:
    return [Line(sendable(line.text), line.style) for line in lines]


def sendable(data: Any) -> Any:
    """Return data with its texts made safe to send between processes: file names may be undecodable."""
    if isinstance(data, str):
        return data if data.isascii() else data.encode("utf-8", "backslashreplace").decode()
    if isinstance(data, dict):
        return {sendable(key): sendable(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [sendable(value) for value in data]
    return data


_AMONG = 100  # last reports, among which those of an item are that has just ended, however many workers run
_parsed: WeakKeyDictionary[Any, Record] = WeakKeyDictionary()  # by report, as several hooks ask


def attach_record(report: Any, record: Record, *, is_sent: bool) -> None:
    """Add a record to a test report, as JSON that other plugins can write.

    Args:
        report: The report.
        record: The record.
        is_sent: Whether the report is sent to another process.
    """
    data = record.sparse_json()
    report.ductaflow = sendable(data) if is_sent else data
    if not is_sent:
        _parsed[report] = record


def forget_records(node_id: str) -> None:
    """Drop the record of an instance whose reports all hooks have seen; if it passed, all but its outcome."""
    for report in [report for report in _parsed if report.nodeid == node_id]:
        del _parsed[report]
        if report.passed:
            data = report.ductaflow
            report.ductaflow = _brief(data.get("status", ""), bool(data.get("unchanged")))


@cache
def _brief(status: str, unchanged: bool) -> dict[str, Any]:
    """Return what is kept of the record of a report that has passed, for the summary of `-rA`."""
    return {"status": status, "unchanged": unchanged}


def forget_phases(config: pytest.Config, node_id: str) -> None:
    """Drop an item's reports of setup and teardown, which pytest keeps only to show how long they took."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:
        return
    needs_them = (
        config.getoption("durations", None) is not None or config.getini("console_output_style") == "times"
    )
    if not needs_them:
        phases = terminal.stats.get("", [])
        last = phases[-_AMONG:]
        phases[-_AMONG:] = [
            report for report in last if report.sections or report.nodeid != node_id
        ]  # sections are shown with failures


def record_of(report: Any) -> Record | None:
    """Return the record that a test report carries, also when it came from a worker."""
    data = getattr(report, "ductaflow", None)
    if data is None or "schema" not in data:  # it has none, or it was forgotten
        return None
    if (record := _parsed.get(report)) is None:
        record = _parsed[report] = Record.from_json(dict(data))
    return record
