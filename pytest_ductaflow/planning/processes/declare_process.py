"""Execute one conductor, or read tables, in a separate process, and write the instances to a file.

`python -m pytest_ductaflow.planning.processes.declare_process REQUEST RESULT`; both are JSON files. The
working directory is the project root, so that a conductor's relative paths are valid; pytest's own process
is not affected. With `--fork REQUESTS ANSWERS`, two descriptors, a child does that for each request.
"""

from __future__ import annotations

import gc
import importlib
import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ...core.errors import DuctaflowError, FlowNotFound, SecretMissing, StoredError
from ...core.instance import RUNS, Instance, default_step, slug, stem_of
from ...core.masking.names import use as use_patterns
from ...core.problem import Problem, merged_lines
from ...core.record import Record
from ...core.run_directory import atomic, layout, record_files
from ...gate.instance_file import REPLAYS, in_project, read_stored, unfit_for_replay
from ...sources.instance_names import with_distinct_names
from ...sources.notebooks import (
    NOTEBOOK_SUFFIXES,
    TABLE_SUFFIXES,
    find_flow,
    line_of_tag,
    looks_like_flow,
    source_as_script,
)
from ...sources.parameters_cell.flow_check import flow_problem
from ...sources.table_cells import is_a
from ...sources.tables import FLOW_COLUMNS, NAME
from .. import conductor_file, recorded_calls
from ..caller import Origin
from ..collecting.guard import Guard
from ..declare_call import declare_call
from ..declare_table import TableDeclaration, columns_of
from .warm_process import forked

_OF_CONDUCTORS = (
    "api.as_ductaflow",
    "api.conduct",
    "api.run_notebook",
)  # modules that nearly all conductors import
NOT_YET = (
    "While pytest collects a conductor its calls are only recorded and nothing has run, so what an "
    "instance writes is not there yet. Put what comes after the runs under `if not is_collecting():` "
    "(from pytest_ductaflow import is_collecting)."
)


@dataclass
class Outcome:
    """The instances that a source declares, with problems and notes."""

    instances: list[Instance] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    error: str | None = None
    notes: list[str] = field(default_factory=list)  # on valid but possibly unintended declarations
    has_after: bool = False  # whether a conductor has something to do after its instances


def of_conductor(
    path: Path, root: Path, calls: Path, refused: Path, aside: Path, *, defer: bool = False
) -> Outcome:
    """Execute a conductor with its calls recorded into the file `calls`.

    Actions that must wait until its instances have ended are reported in the file `refused`, unless `defer`
    is set. Files are copied into the folder `aside` before they are overwritten.
    """
    recorded_calls.begin(calls, root)
    guard = Guard(path, root, calls, refused, aside, defers=defer)
    recorded_calls.listen(guard.recorded)
    guard.begin()
    module, stopped = conductor_file.run(path, (lambda: bool(guard.deferred)) if defer else None)
    is_rest = stopped is not None and stopped.can_wait
    error = None
    if stopped is not None and not stopped.can_wait:
        error = _error_text(path, root, stopped, any_call=calls.exists())
    instances, problems = recorded_calls.read(calls)
    notes = recorded_calls.notes_in(calls)
    if error is None:
        tables = _tables_of(module, path, root, instances)
        instances += recorded_calls.with_variables(tables.instances)
        problems += tables.problems
        notes += tables.notes
    if guard.deferred:
        notes.append(_told_deferred(guard.deferred, layout.display_path(path, root), is_rest=is_rest))
    has_after = defer or recorded_calls.was_asked() or conductor_file.asks_whether_collecting(path)
    return Outcome(instances, problems, error, notes, has_after=has_after)


def _told_deferred(places: list[str], name: str, *, is_rest: bool) -> str:
    """Return a note on the actions that a conductor leaves until its instances have ended."""
    told = f"left for {name}::after, when the instances have ended: {', '.join(dict.fromkeys(places))}"
    if not is_rest:
        return told
    return f"{told}, and all that comes after that, with its calls one after the other"


def _error_text(path: Path, root: Path, stopped: conductor_file.Stopped, *, any_call: bool) -> str:
    """Return what went wrong in a conductor and at which of its lines, with only the user's frames."""
    if stopped.exit_code is not None:
        return f"{layout.display_path(path, root)} ended with exit code {stopped.exit_code}"
    where = (
        f"{layout.display_path(path, root)}:{stopped.line}"
        if stopped.line
        else layout.display_path(path, root)
    )
    parts = [f"{where}: {stopped.type}: {stopped.message}"]
    if not stopped.is_ours:
        parts += stopped.frames
        if any_call and stopped.type != "SyntaxError":
            parts.append(NOT_YET)
    return "\n".join(parts)


