"""Give an overview: `status` counts instances by step, `ls` lists them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from ..core.errors import DuctaflowError
from ..core.instance import Instance
from ..core.record import Record, Status
from ..core.run_directory.layout import display_path
from ..core.run_directory.record_files import read_record
from ..core.scalars import json_object
from ..planning.history.declared_history import DeclaredRecords
from .shared import words
from .shared.find_run import Run, all_runs, declared_runs
from .shared.project import project_of, shown
from .shared.refusal import Refusal

_RUNNING_SHOWN = 5


@dataclass(frozen=True)
class Entry:
    """An instance in an overview: a run with its record, or one that is only declared."""

    run: Run
    record: Record | None

    @cached_property
    def status(self) -> str:
        """Its status in a word."""
        if self.record is None:
            return words.NOT_RUN
        if self.record.status is Status.RUNNING and not _is_alive(self.record):
            return words.CUT_OFF
        return self.record.status.value

    @property
    def step(self) -> str:
        return self.record.step if self.record is not None else self.run.label.rpartition("/")[0]

    @property
    def started(self) -> str:
        return self.record.started if self.record is not None else ""

    @property
    def seconds(self) -> float | None:
        """How long it took, or has been running."""
        if self.status == Status.RUNNING:
            return words.seconds_since(self.started)
        return self.record.duration if self.record is not None else None

    @property
    def message(self) -> str:
        if self.record is None or self.record.status is Status.RUNNING:
            return ""
        return self.record.message or ""

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run.label,
            "step": self.step,
            "instance": self.run.label.rpartition("/")[2],
            "status": self.status,
            "started": self.started or None,
            "duration": self.seconds,
            "message": self.message or None,
            "directory": display_path(self.run.directory, self.run.root),
        }


def _is_alive(record: Record) -> bool:
    from ..core.system.instance_lock import is_alive

    return record.owner is not None and is_alive(record.owner)


def entries(root: Path) -> tuple[list[Entry], list[Entry]]:
    """Return the instances of a project, and what has run there but nothing declares any more."""
    known = DeclaredRecords(root)
    mine: list[Entry] = []
    others: list[Entry] = []
    there = set()
    for run in all_runs(root):
        record, _ = read_record(run.files.record)
        if record is not None:
            there.add(run.files.record)
            is_declared = record.stored or known.is_declared(run.files.record, record)
            (mine if is_declared else others).append(Entry(run, record))
    mine += [Entry(run, None) for run in declared_runs(root) if run.files.record not in there]
    return mine, others


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print data.")
def status(*, as_json: bool) -> None:
    """Count the instances of each step by how they ended.

    Below: the session that is running, and what it runs now; the instance that ran last; runs that no
    conductor, table or flow declares any more.
    """
    root = project_of(Path.cwd())
    found, others = entries(root)
    ran = [entry for entry in found if entry.record is not None]
    newest = max(ran, key=lambda entry: entry.started, default=None)
    running = sorted((e for e in ran if e.status == Status.RUNNING), key=lambda entry: entry.started)
    sessions = _sessions(root)
    if not as_json:
        for line in _lines_of_status(root, found, others, newest, running, sessions):
            click.echo(line)
        return
    words.print_json(
        {
            "project": str(root),
            "steps": [{"step": step, **counts} for step, counts in _by_step(found).items()],
            "sessions": [
                {"command": each.command, "pid": each.owner.pid, "host": each.owner.host, "began": each.began}
                for each in sessions
            ],
            "running": [entry.to_json() for entry in running],
            "newest": newest.to_json() if newest is not None else None,
            "undeclared": [entry.run.label for entry in others],
        }
    )


def _lines_of_status(
    root: Path,
    found: Sequence[Entry],
    others: Sequence[Entry],
    newest: Entry | None,
    running: Sequence[Entry],
    sessions: Sequence[Any],
) -> Iterator[str]:
    if not found and not others:
        yield f"{shown(root)}: nothing has run yet; run a conductor: pytest --ductaflow conductor.py"
    yield from _table_of_steps(found) if found else ()
    for session in sessions:
        who = f"process {session.owner.pid} on {session.owner.host}, since {words.when(session.began)}"
        yield f"a session is running: {session.command} ({who})"
    if running:
        now = [f"{entry.run.label} ({words.duration(entry.seconds)})" for entry in running[:_RUNNING_SHOWN]]
        more = f" and {len(running) - _RUNNING_SHOWN} more" if len(running) > _RUNNING_SHOWN else ""
        yield f"running now: {', '.join(now)}{more}"
    elif not sessions:
        yield "no session is running"
    if newest is not None and newest.status != Status.RUNNING:
        what = f", {newest.message}" if newest.message else ""
        told = f"newest: {newest.run.label}, {words.ago(newest.started)}: "
        yield told + words.light(newest.status) + words.fitting(what, _width() - len(told) - 10)
    if others:
        text = words.count_of(len(others), "more run")
        yield f"{text} that nothing declares any more: ductaflow ls --all shows, ductaflow gc removes them"


def _sessions(root: Path) -> Sequence[Any]:
    from ..core.run_directory.layout import LOCKS

    if not any((root / "runs" / LOCKS).glob("*.session")):  # psutil need not be imported
        return ()
    from ..core.system.running_now import running_sessions

    return running_sessions(root)


def _by_step(found: Iterable[Entry]) -> dict[str, Counter[str]]:
    steps: dict[str, Counter[str]] = {}
    for entry in sorted(found, key=lambda entry: entry.step):
        steps.setdefault(entry.step, Counter())[entry.status] += 1
    return steps


def _table_of_steps(found: Sequence[Entry]) -> list[str]:
    steps = _by_step(found)
    totals = sum(steps.values(), Counter[str]())
    columns = [name for name in words.STATUSES if totals[name]]
    latest: dict[str, str] = {}
    for entry in found:
        latest[entry.step] = max(latest.get(entry.step, ""), entry.started)
    rows = [["step", "instances", *map(words.light, columns), "newest"]]
    for step, counts in steps.items():
        numbers = [str(counts[name] or "") for name in columns]
        rows.append([step, str(counts.total()), *numbers, words.when(latest[step])])
    if len(steps) > 1:
        rows.append(["all", str(totals.total()), *(str(totals[name]) for name in columns), ""])
    return words.table(rows, right=range(1, len(columns) + 2))


@click.command()
@click.argument("step", required=False)
@click.option("--where", "expression", metavar="EXPR", help="Only those for which this holds.")
@click.option("--status", "statuses", multiple=True, type=click.Choice(words.STATUSES), help="Only these.")
@click.option("-n", "number", type=click.IntRange(min=1), help="How many.")
@click.option("--all", "with_undeclared", is_flag=True, help="Also runs that nothing declares any more.")
@click.option("--json", "as_json", is_flag=True, help="Print data.")
def ls(
    step: str | None,
    expression: str | None,
    statuses: tuple[str, ...],
    number: int | None,
    *,
    with_undeclared: bool,
    as_json: bool,
) -> None:
    """List the instances of STEP, or of all steps, the newest first.

    EXPR is as in `pytest --ductaflow-where`, on the keys of configs, step, instance, flow and status:
    "year == 2040 and status == 'error'".
    """
    root = project_of(Path.cwd())
    found, others = entries(root)
    found += others if with_undeclared else []
    if step is not None:
        name = step.strip("/").removeprefix("runs/")
        steps = sorted({entry.step for entry in found})
        found = [entry for entry in found if entry.step == name or entry.step.startswith(f"{name}/")]
        if not found:
            raise Refusal(f"no step {name!r}; there are {', '.join(steps) or 'none'}")
    if expression is not None:
        found = _where(found, expression)
    found = [entry for entry in found if not statuses or entry.status in statuses]
    found.sort(key=lambda entry: entry.run.label)
    found.sort(key=lambda entry: entry.started, reverse=True)
    found = found[:number]
    if as_json:
        words.print_json([{**entry.to_json(), "config": _config(entry)} for entry in found])
        return
    if not found:
        click.echo("no instance")
        return
    rows = [["status", "run", "when", "duration"]]
    for entry in found:
        times = (words.when(entry.started), words.duration(entry.seconds))
        rows.append([words.light(entry.status), entry.run.label, *times])
    lines = words.table(rows, right=(3,))
    width = max(len(click.unstyle(line)) for line in lines)
    for line, message in zip(lines, ["message", *(entry.message for entry in found)], strict=True):
        space = " " * (width - len(click.unstyle(line)) + 2)
        click.echo(f"{line}{space}{words.fitting(message, _width() - width - 2)}".rstrip())


def _width() -> int:
    return shutil.get_terminal_size().columns


def _config(entry: Entry) -> dict[str, Any]:
    config = json_object(entry.run.files.config)
    return {key: value for key, value in config.items() if key != "_project_root"}


def _where(found: list[Entry], expression: str) -> list[Entry]:
    """Return the instances for which an expression on config, step, instance, flow and status holds.

    Raises:
        Refusal: If the expression cannot be evaluated.
    """
    import pandas as pd

    from ..planning.declare_table import columns_of
    from ..sources.row_filter import select

    if not found:
        return []
    rows = []
    for entry in found:
        name = entry.run.label.rpartition("/")[2]
        stem, directory, root = entry.run.files.stem, str(entry.run.directory), str(entry.run.root)
        instance = Instance(f"{stem}.py", entry.step, name, _config(entry), directory, root)
        rows.append({**columns_of(instance), "status": entry.status})
    try:
        kept = select(expression, pd.DataFrame(rows).convert_dtypes())
    except DuctaflowError as error:
        raise Refusal(str(error).replace("--ductaflow-where", "--where", 1)) from None
    return [entry for entry, keep in zip(found, kept, strict=True) if keep]
