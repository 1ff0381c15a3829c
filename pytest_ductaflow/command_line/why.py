"""Tell why an instance would run, or not: `why`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..core.instance import Instance
from ..core.record import Record
from ..core.run_directory.layout import RunFiles
from ..core.run_directory.record_files import read_record
from ..core.settings import Settings
from ..planning.discovery import Source, discover
from ..planning.history.declared_history import declarations
from ..planning.make_plan import make_plan
from ..planning.plan import Plan
from ..planning.would_run import MAY_RUN, UNCHANGED, Forecast, with_upstreams
from ..report.failure_text import quoted
from .shared import words
from .shared.find_run import RUN, Run, find_run, name_in
from .shared.project import project_of, settings_and_root, shown
from .shared.refusal import Refusal


@dataclass(frozen=True)
class _Verdict:
    """What a session would do with an instance."""

    instance: Instance
    source: Path
    reason: str
    upstreams: dict[str, str]  # reasons by label
    waits_for: str

    @property
    def runs(self) -> str:
        if self.reason == UNCHANGED:
            return "unchanged"
        return "may run" if self.reason.startswith(MAY_RUN) else "runs"


@click.command()
@click.argument("run", type=RUN)
@click.option("--json", "as_json", is_flag=True, help="Print data.")
def why(run: str, *, as_json: bool) -> None:
    """Tell why an instance would run in the next session, or why not.

    The conductor, table or flow that declares it is executed as when pytest collects it: nothing runs. The
    decision is that of `pytest --ductaflow`.
    """
    verdict = _verdict(run)
    instance = verdict.instance
    record, _ = read_record(RunFiles.of(instance).record)
    if as_json:
        words.print_json(_as_data(verdict, record))
        return
    for line in _lines(verdict, record):
        click.echo(line)


def _verdict(text: str) -> _Verdict:
    """Return the verdict on the instance that a text means.

    Raises:
        Refusal: If nothing declares it.
    """
    run: Run | None = None
    unknown = ""
    try:
        run = find_run(text)
    except Refusal as refusal:  # it may have been declared since the last session
        unknown = refusal.message
    root = run.root if run is not None else project_of(Path.cwd())
    settings, _, ignored = settings_and_root(root)
    with contextlib.ExitStack() as undo:
        for sources in _candidates(root, run, settings, ignored):
            plan = make_plan(sources, settings, undo=undo)
            number = _number_of(plan, run, text)
            if number is not None:
                return _forecast(plan, number, settings)
    if run is None:
        raise Refusal(unknown)
    source = _source_of(run)
    told = f": {source} declared it, and does not any more" if source else ""
    raise Refusal(
        f"no conductor, table or flow declares {run.label}{told}; it runs only if it is named: "
        f"pytest --ductaflow {quoted(shown(run.directory))}"
    )


def _candidates(
    root: Path, run: Run | None, settings: Settings, ignored: tuple[str, ...]
) -> Iterator[list[Source]]:
    """Yield the sources that have declared an instance, then all conductors of the project."""
    names: list[str] = []
    if run is not None:
        name = run.files.record.relative_to(root).as_posix() if run.files.record.is_relative_to(root) else ""
        names = [each.source for each in declarations(root) if name in each.now]
        if not names and (source := _source_of(run)):
            names = [source]
        names = [each for each in names if (root / each).is_file()]
    first = discover(names, root, settings, ignored_folders=ignored)
    if first:
        yield first
    known = {source.path for source in first}
    rest = [s for s in discover(["."], root, settings, ignored_folders=ignored) if s.path not in known]
    rest = [source for source in rest if source.kind != "stored"]
    if rest:
        yield rest


def _source_of(run: Run) -> str:
    """Return what declared a run by its record; "" if there is none, or none that can be read."""
    record, _ = read_record(run.files.record)
    return record.source if record is not None else ""


def _number_of(plan: Plan, run: Run | None, text: str) -> int | None:
    """Return the number of the instance that is meant; None if the plan does not have it."""
    if run is not None:
        files = [RunFiles.of(instance).record for instance in plan.all]
        return files.index(run.files.record) if run.files.record in files else None
    name = name_in(text)
    labels = [f"{instance.step}/{instance.name}" for instance in plan.all]
    found = [n for n, label in enumerate(labels) if label == name or label.endswith(f"/{name}")]
    found = found or [n for n, label in enumerate(labels) if name.lower() in label.lower()]
    if len(found) > 1:
        raise Refusal(f"{text!r} is ambiguous: {', '.join(labels[number] for number in found)}")
    return found[0] if found else None


def _forecast(plan: Plan, number: int, settings: Settings) -> _Verdict:
    forecast = Forecast(plan, settings)
    for each in with_upstreams(plan, number):
        forecast.add(each)
    ups = {plan.graph.labels[up]: forecast.reasons[up] for up in plan.graph.upstreams[number]}
    bad = [
        label
        for label, up in zip(ups, plan.graph.upstreams[number], strict=True)
        if not _is_good(plan.all[up])
    ]
    waits = f"its upstreams {', '.join(bad)} have to end well first" if len(bad) > 1 else ""
    waits = waits or (f"its upstream {bad[0]} has to end well first" if bad else "")
    return _Verdict(plan.all[number], plan.source_of(number), forecast.reasons[number], ups, waits)


def _is_good(instance: Instance) -> bool:
    record, _ = read_record(RunFiles.of(instance).record)
    return record is not None and record.status.good


def _command(verdict: _Verdict) -> str:
    from ..core.instance import slug

    instance, source = verdict.instance, shown(verdict.source)
    if instance.stored_in:
        return f"pytest --ductaflow {quoted(shown(instance.stored_in))}"
    return f"pytest --ductaflow {quoted(f'{source}::{slug(instance.step)}::{slug(instance.name)}')}"


def _place(instance: Instance, source: Path) -> str:
    line = f":{instance.line}" if instance.line and instance.line > 1 else ""
    row = f", row {instance.row}" if instance.row else ""
    return f"{shown(instance.source or source)}{line}{row}"


def _lines(verdict: _Verdict, record: Record | None) -> Iterator[str]:
    instance = verdict.instance
    label = click.style(f"{instance.step}/{instance.name}", bold=True)
    match verdict.runs:
        case "unchanged":
            yield f"{label} would not run: nothing that it depends on has changed since it ended well"
        case "may run":
            yield f"{label} {verdict.reason}"
        case _:
            yield f"{label} would run: {verdict.reason}"
    if verdict.waits_for:
        yield f"before:    {verdict.waits_for}"
    yield f"declared:  {_place(instance, verdict.source)}, flow {shown(instance.flow)}"
    if record is not None:
        took = f", {words.duration(record.duration)}" if record.duration is not None else ""
        message = f", {record.message}" if record.message else ""
        yield f"last run:  {words.when(record.started)}, {words.light(record.status.value)}{took}{message}"
    for name, reason in verdict.upstreams.items():
        how = (
            "unchanged"
            if reason == UNCHANGED
            else reason
            if reason.startswith(MAY_RUN)
            else f"runs: {reason}"
        )
        yield f"upstream:  {name} ({how})"
    if not instance.selected:
        yield "note:      ductaflow_where leaves it out"
    yield f"run it:    {_command(verdict)}"


def _as_data(verdict: _Verdict, record: Record | None) -> dict[str, Any]:
    instance = verdict.instance
    return {
        "run": f"{instance.step}/{instance.name}",
        "decision": verdict.runs,
        "reason": verdict.reason or None,
        "declared": _place(instance, verdict.source),
        "upstreams": {name: reason or None for name, reason in verdict.upstreams.items()},
        "last": {"status": record.status.value, "started": record.started} if record is not None else None,
        "command": _command(verdict),
    }
