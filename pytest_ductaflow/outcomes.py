"""From records to pytest's outcomes, and to what the terminal says of them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any, assert_never

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter

from .collection import SETTINGS, InstanceItem, repeat_command
from .errors import InstanceFailed
from .failure_text import Line, failure_lines
from .model import Record, Status
from .settings import WarningsMode


class FlowWarning(UserWarning):
    """What `warnings.warn` said inside a flow."""


class FailureRepr(TerminalRepr):
    """A failure as the terminal shows it, coloured only where it is written."""

    def __init__(self, lines: list[Line], location: ReprFileLocation) -> None:
        self.lines = lines
        self.reprcrash = location  # pytest's short summary and JUnit's message come from it

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines)

    def toterminal(self, tw: TerminalWriter) -> None:
        for line in self.lines:
            tw.line(line.text, **dict.fromkeys(line.style, True))


def run_item(item: InstanceItem) -> None:
    """Run an item's instance.

    Raises:
        InstanceFailed: If it ended with an error, or with a warning and these are to fail.
    """
    from .runner import run

    settings = item.config.stash[SETTINGS]
    echo = sys.stdout if item.config.getoption("capture") == "no" else None
    record = item.record = run(item.instance, settings, echo=echo)
    _pass_warnings_on(item, record)
    verdict = verdict_of(record, settings.warnings)
    if verdict == "failed":
        raise InstanceFailed(record.message or str(record.status), record)


def verdict_of(record: Record, mode: WarningsMode) -> str:
    """What pytest makes of a record: `passed`, `warned`, `failed` or `skipped`."""
    match record.status:
        case Status.SUCCESS:
            return "passed"
        case Status.WARNING:
            return {"xfail": "warned", "pass": "passed", "fail": "failed"}[mode]
        case Status.ERROR | Status.RUNNING:
            return "failed"
        case Status.BLOCKED:
            return "skipped"
        case _:
            assert_never(record.status)


def _pass_warnings_on(item: InstanceItem, record: Record) -> None:
    """Python's own warnings into pytest's warnings summary."""
    for text in record.python_warnings:
        message = warnings.WarningMessage(FlowWarning(text), FlowWarning, item.instance.flow, 0)
        item.ihook.pytest_warning_recorded.call_historic(
            kwargs={
                "warning_message": message,
                "when": "runtest",
                "nodeid": item.nodeid,
                "location": None,
            }
        )


def failure_of(item: InstanceItem, excinfo: pytest.ExceptionInfo[BaseException]) -> FailureRepr | None:
    """How to show what an item raised; None if it is not a flow's failure."""
    if isinstance(excinfo.value, InstanceFailed) and isinstance(excinfo.value.record, Record):
        return failure_repr(excinfo.value.record, item.nodeid, item.config, Path(item.instance.project_root))
    return None


def failure_repr(record: Record, node_id: str, config: pytest.Config, root: Path) -> FailureRepr:
    """A record's failure, with paths as one would type them here."""
    here = config.invocation_params.dir
    command = repeat_command(node_id, config.rootpath, here)
    lines = failure_lines(record, root, here, command)
    line = record.error.file_line if record.error else None
    location = ReprFileLocation(str(root / record.flow), line or 1, record.message or "")
    return FailureRepr(lines, location)


class OutcomeHooks:
    """Reports that know what the flow said."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if isinstance(item, InstanceItem) and call.when == "call" and item.record is not None:
            report.ductaflow = item.record.to_json()  # type: ignore[attr-defined]
            mode = item.config.stash[SETTINGS].warnings
            if report.passed and verdict_of(item.record, mode) == "warned":
                report.outcome = "skipped"
                report.wasxfail = item.record.message or "warning"
        return report

    def pytest_report_teststatus(self, report: pytest.TestReport) -> Any:
        if hasattr(report, "ductaflow") and hasattr(report, "wasxfail"):
            return "warned", "w", ("WARNED", {"yellow": True})
        return None


def record_of(report: Any) -> Record | None:
    """The record that a test report carries, also when it came from a worker."""
    data = getattr(report, "ductaflow", None)
    return Record.from_json(dict(data)) if data is not None else None