def _tables_of(module: ModuleType, path: Path, root: Path, known: list[Instance]) -> Outcome:
    """Declare module-level DataFrames that name instance and flow, unless calls have declared their rows."""
    outcome = Outcome()
    declared = {(instance.stem, instance.name) for instance in known}
    seen: set[int] = set()
    for name, value in list(vars(module).items()):
        if not is_a(value, "pandas", "DataFrame") or id(value) in seen or name.startswith("_"):
            continue
        seen.add(id(value))
        if NAME not in value.columns or not set(FLOW_COLUMNS) & set(value.columns):
            continue
        made = TableDeclaration(None, value, Origin(str(path), _line_of(path, name)), root).declare()
        if not any((instance.stem, instance.name) in declared for instance in made.instances):
            outcome.instances += made.instances
            outcome.problems += made.problems
            outcome.notes += made.notes
    return outcome


def _line_of(path: Path, name: str) -> int | None:
    """Return the line of a conductor that assigns a name."""
    lines = source_as_script(path).splitlines()
    starts = (f"{name} =", f"{name}=", f"{name}:")
    return next((number for number, line in enumerate(lines, 1) if line.startswith(starts)), None)


def of_table(path: Path, root: Path) -> Outcome:
    declared = TableDeclaration(None, path, Origin(str(path)), root).declare()
    return Outcome(declared.instances, declared.problems, notes=list(declared.notes))


def of_flow(path: Path, root: Path) -> Outcome:
    """Declare a flow with the config of the same name; a notebook without parameters needs none."""
    config_file = root / "config" / path.parent.name / f"{path.stem}.json"
    where = layout.display_path(path, root)
    if not config_file.is_file() and not looks_like_flow(path):
        if problem := flow_problem(path, where, root, is_configured=line_of_tag(path) is not None):
            return Outcome(problems=[problem])
        return Outcome([declare_call(path, {}, root=root, origin=Origin(str(path), 1), name=stem_of(path))])
    if not config_file.is_file():
        what = f"has no matching config, expected {layout.display_path(config_file, root)}"
        return Outcome(problems=[Problem(where, what, "an empty one is {}")])
    return _from_config(path, config_file, root, Origin(str(path), 1))


def of_past_run(config_file: Path, root: Path) -> Outcome:
    """Declare an earlier run again, from the config in its run directory."""
    stem = layout.stem_of_config(config_file)
    record, _ = record_files.read_record(layout.RunFiles(config_file.parent, stem).record)
    try:
        flow = find_flow(record.flow if record else stem, (root,))
    except FlowNotFound as error:
        if any(
            _has_flow(other, root) for _, other in record_files.records(config_file.parent) if other != record
        ):
            return Outcome()  # another flow ran here, too; this one may have been renamed to it
        where = layout.display_path(config_file, root)
        known = _renamed(record, root) if record else None
        return Outcome(problems=[Problem(where, *known) if known else Problem(where, str(error))])
    outcome = _from_config(flow, config_file, root, Origin(str(config_file), 1), config_file.parent)
    keep = tuple(record.reserved.get("_keep", ())) if record else ()
    outcome.instances = [instance.with_(always_run=True, keep=keep) for instance in outcome.instances]
    return outcome


def _has_flow(record: Record, root: Path) -> bool:
    return (root / record.flow).is_file()


def _renamed(record: Record, root: Path) -> tuple[str, str] | None:
    """Return problem and remedy for a run whose flow is gone, if one has its name except for the number."""
    folder = (root / record.flow).parent
    others = sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.suffix in NOTEBOOK_SUFFIXES and default_step(path) == default_step(record.flow)
    )
    if not others:
        return None
    other = layout.display_path(others[0], root)
    source = root / record.source if record.source.endswith((".py", *TABLE_SUFFIXES)) else None
    if source is not None and source.is_file() and not layout.is_past_config(source):
        node = f"{layout.display_path(source, root)}::{slug(record.step)}::{slug(record.instance)}"
        remedy = f"run it by its new name: pytest --ductaflow {shlex.quote(node)}"
    else:
        remedy = f"let what declares it name {other}, and run that"
    return f"its flow {record.flow} is gone; {other} has its name, but for the number", remedy


