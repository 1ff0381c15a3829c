"""Run a flow once, with the machinery of scripts and sessions: `run`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import click

from ..core.errors import TableError
from ..core.instance import JSON, TEXT_COLUMNS, Instance
from ..core.record import Record, Status
from ..core.run_directory.layout import display_path
from ..report.failure_text import failure_lines, quoted
from .shared import words
from .shared.near import near
from .shared.project import find_project, settings_and_root, shown
from .shared.refusal import Refusal

_NAME = TEXT_COLUMNS[0]
_FAILED = 1  # exit code


@click.command()
@click.argument("flow")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="JSON file with the config.")
@click.option("--set", "values", multiple=True, metavar="KEY=VALUE", help="Set a key: model.alpha=0.1.")
@click.option("--name", help="Name of the instance and of its folder.")
@click.option("--step", help="Folder below runs/ (by default the flow's name).")
def run(
    flow: str, config_file: Path | None, values: tuple[str, ...], name: str | None, step: str | None
) -> None:
    """Run FLOW once, now, and print what it prints.

    The config is that of --config, else config/flows/FLOW.json if it is there, with what --set says; a VALUE
    is JSON, or else text. Without --name the instance is called as the config says, or by a hash of it. The
    exit code is 1 if it fails.
    """
    instance = _instance(flow, config_file, values, name, step)
    record = _run(instance)
    _tell(instance, record)
    sys.exit(0 if record.status.good else _FAILED)


def _instance(
    flow: str, config_file: Path | None, values: tuple[str, ...], name: str | None, step: str | None
) -> Instance:
    """Return the instance of a call.

    Raises:
        DuctaflowError: If the flow is not found or cannot run, or the config is wrong; nothing has run.
    """
    from ..planning.caller import Origin
    from ..planning.declare_call import declare_call
    from ..sources.notebooks import find_flow
    from ..sources.parameters_cell.flow_check import flow_problem, schema_of
    from ..sources.schemas.check import problems_of_schema

    here = Path.cwd()
    root = find_project(here) or here
    path = find_flow(flow, (here, root))
    root = find_project(path) or root
    config = _config(path, root, config_file, values)
    if name is not None:
        config[_NAME] = name
    where = display_path(path, root)
    origin = Origin(str(path))
    instance = declare_call(path, config, root=root, origin=origin, step=step, name=name)
    problem = flow_problem(path, where, root, is_configured=bool(instance.config), keys=instance.config)
    if problem is not None:
        raise TableError([problem])
    schema = schema_of(path, root)
    if schema is not None and (problems := problems_of_schema(instance.config, schema, where, "key")):
        raise TableError(problems)
    return instance


def _config(flow: Path, root: Path, file: Path | None, values: tuple[str, ...]) -> dict[str, JSON]:
    """Return the config of a call.

    Raises:
        Refusal: If a file or a value is not what it has to be.
    """
    own = root / "config" / flow.parent.name / f"{flow.stem}.json"
    file = file or (own if own.is_file() else None)
    config: dict[str, JSON] = {}
    if file is not None:
        if not file.is_file():
            others = [shown(each) for each in sorted((root / "config").rglob("*.json"))]
            raise Refusal(f"--config {file}: there is no such file{near(str(file), others)}")
        try:
            config = json.loads(file.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise Refusal(f"--config {shown(file)} is not JSON: {error}") from None
        if not isinstance(config, dict):
            raise Refusal(f"--config {shown(file)}: expected an object with keys")
    for text in values:
        _set(config, text)
    return config


def _set(config: dict[str, JSON], text: str) -> None:
    """Set a key of a config, such as `model.alpha=0.1`; dots lead into nested objects.

    Raises:
        Refusal: If there is no `=`, or the key leads through a value that is no object.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Refusal(f"--set {text}: expected KEY=VALUE, such as rate=0.02")
    *parts, last = key.split(".")
    place = config
    for part in parts:
        place = place.setdefault(part, {})
        if not isinstance(place, dict):
            raise Refusal(f"--set {text}: {part!r} is a value, and has no key {last!r}")
    try:
        place[last] = json.loads(value)
    except ValueError:
        place[last] = value


def _run(instance: Instance) -> Record:
    """Run an instance as a session does, with its output as it comes."""
    from ..core.system.running_now import announce
    from ..planning.history import declared_history
    from ..running.run_instance import finish
    from ..running.run_instance import run as run_instance

    settings, _, _ = settings_and_root(Path(instance.flow))
    root = Path(instance.project_root)
    _warn_if_declared(instance, root)
    withdraw = announce(root, f"ductaflow {' '.join(map(quoted, sys.argv[1:]))}")
    try:
        record = run_instance(
            instance,
            replace(settings, force=True),
            echo=sys.stdout,
            say=lambda line: click.echo(line, err=True),
        )
        finish()
    finally:
        withdraw()
    declared_history.note_script(root, Path(instance.flow), [instance], complete=False)
    return record


def _warn_if_declared(instance: Instance, root: Path) -> None:
    """Print a note if the run takes the place of an instance that something else declares."""
    from ..planning.history.declared_history import declarations, record_name

    name, flow = record_name(instance), display_path(instance.flow, root)
    other = next(
        (each.source for each in declarations(root) if name in each.now and each.source != flow), None
    )
    if other is not None:
        text = f"note: {other} declares {instance.step}/{instance.name}, too; this run replaces its results"
        click.secho(text, fg="yellow", err=True)


def _tell(instance: Instance, record: Record) -> None:
    root, here = Path(instance.project_root), Path.cwd()
    label = f"{instance.step}/{instance.name}"
    if record.error is not None:
        for line in failure_lines(record, root, here, _again()):
            click.echo(click.style(line.text, fg="red") if "red" in line.style else line.text)
        return
    took = words.duration(record.duration)
    message = f": {record.message}" if record.status is Status.WARNING and record.message else ""
    click.echo(f"{label} ended with {words.light(record.status.value)} in {took}{message}")
    click.echo(f"run directory: {shown(instance.run_dir)}")


def _again() -> str:
    return f"ductaflow {' '.join(map(quoted, sys.argv[1:]))}"
