"""Turn what a user declares (table rows, calls of `run_notebook`) into instances and problems.

Nothing here runs or writes anything. All problems of a table are collected before any is shown.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import DuctaflowError, FlowNotFound, TableError
from ..core.instance import (
    JSON,
    RESERVED_FOR,
    RUNS,
    SHORT_HASH,
    WORKPLACES,
    Instance,
    Workplace,
    config_hash,
    default_step,
    stem_of,
)
from ..core.number_text import listed
from ..core.problem import Problem
from ..core.run_files import RunFiles, shown
from ..core.settings import check_keep
from ..core.system.places import PACKAGE
from ..kernels.observation import unobserved
from ..sources.notebooks import (
    TABLE_SUFFIXES,
    Source,
    find_flow,
    how_to_tag,
    is_plainly_flow,
    line_of_tag,
    read_flow,
)
from ..sources.table_cells import is_mapping, plain
from ..sources.tables import (
    FLOW_COLUMNS,
    NAME,
    STEP,
    as_table,
    check_name,
    flattened,
    merged,
    nested,
    problems_of_schema,
)
from ..sources.untagged import cell_to_tag, read_but_not_assigned

After = str | Instance | Iterable[Any] | None
ConfigOfRow = Callable[[dict[str, Any]], Mapping[str, Any]]
_FIELDS = {**RESERVED_FOR, "_after": "after"}
RESERVED = tuple(_FIELDS)
_NOT_YET = {"_memory": "nothing gives or limits memory yet: leave it out"}
_IGNORED = ("_project_root", "_no_execute")


@dataclass(frozen=True)
class Origin:
    """The place of a declaration: a file and, if known, the line."""

    file: str
    line: int | None = None

    def at(self, root: Path) -> str:
        """Return the place for messages: `conductor.py:27`."""
        return shown(self.file, root) + (f":{self.line}" if self.line else "")


@dataclass(frozen=True)
class Declared:
    """The instances that a table or call declares, with problems and notes.

    Attributes:
        instances: Instances of the valid rows.
        problems: Problems of the invalid rows.
        notes: Valid but possibly unintended declarations; one sentence each, with the place.
    """

    instances: list[Instance]
    problems: list[Problem]
    notes: tuple[str, ...] = ()


def caller() -> Origin:
    """Return the line of user code that calls into this package."""
    frame = sys._getframe(1)  # noqa: SLF001 - as warnings and logging do
    while frame.f_back is not None and frame.f_code.co_filename.startswith((PACKAGE, "<frozen")):
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def flow_problem(
    flow: Path, where: str, root: Path, *, is_configured: bool = True, keys: Iterable[str] = ()
) -> Problem | None:
    """Return what prevents a file from being run as a flow, if anything.

    Args:
        flow: The file.
        where: The place to name in messages.
        root: The project root.
        is_configured: Whether the flow gets a non-empty config.
        keys: The keys of that config.
    """
    try:
        if is_plainly_flow(flow):
            return None
        source = read_flow(flow)
    except (DuctaflowError, OSError) as error:
        return Problem(where, str(error))
    name = shown(flow, root)
    cells = source.parameters_cells
    if len(cells) > 1:
        lines = " and ".join(str(source.lines[cell["id"]]) for cell in cells if cell["id"] in source.lines)
        what = f"{name} has {len(cells)} cells tagged `parameters`" + (
            f", from lines {lines} on" if lines else ""
        )
        return Problem(
            where, what, "leave the tag on one: the values of the others would win over the config"
        )
    if is_configured and not cells and not read_but_not_assigned(source, keys):
        line = line_of_tag(flow)
        unread = f": Jupytext reads no tag in line {line}" if line else ""
        return Problem(
            where,
            f"{name} has no cell tagged `parameters`{unread}",
            how_to_tag(flow, cell_to_tag(source, keys)),
        )
    return _lack_of_code(source, where, name)


def _lack_of_code(source: Source, where: str, name: str) -> Problem | None:
    """Return the problem of a flow without code that would run, or with none but its parameters cell's."""
    filled = [cell for cell in source.code_cells if cell.source.strip()]
    if all(cell in source.parameters_cells for cell in filled) and (fences := source.fences_not_run):
        what = f"{name}: none of its code would run: {listed(fences)}"
        return Problem(where, what, f"write {source.fence_of_code}")
    if not filled:
        return Problem(where, f"{name} has no code cell, so that nothing of it would run")
    return None


