"""Write the summary of a GitHub Actions job, and annotations at the lines of flows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ...core.instance import Instance
from ...core.number_text import escaped, fenced
from ...core.outcome import Outcome, outcome_of
from ...core.record import Difference, Record, Status
from ...report.failure_text import TITLES, cells_of
from ...report.packed_rows import Row
from ..collection import node_ids
from ..items import PLAN, SETTINGS
from ..ordering import BLOCKED
from ..outcomes import record_of

LARGEST = 1024 * 1024  # bytes of a summary; GitHub does not show a larger one
ANNOTATIONS = 10  # annotations of each outcome that GitHub shows for a step
_LATEST = 60  # maximum of lines of a failure text
_WIDEST = 1_000  # characters of a line of a failure text
_PLACES = 5  # last lines of a failure text, with locations and commands
_VALUES = 10  # values shown of a file that differs
_WARNED = 50  # warned instances that are named
_OTHERS = {"pytest_github_actions_annotate_failures", "pytest_github_actions_annotate_failures.plugin"}
_CUT = 200  # bytes reserved for a line about omissions


@dataclass(frozen=True)
class EndedInstance:
    """The way an instance ended, as shown in the job.

    Attributes:
        node_id: Its node id.
        label: `step/instance`.
        outcome: `passed`, `warned`, `failed`, `blocked`, `skipped` or `unchanged`.
        message: One line.
        text: The failure text.
        file: Absolute path of the flow.
        line: The line in it that failed, or that printed the first warning.
        differences: Differences of a stored instance.
    """

    node_id: str
    label: str
    outcome: str
    message: str = ""
    text: str = ""
    file: str = ""
    line: int = 1
    differences: tuple[Difference, ...] = ()


# --- the summary


def summary(ended_instances: Sequence[EndedInstance], title: str, room: int = LARGEST) -> str:
    """Return the ended_instances as Markdown of at most `room` bytes."""
    failed = [ended for ended in ended_instances if ended.outcome == "failed"]
    warned = [ended for ended in ended_instances if ended.outcome == "warned"]
    page = _Page(room)
    page.add([f"## {escaped(title)}: {_counts(ended_instances)}\n\n"])
    if failed:
        rows = (f"| {escaped(e.node_id)} | {escaped(e.message)} |\n" for e in failed)
        page.add(rows, head="| failed | because |\n| --- | --- |\n", what="failed instances")
        page.add(map(_details, failed), head="\n", what="failure texts")
    if warned:
        lines = [f"- {escaped(e.node_id)}: {escaped(e.message)}\n" for e in warned]
        page.add(lines[:_WARNED], head="\n### Warned\n\n", what="warned instances")
        if len(warned) > _WARNED:
            page.add([f"- … and {len(warned) - _WARNED} more\n"])
    return page.text + "\n"


def _counts(ended_instances: Iterable[EndedInstance]) -> str:
    kinds = [ended.outcome for ended in ended_instances]
    always = ("passed", "warned", "failed", "blocked", "unchanged")
    counts = {outcome: kinds.count(outcome) for outcome in (*always, "skipped")}
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count or outcome in always)


class _Page:
    """A Markdown text of limited size."""

    def __init__(self, room: int) -> None:
        self._room = room - _CUT * 4
        self._parts: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add(self, parts: Iterable[str], *, head: str = "", what: str = "") -> None:
        """Add parts as far as there is room, and a line on how many are left out."""
        self._append(head)
        left_out = 0
        for part in parts:
            if left_out or not self._append(part):
                left_out += 1
        if left_out:
            self._parts.append(f"\n… {left_out} more {what}: see the report\n\n")

    def _append(self, part: str) -> bool:
        size = len(_encoded(part))
        if size > self._room:
            return False
        self._room -= size
        self._parts.append(part)
        return True


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")


def _details(ended: EndedInstance) -> str:
    """Return a failure text that unfolds, and how the outputs of a stored instance differ."""
    lines = [line[:_WIDEST] for line in ended.text.splitlines()]
    if ended.differences:
        lines = lines[-_PLACES:]  # the tables show the rest
    if len(lines) > _LATEST:
        middle = f"… {len(lines) - _LATEST} lines …"
        lines = [*lines[: _LATEST // 2], middle, *lines[len(lines) - _LATEST // 2 :]]
    text = fenced("\n".join(lines))
    tables = "".join(map(_difference, ended.differences))
    return f"<details><summary>{escaped(ended.node_id)}</summary>\n\n{text}\n{tables}</details>\n\n"


def _difference(difference: Difference) -> str:
    said = f"{escaped(difference.file)}: {escaped(difference.message)}\n\n"
    if not difference.worst:
        return said
    rows = [TITLES, ("---",) * len(TITLES)]
    rows += [tuple(map(escaped, cells_of(value))) for value in difference.worst[:_VALUES]]
    return said + "".join(f"| {' | '.join(row)} |\n" for row in rows) + "\n"


# --- annotations


def workflow_commands(
    ended_instances: Sequence[EndedInstance], workspace: str, *, failures: bool = True
) -> Iterator[str]:
    """Yield the workflow commands that make GitHub mark lines of flows.

    Args:
        ended_instances: Endings of all instances.
        workspace: The checkout, to which paths are relative; lines of files elsewhere are not marked.
        failures: Whether failed instances are to be marked, too.
    """
    for outcome, level in (("failed", "error"), ("warned", "warning")):
        if outcome == "failed" and not failures:
            continue
        for ended in [ended for ended in ended_instances if ended.outcome == outcome][:ANNOTATIONS]:
            place = _place(ended, workspace)
            properties = ",".join(f"{name}={_property(text)}" for name, text in place.items())
            yield f"::{level} {properties}::{_data(ended.message or outcome)}"


def _place(ended: EndedInstance, workspace: str) -> dict[str, str]:
    title = {"title": ended.label}
    inside = bool(workspace) and Path(ended.file).is_relative_to(workspace)
    if not inside:
        return title
    file = Path(ended.file).relative_to(workspace).as_posix()
    return {"file": file, "line": str(ended.line), **title}


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


# --- the session


class GithubHooks:
    """The hooks that collect how instances end, and report it to GitHub when all have.

    Args:
        config: pytest's config.
        environ: Environment with GitHub's paths of the summary and the checkout.
    """

    def __init__(self, config: pytest.Config, environ: Mapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        self._ended_instances: dict[str, EndedInstance] = {}

    @cached_property
    def _instances(self) -> Mapping[str, Instance]:
        return node_ids(self._config.stash[PLAN], self._config.rootpath)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        instance = self._instances.get(report.nodeid)
        if instance is not None:
            ended = _ended_instance(report, instance, self._config)
            earlier = self._ended_instances.get(report.nodeid)
            if ended is not None and (earlier is None or earlier.outcome != "failed"):
                self._ended_instances[report.nodeid] = ended

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._ended_instances:  # only ordinary tests, or none
            return
        ended_instances = list(self._ended_instances.values())
        settings, manager = self._config.stash[SETTINGS], self._config.pluginmanager
        title = f"ductaflow, shard {settings.shard[0]}/{settings.shard[1]}" if settings.shard else "ductaflow"
        if (path := self._environ.get("GITHUB_STEP_SUMMARY")) and (
            problem := append_summary(path, ended_instances, title)
        ):
            terminalreporter.line(problem, yellow=True)
        failures = not any(map(manager.hasplugin, _OTHERS))
        workspace = self._environ.get("GITHUB_WORKSPACE", "")
        terminalreporter.ensure_newline()
        for command in workflow_commands(ended_instances, workspace, failures=failures):
            terminalreporter.line(command)


def _ended_instance(
    report: pytest.TestReport, instance: Instance, config: pytest.Config
) -> EndedInstance | None:
    """Return how an instance ended according to a report; None if the report does not show that."""
    record = record_of(report)
    outcome = _outcome(report, record, config)
    if outcome is None:
        return None
    text = str(report.longrepr) if report.failed else ""
    file, line = _source_of(record, instance)
    return EndedInstance(
        node_id=report.nodeid,
        label=f"{instance.step}/{instance.name}",
        outcome=outcome,
        message=_message(report, record, text),
        text=text,
        file=file,
        line=line,
        differences=record.differences if record is not None else (),
    )


def _source_of(record: Record | None, instance: Instance) -> tuple[str, int]:
    """Return the file and line to look at: of a build with a warning, those of the flow that warned."""
    if record is not None and record.error is not None:
        return instance.flow, record.error.file_line or 1
    for each in record.with_flows() if record is not None else ():
        if each.warnings:  # the first of them is the message
            return os.path.join(instance.project_root, each.flow), each.warning_line or 1
    return instance.flow, 1


def _outcome(report: pytest.TestReport, record: Record | None, config: pytest.Config) -> str | None:
    if report.failed:
        return "failed"
    is_last = str(report.outcome) != "rerun"  # another plugin's outcome of an attempt before the last
    if record is not None and is_last:
        outcome = outcome_of(record.status, config.stash[SETTINGS].warnings)
        return "unchanged" if outcome == "passed" and record.unchanged else outcome
    if report.skipped and report.when == "setup":
        return "blocked" if hasattr(report, BLOCKED) else "skipped"
    return None


def _message(report: pytest.TestReport, record: Record | None, text: str) -> str:
    if record is not None and record.message:
        return record.message
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return next((line for line in text.splitlines() if line.strip()), "")


def ended_of_rows(rows: Iterable[Row]) -> list[EndedInstance]:
    """Return how the instances in a report's rows ended; those that did not run count as failed."""
    return [
        EndedInstance(
            node_id=row["id"],
            label=f"{row['step']}/{row['instance']}",
            outcome="unchanged" if row.get("unchanged") else _outcome_of_row(row),
            message=row.get("message") or row["status"],
            text="\n".join(filter(None, (row.get("traceback"), row.get("command")))),
            differences=tuple(map(Difference.from_json, row.get("differences") or ())),
        )
        for row in rows
    ]


def _outcome_of_row(row: Row) -> Outcome:
    """Return the outcome of an ended row; a row that was still waiting failed."""
    return outcome_of(Status(row["status"])) if row["status"] in set(Status) else "failed"


def append_summary(path: str, ended_instances: Sequence[EndedInstance], title: str) -> str | None:
    """Append the summary to its file.

    Returns:
        The reason if that failed; None if it did not.
    """
    try:
        room = LARGEST - (os.stat(path).st_size if os.path.exists(path) else 0)
        text = _encoded(summary(ended_instances, title, room))
        if len(text) > room:
            return "GitHub's job summary could not be written: it is full"
        with open(path, "ab") as file:
            file.write(text)
    except OSError as error:
        return f"GitHub's job summary could not be written: {error}"
    return None
