"""Make instances of the rows of a control table, or say what is wrong with them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import DuctaflowError, FlowNotFound, SecretMissing, TableError
from ..core.instance import JSON, RUNS, Instance, Workplace, default_step
from ..core.masking.config import (
    Secrets,
    names_by_value,
    secret_in_name,
    without_secrets,
)
from ..core.masking.masker import Masker
from ..core.problem import Problem
from ..core.run_directory.build_variable import references_of_build
from ..core.run_directory.layout import display_path
from ..core.scalars import flattened
from ..sources.notebooks import TABLE_SUFFIXES, find_flow
from ..sources.parameters_cell.flow_check import flow_problem, schema_of
from ..sources.schemas.check import problems_of_schema
from ..sources.schemas.typed_cells import typed_table
from ..sources.table_cells import is_mapping, plain
from ..sources.tables import (
    FLOW_COLUMNS,
    NAME,
    STEP,
    as_table,
    check_name,
    merged,
    nested,
)
from .caller import Origin
from .reserved_columns import (
    FIELDS,
    IGNORED,
    RESERVED,
    After,
    patterns,
    reserved_value,
    upstreams,
    workplace,
)

ConfigOfRow = Callable[[dict[str, Any]], Mapping[str, Any]]


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
        cores: Cores that every row uses.
        memory: Memory that every row may have.
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
    cores: int | None = None
    memory: int | str | None = None

    def declare(self) -> Declared:
        """Return the instances of all valid rows and the problems of all invalid ones."""
        try:
            table = as_table(self.table, self._places)
            common = _base(self.base)
            after = upstreams(self.after)
            self.kept, self.workplace, self.booked, self.limit  # noqa: B018 - raise, once for all rows
        except TableError as error:
            problems = [replace(each, where=display_path(each.where, self.root)) for each in error.problems]
            return Declared([], problems)
        except (DuctaflowError, ValueError) as error:
            return Declared([], [Problem(self.origin.at(self.root), str(error))])
        where = display_path(table.file, self.root) if table.file else self.origin.at(self.root)
        if problem := self._wrong_columns(table.columns, where):
            return Declared([], [problem])
        if self.config is None:
            table = typed_table(table, self._schema_of_row)
        design, _ = without_secrets(table.design, self.known_secrets)
        instances, problems = [], []
        for number, (row, name) in enumerate(zip(table.filled(), table.names(), strict=True), start=1):
            made = _Row(self, number, f"{where}, row {number}", row, name).instance(common, after)
            if isinstance(made, Instance):
                instances.append(made.with_(design=design) if design else made)
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
    def booked(self) -> int | None:
        """The validated value of `cores=`.

        Raises:
            ValueError: If it is not a whole number above 0.
        """
        try:
            return None if self.cores is None else reserved_value("_cores", self.cores)
        except ValueError as error:
            raise ValueError(f"cores={error}") from None

    @cached_property
    def limit(self) -> int | None:
        """The validated value of `memory=`.

        Raises:
            ValueError: If it is not a size.
        """
        try:
            return None if self.memory is None else reserved_value("_memory", self.memory)
        except ValueError as error:
            raise ValueError(f"memory={error}") from None

    @cached_property
    def known_secrets(self) -> Mapping[str, str]:
        """The environment variables that hold secrets, by their values."""
        return names_by_value(os.environ, references_of_build())

    @cached_property
    def found(self) -> Callable[[str | Path], Path]:
        """A `find_flow` that looks for each flow only once."""
        return _once(lambda flow: find_flow(flow, self._places))

    @property
    def is_data(self) -> bool:
        """Whether the table is a file that no user code has read, and so may come from anywhere."""
        return self.origin.file.endswith(TABLE_SUFFIXES)

    @cached_property
    def is_inside(self) -> Callable[[str | Path], bool]:
        """A function that returns whether the flow with a path lies in the project, or a link to it there."""

        def inside(given: str | Path) -> bool:
            flow = self.found(given)
            if flow.is_relative_to(self.root.resolve()):
                return True
            if ".." in Path(given).parts or not (self.root / given).is_relative_to(self.root):
                return False
            try:
                return find_flow(given, (self.root,)) == flow
            except FlowNotFound:  # it was found elsewhere
                return False

        return _once(inside)

    @cached_property
    def folder(self) -> str:
        """The `runs/` folder in which the instances run."""
        return str(self.runs or self.root / RUNS)

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

    def _schema_of_row(self, row: Mapping[str, Any]) -> Any:
        """Return the schema of the flow that a row runs; None if it has none that can be read."""
        column = next((column for column in FLOW_COLUMNS if column in row), None)
        given = row[column] if column else self.flow
        try:
            return None if given is None else self.schema_of(self.found(given))
        except DuctaflowError:
            return None


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
        config, secrets = self._without_secrets(config, problems)
        for name, column in ((step, STEP), (self.name, NAME)):
            if wrong := secret_in_name(name, column, secrets, self.table.known_secrets):
                problems.append(Problem(f"{self.where}, column {column!r}", wrong, "give another name"))
        if problems:
            mask = Masker(str(value) for _, value in secrets)
            return [replace(problem, what=mask(problem.what)) for problem in problems]
        return Instance(
            flow=str(flow),
            step=step,
            name=self.name,
            config=config,
            run_dir=os.path.join(self.table.folder, step, self.name),
            project_root=str(self.table.root),
            source=self.table.origin.file,
            line=self.table.origin.line,
            row=self.number,
            secrets=secrets,
            **{
                "after": after,
                "cwd": self.table.workplace,
                "cores": self.table.booked,
                "memory": self.table.limit,
                **reserved,
                "keep": (*self.table.kept, *reserved.get("keep", ())),
            },
        )

    def _without_secrets(
        self, config: dict[str, JSON], problems: list[Problem]
    ) -> tuple[dict[str, JSON], Secrets]:
        """Return the config without its secrets, and these; add a problem if one is only a mask."""
        try:
            return without_secrets(config, self.table.known_secrets)
        except SecretMissing as error:
            problems.append(Problem(self.where, str(error)))
            return config, ()

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
        if self.table.is_data and not self.table.is_inside(given):
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
            if key in RESERVED:
                try:
                    taken[FIELDS[key]] = reserved_value(key, value)
                except ValueError as error:
                    problems.append(Problem(place, str(error)))
            elif key not in IGNORED:
                near = difflib.get_close_matches(key, RESERVED, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(RESERVED)}"
                problems.append(Problem(place, "names that begin with _ are reserved", hint))
        return taken, problems


def columns_of(instance: Instance) -> dict[str, Any]:
    """Return the columns of an instance that `--ductaflow-where` can query."""
    return {
        **dict(flattened(instance.config)),
        "step": instance.step,
        "instance": instance.name,
        "flow": instance.stem,
    }