def schema_of(flow: Path, root: Path) -> Any:
    """Return the JSON Schema of a flow's config (`config/flows/{flow}.schema.json`), if there is one.

    Raises:
        DuctaflowError: If the file is not JSON.
    """
    path = root / "config" / flow.parent.name / f"{flow.stem}.schema.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DuctaflowError(f"{shown(path, root)} is not JSON: {error}") from error


def upstreams(after: After) -> tuple[str, ...] | None:
    """Return `after=`, in any accepted form, as `step/instance` texts; None if it was not given.

    Raises:
        ValueError: If it has none of the accepted forms.
    """
    if after is None:
        return None
    if isinstance(after, Instance):
        return (f"{after.step}/{after.name}",)
    if isinstance(after, str):
        return tuple(part.strip() for part in after.split(";") if part.strip())
    if isinstance(after, Mapping) or not isinstance(after, Iterable):
        raise ValueError(f"after={after!r}: expected instances, or names as step/instance")
    return tuple(name for item in after for name in upstreams(item) or ())


@dataclass(frozen=True)
class TableDeclaration:
    """A control table and the settings common to its rows; `declare` turns it into instances.

    Attributes:
        flow: The flow of every row; None if a column `flow` or `build` names it.
        table: A DataFrame, a list of dicts, or a table's file.
        origin: The place where the table was given.
        root: The project root.
        step: The step of every row without a column `step`; by default the flow's stem.
        base: Config that the values of each row override.
        config: Function from a row to its config; by default the row itself is its config.
        after: Upstreams of every row.
        keep: Patterns of files that stay in place for the next run of every row.
        runs: The `runs/` folder: the project's, or inside a build the build's own.
        cwd: The kind of folder in which every row runs.
    """

    flow: str | Path | None
    table: Any
    origin: Origin
    root: Path
    step: str | None = None
    base: Mapping[str, Any] | None = None
    config: ConfigOfRow | None = None
    after: After = None
    keep: str | Sequence[str] = ()
    runs: Path | None = None
    cwd: str | None = None

    def declare(self) -> Declared:
        """Return the instances of all valid rows and the problems of all invalid ones."""
        try:
            table = as_table(self.table, self._places)
            common = _base(self.base)
            after = upstreams(self.after)
            self.kept, self.workplace  # noqa: B018 - raise, once for all rows
        except TableError as error:
            problems = [replace(each, where=shown(each.where, self.root)) for each in error.problems]
            return Declared([], problems)
        except (DuctaflowError, ValueError) as error:
            return Declared([], [Problem(self.origin.at(self.root), str(error))])
        where = shown(table.file, self.root) if table.file else self.origin.at(self.root)
        if problem := self._wrong_columns(table.columns, where):
            return Declared([], [problem])
        instances, problems = [], []
        for number, (row, name) in enumerate(zip(table.filled(), table.names(), strict=True), start=1):
            made = _Row(self, number, f"{where}, row {number}", row, name).instance(common, after)
            if isinstance(made, Instance):
                instances.append(made)
            else:
                problems += made
        return Declared(instances, problems, tuple(f"{where}: {note}" for note in table.notes))

    def _wrong_columns(self, columns: Sequence[str], where: str) -> Problem | None:
        """Return the problem of a missing column, with a likely misspelling of it."""
        if self.flow is None and not set(FLOW_COLUMNS) & set(columns):
            missing = "has no column `flow` (or `build`) that says what its rows run"
            near = next(filter(None, (_misspelt(columns, column) for column in FLOW_COLUMNS)), None)
            return Problem(where, missing, f"rename {near!r}" if near else "")
        if NAME not in columns and (near := _misspelt(columns, NAME)):
            return Problem(
                f"{where}, column {near!r}", f"is nearly {NAME!r}, which names instances", "rename it"
            )
        return None

    @cached_property
    def _places(self) -> tuple[Path, ...]:
        """The directories that relative paths may refer to."""
        return (Path.cwd(), self.root, Path(self.origin.file).parent)

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """The patterns in `keep=`.

        Raises:
            ValueError: If it is not made of valid patterns.
        """
        try:
            return patterns(self.keep)
        except ValueError as error:
            raise ValueError(f"keep={self.keep!r}: {error}") from None

    @cached_property
    def workplace(self) -> Workplace | None:
        """The validated value of `cwd=`.

        Raises:
            ValueError: If it is not one of `WORKPLACES`.
        """
        try:
            return None if self.cwd is None else workplace(self.cwd)
        except ValueError as error:
            raise ValueError(f"cwd={error}") from None

    @cached_property
    def found(self) -> Callable[[str | Path], Path]:
        """A `find_flow` that looks for each flow only once."""
        return _once(lambda flow: find_flow(flow, self._places))

    @property
    def is_data(self) -> bool:
        """Whether the table is a file that no user code has read, and so may come from anywhere."""
        return self.origin.file.endswith(TABLE_SUFFIXES)

    def is_inside(self, flow: Path, given: str | Path) -> bool:
        """Return whether a flow, or the path by which it was given, lies in the project."""
        named = Path(os.path.normpath(self.root / given))
        return flow.is_relative_to(self.root.resolve()) or named.is_relative_to(self.root)

    @cached_property
    def problem_of(self) -> Callable[[Path, str, Iterable[str]], Problem | None]:
        """A `flow_problem` that reads each flow only once."""
        known = _once(lambda of: flow_problem(of[0], "", self.root, is_configured=bool(of[1]), keys=of[1]))

        def of(flow: Path, where: str, keys: Iterable[str]) -> Problem | None:
            found = known((flow, sorted(keys)))
            return replace(found, where=where) if found else None

        return of

    @cached_property
    def schema_of(self) -> Callable[[Path], Any]:
        """A `schema_of` that reads each schema only once."""
        return _once(lambda flow: schema_of(flow, self.root))


