"""Tell in words what the record of a run holds: `show`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import click

from ..core.instance import JSON, slug, stem_of
from ..core.number_text import in_bytes, in_line, listed
from ..core.record import INTERRUPTED, Record, Status
from ..core.run_directory.layout import RunFiles, is_past_config
from ..core.scalars import flattened, json_object
from ..report.failure_text import failed_first, failure_lines, quoted
from .shared import words
from .shared.find_run import RUN, Run, find_run
from .shared.project import shown

_NAMED = 12  # inputs or outputs shown without --all
_LONGEST_VALUE = 100  # characters


@click.command()
@click.argument("run", type=RUN)
@click.option("--all", "whole", is_flag=True, help="Name all inputs and outputs, also code.")
@click.option("--json", "as_json", is_flag=True, help="Print the record and the config.")
def show(run: str, *, whole: bool, as_json: bool) -> None:
    """Tell what is known of a run.

    That is: config, times, why it ran, warnings, the failure with its place, inputs, outputs with their
    sizes, upstreams, attempts, and the commands that repeat and debug it.
    """
    found = find_run(run)
    record = found.record
    if as_json:
        words.print_json({"record": record.to_json(), "config": config_of(found)})
        return
    for line in (*_head(found), *_config_lines(found), *_ending(found), *_files(found, whole=whole)):
        click.echo(line)
    for line in _commands(found):
        click.echo(line)


def config_of(run: Run) -> dict[str, JSON]:
    """Return the config of a run, without `_project_root`."""
    config = json_object(run.files.config)
    return {key: value for key, value in config.items() if key != "_project_root"}


def _line(title: str, text: str) -> str:
    return f"{title + ':':<11} {in_line(text)}"


def _head(run: Run) -> Iterator[str]:
    record = run.record
    kind = "build" if record.flows else "flow"
    yield f"{click.style(run.label, bold=True)}  {words.light(_status(record))}"
    yield _line(kind, shown(run.root / record.flow))
    if source := declared_in(run):
        yield _line("declared", source)
    began = f"{words.when(record.started)}, {words.ago(record.started)}" if record.started else "unknown"
    took = f", took {words.duration(record.duration)}" if record.duration is not None else ""
    memory = f", at most {in_bytes(record.peak_memory)} of memory" if record.peak_memory else ""
    yield _line("ran", f"{began}{took}{memory}")
    if record.reason:
        yield _line("why", record.reason)
    if record.attempts > 1:
        yield _line("attempts", str(record.attempts))
        for number, why in enumerate(record.attempts_told, 1):
            yield _line(f"  attempt {number}", why)
    for title, value in (("kernel", record.kernel), ("runs in", record.cwd if record.cwd != "run" else "")):
        if value:
            yield _line(title, value)


def _status(record: Record) -> str:
    if record.status is not Status.RUNNING:
        return record.status.value
    from ..core.system.instance_lock import is_alive

    alive = record.owner is not None and is_alive(record.owner)
    return record.status.value if alive else words.CUT_OFF


def declared_in(run: Run) -> str:
    """Return the file and line that declared a run; "" if its record does not tell."""
    record = run.record
    if not record.source:
        return ""
    line = f":{record.line}" if record.line and record.line > 1 else ""
    return f"{shown(run.root / record.source)}{line}"


def repeat_command(run: Run) -> str:
    """Return the command that runs just this instance again, as its conductor declares it if it does."""
    record, source = run.record, run.root / run.record.source
    if record.stored:
        return f"pytest --ductaflow {quoted(shown(source.parent))}"
    is_declared = record.source and source.is_file() and not is_past_config(source)
    if is_declared and source.name != os.path.basename(record.flow):
        return (
            f"pytest --ductaflow {quoted(f'{shown(source)}::{slug(record.step)}::{slug(record.instance)}')}"
        )
    return f"pytest --ductaflow {quoted(shown(run.directory))}"


def _config_lines(run: Run) -> Iterator[str]:
    config = dict(flattened(config_of(run)))
    yield "config:" if config else _line("config", "empty")
    width = max(map(len, config), default=0)
    for key, value in config.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        text = in_line(text)
        cut = text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
        yield f"  {key:<{width}}  {cut}"


def _ending(run: Run) -> Iterator[str]:
    """Yield warnings and the failure of a run."""
    record = run.record
    at = f" ({shown(run.root / record.flow)}:{record.warning_line})" if record.warning_line else ""
    if record.warnings:
        yield f"warnings{at}:"
        yield from (f"  {in_line(line)}" for line in record.warnings)
        if record.warning_count > len(record.warnings):
            more = record.warning_count - len(record.warnings)
            yield f"  … and {more} more: ductaflow logs {quoted(run.label)}"
    if record.python_warnings:
        yield "Python's warnings:"
        yield from (f"  {in_line(line)}" for line in record.python_warnings)
    if record.error is not None:
        yield "failure:"
        lines = failure_lines(record, run.root, Path.cwd(), repeat_command(run))
        texts = [
            click.style(in_line(line.text), fg="red") if "red" in line.style else line.text for line in lines
        ]
        blank = len(texts) - 1 - texts[::-1].index("") if "" in texts else len(texts)
        yield from (f"  {text}".rstrip() for text in texts[:blank])  # paths and commands follow below
        if record.error.type == INTERRUPTED:
            yield "  the next session runs it again"
    if record.last_good:
        yield _line("last good", shown(run.root / record.last_good))


def _files(run: Run, *, whole: bool) -> Iterator[str]:
    record = run.record
    inputs = [name for name in record.inputs if not name.endswith(("/", "/**"))]
    data = [name for name in inputs if name not in record.code and record.inputs[name] != "absent"]
    code = [name for name in inputs if name in record.code]
    yield from _named("inputs", data, whole=whole)
    if whole:
        yield from _named("code", code, whole=True)
    elif code:
        yield _line("code", listed(code, 6))
    outputs = []
    for name in record.outputs:
        path = run.root / record.run_dir / name
        size = in_bytes(path.stat().st_size) if path.is_file() else "gone"
        outputs.append(f"{name}  {size}")
    yield from _named("outputs", outputs, whole=whole)
    yield from _named("upstreams", list(record.upstreams), whole=whole)
    if record.undeclared:
        yield _line("undeclared", f"it has also read what {listed(record.undeclared)} wrote")
    if record.flows:
        yield "flows:"
        for flow in record.flows:
            took = words.duration(flow.duration)
            yield f"  {words.light(flow.status.value)}  {flow.run_dir}  {flow.flow}  {took}".rstrip()


def _named(title: str, names: list[str], *, whole: bool) -> Iterator[str]:
    if not names:
        return
    yield f"{title}:"
    some = names if whole or len(names) <= _NAMED else names[: _NAMED - 1]
    yield from (f"  {in_line(name)}" for name in some)
    if len(some) < len(names):
        yield f"  … and {len(names) - len(some)} more (--all)"


def _commands(run: Run) -> Iterator[str]:
    failed = failed_first(run.record) if run.record.error is not None else run.record
    files = RunFiles(run.root / failed.run_dir, stem_of(failed.flow))
    looked_at = shown(files.directory) if failed is not run.record else run.label
    yield _line("log", shown(run.files.log))
    yield _line("notebook", shown(run.files.html if run.files.html.exists() else run.files.notebook))
    yield _line("repeat", repeat_command(run))
    yield _line("debug", f"ductaflow debug {quoted(looked_at)}")
    if run.record.last_good:
        yield _line("restore", f"ductaflow restore {quoted(run.label)}")