def of_stored(file: Path, root: Path) -> Outcome:
    """Declare a stored instance, which runs in its own directory."""
    where = layout.display_path(file, root)
    try:
        stored = read_stored(file.parent)
        flow = find_flow(stored.flow, (root,))
        if not flow.is_relative_to(root):
            return Outcome(problems=[Problem(where, f"its flow {stored.flow} lies outside of the project")])
        instance = declare_call(
            flow,
            in_project(stored.config, root),
            root=root,
            origin=Origin(str(file), 1),
            step=f"{REPLAYS}/{stored.step}",
            name=stored.instance,
        )
        shown = layout.display_path(flow, root)
        if problem := flow_problem(
            flow, shown, root, is_configured=bool(instance.config), keys=instance.config
        ):
            return Outcome(problems=[problem])
    except StoredError as error:
        return Outcome(error=str(error).replace(str(file), where))
    except DuctaflowError as error:
        return Outcome(problems=[Problem(where, str(error).removeprefix(f"{where}:1: "))])
    if unfit := unfit_for_replay(layout.RunFiles.of(instance), root / RUNS):
        return Outcome(problems=[Problem(where, unfit)])
    kept = instance.with_(
        always_run=True,
        stored_in=str(file.parent),
        kernel_name=stored.kernel,
        duration=stored.duration,
        after=instance.after or (),
    )
    return Outcome([kept])


def _from_config(
    flow: Path, config_file: Path, root: Path, origin: Origin, run_dir: Path | None = None
) -> Outcome:
    where = layout.display_path(config_file, root)
    try:
        config = json.loads(config_file.read_text(encoding="utf-8-sig"))
        if not isinstance(config, dict):
            raise ValueError(f"expected an object with keys, found {type(config).__name__}")
        instance = declare_call(flow, config, root=root, origin=origin, run_dir=run_dir)
    except SecretMissing as error:
        return Outcome(problems=[Problem(where, str(error))])
    except (OSError, ValueError, DuctaflowError) as error:
        return Outcome(problems=[Problem(where, f"not a config: {error}")])
    problem = flow_problem(
        flow,
        layout.display_path(flow, root),
        root,
        is_configured=bool(instance.config),
        keys=instance.config,
    )
    return Outcome(problems=[problem]) if problem else Outcome([instance])


def filtered(instances: list[Instance], where: str | None) -> list[Instance]:
    """Return the instances, marking those that an expression excludes.

    Raises:
        DuctaflowError: If the expression cannot be evaluated.
    """
    if not where or not instances:
        return instances
    import pandas as pd

    from ...sources.row_filter import select

    table = pd.DataFrame([columns_of(instance) for instance in instances]).convert_dtypes()
    kept = select(where, table)
    return [instance.with_(selected=keep) for instance, keep in zip(instances, kept, strict=True)]


def _filter(outcomes: list[Outcome], where: str | None) -> None:
    """Apply an expression to the instances of several sources as one table."""
    try:
        kept = iter(filtered([instance for outcome in outcomes for instance in outcome.instances], where))
    except DuctaflowError as error:
        outcomes[0].error = outcomes[0].error or str(error)
        return
    for outcome in outcomes:
        outcome.instances = [next(kept) for _ in outcome.instances]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the instances, problems and error of each source of a request."""
    kinds = {"table": of_table, "flow": of_flow, "past": of_past_run, "stored": of_stored}
    use_patterns(request.get("secrets", ()))
    outcomes: dict[str, Outcome] = {}
    for source in request["sources"]:
        path, root = Path(source["path"]), Path(source["root"])
        if source["kind"] == "conductor":
            calls, refused, aside = (Path(request[name]) for name in ("calls", "refused", "aside"))
            outcome = of_conductor(path, root, calls, refused, aside, defer=request["defer"])
        else:
            outcome = kinds[source["kind"]](path, root)
        outcome.instances = with_distinct_names(outcome.instances)
        outcomes[str(path)] = outcome
    stored = [source["path"] for source in request["sources"] if source["kind"] == "stored"]
    tables = [[outcome] for path, outcome in outcomes.items() if path not in stored]
    for table in (*tables, [outcomes[path] for path in stored]):  # the stored instances are one table
        _filter(table, request["where"])
    return {
        path: {
            "instances": [instance.to_json() for instance in outcome.instances],
            "problems": merged_lines(outcome.problems),
            "error": outcome.error,
            "notes": outcome.notes,
            "has_after": outcome.has_after,
        }
        for path, outcome in outcomes.items()
    }


def _forked(requests: int, answers: int) -> tuple[str, str]:
    """Import what conductors need; in a child for each request, return its request and result files."""
    for module in _OF_CONDUCTORS:
        importlib.import_module(f"pytest_ductaflow.{module}")
    gc.freeze()  # so that children do not copy these pages
    request = forked(requests, answers)
    return request.asked, request.result


def main() -> None:
    request, result = _forked(*map(int, sys.argv[2:])) if sys.argv[1] == "--fork" else sys.argv[1:]
    data = answer(json.loads(Path(request).read_text(encoding="utf-8")))
    atomic.write_atomic(Path(result), json.dumps(data))


if __name__ == "__main__":
    main()