def _misspelt(columns: Sequence[str], meant: str) -> str | None:
    """Return the column whose name is close to the meant one, if any."""
    spelt = {column.strip().replace(" ", "_").replace("-", "_").lower(): column for column in columns}
    near = difflib.get_close_matches(meant, spelt, 1, cutoff=0.85)
    return spelt[near[0]] if near else None


def _once(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a caching version of a function; the cache lasts only while a table is read."""
    known: dict[str, Any] = {}

    def remembered(argument: Any) -> Any:
        key = repr(argument)  # a table's cell may hold something unhashable
        if key not in known:
            known[key] = function(argument)
        return known[key]

    return remembered


def _base(base: object) -> dict[str, JSON]:
    """Return `base=` as a nested config.

    Raises:
        ValueError: If it is not a dict.
    """
    if base is None:
        return {}
    if not is_mapping(base):
        raise ValueError(f"base={base!r}: expected a dict")
    return nested(plain(base))


@dataclass
class _Row:
    """A row that is being turned into an instance."""

    table: TableDeclaration
    number: int
    where: str
    values: dict[str, Any]
    name: str

    def instance(self, base: Mapping[str, Any], after: tuple[str, ...] | None) -> Instance | list[Problem]:
        found = self._flow()
        if isinstance(found, Problem):
            return [found]
        flow, place = found
        config, problems = self._config(base)
        reserved, more = self._reserved(config)
        if problem := self.table.problem_of(flow, place, config):
            return [problem]
        step = str(self.values.get(STEP, self.table.step or default_step(flow))).strip()
        problems += more
        for name, column in ((step, STEP), (self.name, NAME)):
            if wrong := check_name(name, column):
                problems.append(Problem(f"{self.where}, column {column!r}", wrong, "give another name"))
        if not problems:
            problems = self._schema_problems(flow, config)
        if problems:
            return problems
        return Instance(
            flow=str(flow),
            step=step,
            name=self.name,
            config=config,
            run_dir=os.path.join(self.table.runs or self.table.root / RUNS, step, self.name),
            project_root=str(self.table.root),
            source=self.table.origin.file,
            line=self.table.origin.line,
            row=self.number,
            **{
                "after": after,
                "cwd": self.table.workplace,
                **reserved,
                "keep": (*self.table.kept, *reserved.get("keep", ())),
            },
        )

    def _schema_problems(self, flow: Path, config: dict[str, JSON]) -> list[Problem]:
        try:
            schema = self.table.schema_of(flow)
        except DuctaflowError as error:
            return [Problem(self.where, str(error))]
        return problems_of_schema(config, schema, self.where) if schema is not None else []

    def _flow(self) -> tuple[Path, str] | Problem:
        """Return the row's flow and the place that names it."""
        column = next((column for column in FLOW_COLUMNS if column in self.values), None)
        given = self.values[column] if column else self.table.flow
        if given is None:
            return Problem(f"{self.where}, column 'flow'", "is empty", "name the flow that the row runs")
        place = f"{self.where}, column {column!r}" if column else self.where
        try:
            flow = self.table.found(given)
        except FlowNotFound as error:
            return Problem(place, str(error))
        if self.table.is_data and not self.table.is_inside(flow, given):
            remedy = "a table runs flows of its project only; a conductor may run others"
            return Problem(place, f"flow {str(given)!r} lies outside of the project", remedy)
        return flow, place

    def _config(self, base: Mapping[str, Any]) -> tuple[dict[str, JSON], list[Problem]]:
        cells: Mapping[str, Any] = {
            column: value
            for column, value in self.values.items()
            if column not in FLOW_COLUMNS and column != STEP
        }
        if self.table.config is not None:
            try:
                cells = dict(self.table.config(dict(self.values)))
            except Exception as error:  # the user's own function
                what = f"config= raised {type(error).__name__}: {error}"
                return {}, [Problem(self.where, what)]
        values, problems = {}, []
        for column, value in cells.items():
            try:
                values[str(column)] = plain(value)
            except ValueError as error:
                problems.append(Problem(f"{self.where}, column {str(column)!r}", str(error)))
        try:
            return merged(base, nested(values)), problems
        except ValueError as error:
            return {}, [*problems, Problem(self.where, str(error))]

    def _reserved(self, config: dict[str, JSON]) -> tuple[dict[str, Any], list[Problem]]:
        """Remove the reserved keys from a config; return their values and problems."""
        taken, problems = {}, []
        for key in [key for key in config if key.startswith("_")]:
            value = config.pop(key)
            place = f"{self.where}, column {key!r}"
            if key in RESERVED or key in _NOT_YET:
                try:
                    taken[_FIELDS[key]] = reserved_value(key, value)
                except ValueError as error:
                    problems.append(Problem(place, str(error)))
            elif key not in _IGNORED:
                near = difflib.get_close_matches(key, RESERVED, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(RESERVED)}"
                problems.append(Problem(place, "names that begin with _ are reserved", hint))
        return taken, problems


def reserved_value(key: str, value: JSON) -> Any:
    """Return the value of a reserved key in the form that Instance stores.

    Raises:
        ValueError: If the value is invalid, or the key has no effect.
    """
    if key in _NOT_YET:
        raise ValueError(_NOT_YET[key])
    number = _number(value)
    if key in ("_timeout", "_cores"):
        if number is None or not number > 0:
            raise ValueError(f"{value!r}: expected a number above 0")
        return float(number)
    if key == "_retries":
        if number is None or number < 0 or number != int(number):
            raise ValueError(f"{value!r}: expected a whole number, 0 or more")
        return int(number)
    if key == "_marks":
        marks = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(marks, Sequence) or not all(str(mark).isidentifier() for mark in marks):
            raise ValueError(f"{value!r}: expected names of marks, separated by commas")
        return tuple(str(mark) for mark in marks)
    readers = {"_after": upstreams, "_keep": patterns, "_cwd": workplace, "_kernel": _kernel_name}
    return readers[key](value)


def _kernel_name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r}: expected the name of a Jupyter kernel")
    return value.strip()


def workplace(value: object) -> Workplace:
    """Return the validated word for the folder in which an instance runs.

    Raises:
        ValueError: If it is not one of `WORKPLACES`.
    """
    if value not in WORKPLACES:
        raise ValueError(f"{value!r}: expected {', '.join(WORKPLACES[:-1])} or {WORKPLACES[-1]}")
    return value


def patterns(value: object) -> tuple[str, ...]:
    """Return the patterns of kept files, given as a list or a comma-separated text.

    Raises:
        ValueError: If the value is neither, or a pattern leads out of the run directory.
    """
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, Sequence) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{value!r}: expected patterns of files, separated by commas")
    return tuple(check_keep(item.strip()) for item in items if item.strip())


def _number(value: JSON) -> float | None:
    """Return a finite number, also one given as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def declare_call(
    flow: Path,
    config: Mapping[str, Any],
    *,
    root: Path,
    origin: Origin,
    run_dir: Path | None = None,
    step: str | None = None,
    name: str | None = None,
    runs: Path | None = None,
) -> Instance:
    """Return the instance of one call of `run_notebook` or `run_step_flow`.

    Args:
        flow: The flow's file.
        config: The config; values that JSON does not support become text, as they always did.
        root: The project root.
        origin: The line of the call.
        run_dir: The run directory; by default `{runs}/{flow}/{instance_name or hash of the config}`.
        step: Name of the step, if given.
        name: Name of the instance, if given.
        runs: The `runs/` folder: the project's, or inside a build the build's own.
    """
    runs = runs or root / RUNS
    values = {str(key): plain(value, lenient=True) for key, value in config.items()}
    reserved = {}
    for key in [key for key in (*RESERVED, *_NOT_YET) if key in values]:
        try:
            reserved[_FIELDS[key]] = reserved_value(key, values.pop(key))
        except ValueError as error:
            raise DuctaflowError(f"{origin.at(root)}: config key {key!r}: {error}") from None
    for key in _IGNORED:
        values.pop(key, None)
    if run_dir is None:
        step = step or default_step(flow)
        name = name or str(values.get(NAME) or _name_by_hash(runs / step, stem_of(flow), values))
        run_dir = runs / step / name
    else:
        step, name = _names_of(run_dir, runs, flow)
    for value, what in ((step, "step"), (name, "instance")):
        if wrong := check_name(value, what):
            raise DuctaflowError(f"{origin.at(root)}: {wrong}")
    return Instance(
        flow=str(flow),
        step=step,
        name=name,
        config=values,
        run_dir=str(run_dir),
        project_root=str(root),
        source=origin.file,
        line=origin.line,
        **reserved,
    )


def _name_by_hash(folder: Path, stem: str, config: Mapping[str, JSON]) -> str:
    """Return the name of an unnamed instance: a hash of its config.

    Earlier versions used the first 8 digits; such a run directory is reused if it holds exactly this config.

    Args:
        folder: The folder of its step.
        stem: The stem of its flow.
        config: Its config.
    """
    name = config_hash(config)
    shorter = name[:SHORT_HASH]
    try:
        with unobserved():  # not to be noted as a read of the surrounding build
            there = json.loads(RunFiles(folder / shorter, stem).config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return name
    return shorter if is_mapping(there) and config_hash(there) == name else name


def _names_of(run_dir: Path, runs: Path, flow: Path) -> tuple[str, str]:
    """Return the names of step and instance, derived from a run directory's path."""
    try:
        *step, name = run_dir.relative_to(runs).parts
    except ValueError:  # outside runs/, or runs/ itself
        return default_step(flow), run_dir.name or stem_of(flow)
    return "/".join(step) or default_step(flow), name


def columns_of(instance: Instance) -> dict[str, Any]:
    """Return the columns of an instance that `--ductaflow-where` can query."""
    return {
        **dict(flattened(instance.config)),
        "step": instance.step,
        "instance": instance.name,
        "flow": instance.stem,
    }
