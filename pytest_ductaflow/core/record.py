"""The record of a run: how it ended, what it used and wrote, and its form on disk."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache, cached_property
from typing import Any, Self, cast

from .instance import JSON, Workplace

SCHEMA_VERSION = 1
_DIGITS = 16  # of a digest
_LISTS = ("failed_attempts", "waited", "altered", "made", "found")  # lists in a record that are often empty
_LEFT_OUT_IF_EMPTY = (
    *("unchanged", "stored", "reserved", "variables", "secrets", "design", "lineage", "failed_attempts"),
    *("waited", "altered", "made", "owner", "last_good", "warning_line", "worker"),
)
_REQUIRED = ("inputs", "outputs")  # without them no change could be detected
_SAID_EMPTY = (*_REQUIRED, "found")  # fields that say something if they are empty
FLOW_FAILED = "FlowFailed"  # failure type of a build in which a flow failed
INTERRUPTED = "Interrupted"  # failure type of an instance that was stopped from outside
STOPPED = "stopped from outside, by Ctrl-C or another signal"  # its message
IN_USE = "InUse"  # failure type of an instance that another process is running
MEMORY_LIMIT = "MemoryLimit"  # failure type of an instance that used too much memory
OUTPUTS_DIFFER = "OutputsDiffer"  # failure type of a stored instance with unexpected outputs
WORKERS_LOST = "WorkersLost"  # failure type of an instance with which an engine lost one worker after another


class Status(enum.StrEnum):
    """How an instance ended, or that it is still running."""

    RUNNING = "running"
    SUCCESS = "success"
    WARNING = "warning"
    ERROR = "error"
    BLOCKED = "blocked"

    @property
    def good(self) -> bool:
        """Whether instances that depend on this one may run."""
        return self in (Status.SUCCESS, Status.WARNING)

    @property
    def severity(self) -> int:
        """Rank among finished states; the worst of a build's flows decides the build's light."""
        return list(Status).index(self)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


def _are_texts_by_name(values: Any) -> bool:
    return isinstance(values, Mapping) and all(isinstance(value, str) for value in values.values())


# Type checks for values that were read, by the annotation of their field.
_IS_OF_TYPE: Mapping[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: _is_number(value) and isinstance(value, int),
    "int | None": lambda value: value is None or (_is_number(value) and isinstance(value, int)),
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
    "tuple[str, ...]": _are_texts,
    "tuple[float, ...]": lambda value: isinstance(value, tuple) and all(map(_is_number, value)),
    "tuple[str, ...] | None": lambda value: value is None or _are_texts(value),
    "Mapping[str, str]": _are_texts_by_name,
    "Mapping[str, JSON]": lambda value: isinstance(value, Mapping),
}


def _known(kind: Any, data: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the fields of a class from data that was read, without those that a later version has added."""
    return {name: value for name, value in data.items() if name in kind.__dataclass_fields__}


@cache
def _defaults(kind: type) -> dict[str, Any]:
    """Return the defaults of a dataclass; nobody changes an empty mapping, so all may have the same."""
    factories = ((each.name, each.default_factory) for each in fields(kind))
    made = {name: factory() for name, factory in factories if factory is not MISSING}
    return made | {each.name: each.default for each in fields(kind) if each.default is not MISSING}


def _tuple_of(values: Any) -> Any:
    """Return a list as the tuple that it was written from, and anything else (a text, say) as it is."""
    return tuple(values) if isinstance(values, list | tuple) else values


@cache
def _checks(kind: type) -> list[tuple[str, Any, Callable[[Any], bool]]]:
    """Return name, type and check of each field of a dataclass whose type can be checked."""
    checks = ((each, _IS_OF_TYPE.get(str(each.type))) for each in fields(kind))
    return [(each.name, each.type, check) for each, check in checks if check is not None]


def _checked(made: Any) -> Any:
    """Return an object that was read, after checking its plain fields against their annotations.

    Raises:
        TypeError: If a field has another type.
    """
    for name, kind, is_of_type in _checks(made.__class__):
        value = getattr(made, name)
        if not is_of_type(value):
            raise TypeError(f"{name!r} is {type(value).__name__}, expected {kind}")
    return made


@dataclass(frozen=True)
class Failure:
    """The error that stopped a flow.

    Attributes:
        type: Class name of the exception; `Timeout`, `KernelDied`, `FlowFailed` in a build, `OutputsDiffer`.
        message: Its text.
        cell: Number of the cell as in the executed notebook, `In [cell]`; None outside a cell.
        source: The cell's code.
        line: The line of that code (1-based) that was running, where known.
        file_line: The same line in the flow's file (1-based), where known.
        traceback: The traceback as text, without colours and without the frames of Jupyter and papermill.
    """

    type: str
    message: str
    cell: int | None = None
    source: str = ""
    line: int | None = None
    file_line: int | None = None
    traceback: str = ""

    @property
    def summary(self) -> str:
        """The error in one line: type and first line of the message."""
        first = (self.message.strip().splitlines() or [""])[0]
        if self.type in (FLOW_FAILED, OUTPUTS_DIFFER):
            return first  # already names the flow that failed and its error, or the file that differs
        return f"{self.type}: {first}" if first else self.type

    @property
    def in_line(self) -> str:
        """The same with the line of the flow, if that is known."""
        return f"{self.summary} (line {self.file_line})" if self.file_line is not None else self.summary


@dataclass(frozen=True)
class DifferingValue:
    """A value that differs from the expected one.

    Attributes:
        where: Its place, `zone=3, trips` in a table, `totals.cost[2]` in a JSON file.
        expected: Expected value as text.
        found: Actual value as text.
        absolute: |found - expected|, None if they are not both numbers.
        relative: `absolute` divided by |expected|; None if `absolute` is None or expected is 0.
    """

    where: str
    expected: str
    found: str
    absolute: float | None = None
    relative: float | None = None


@dataclass(frozen=True)
class Difference:
    """How an output file of an instance differs from the expected one.

    Attributes:
        file: Its name in the run directory, with `/` between the parts.
        message: One line: how many values differ, and which by the most.
        notes: Further lines, such as missing columns or surplus rows.
        worst: Values that differ the most, the worst first.
        figures: Paths in the run directory (with `/`) of the figures `expected`, `found` and `difference`.
    """

    file: str
    message: str
    notes: tuple[str, ...] = ()
    worst: tuple[DifferingValue, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, JSON]) -> Self:
        values = tuple(_checked(DifferingValue(**_known(DifferingValue, value))) for value in data["worst"])
        read = cls(data["file"], data["message"], tuple(data["notes"]), values, data["figures"])
        return cast("Self", _checked(read))


@dataclass(frozen=True)
class Owner:
    """The process that runs an instance.

    Attributes:
        host: Name of the machine.
        pid: Process id.
        started: Start time in seconds since the epoch: a later process may get the same id.
    """

    host: str
    pid: int
    started: float


@dataclass(frozen=True)
class Record:
    """What happened to an instance; stored as a small JSON file in its run directory.

    Times are ISO 8601 in UTC, durations seconds, memory bytes. Paths are relative to the project
    root with `/` between the parts, or absolute where they lie outside of it.

    Attributes:
        failed_attempts: Error of each attempt before the last one, one line each.
        waited: Seconds that were waited after each of these.
        retry_at: For an attempt that has failed and is followed by another: when, in seconds since the epoch.
        reason: Why it ran: "new", "input data/zones.csv changed".
        kernel: Kernel that was asked for.
        cwd: Where it ran, as `Instance.runs_in`.
        worker: Name of the pytest worker or thread that ran it; empty where there was only one process.
        reserved: Values set by reserved names, such as `_timeout`.
        config_digest: Digest of the config, independent of the order of its keys.
        variables: Environment variables that its conductor had set, and digests of their values; empty for
            one that it had deleted.
        secrets: Salted digests of the secrets in its config, by key or `${env:NAME}`.
        inputs: Digest by path of everything that it used: the flow, modules of the project, files, names in
            folders (paths that end in `/`), files that its upstreams wrote.
        code: Digest of the code without comments, by path of the source file.
        packages: Installed distributions that it imported, and their versions.
        upstreams: Instances that had to end before it, as `step/instance`, each with a digest of what it had
            written (`digest_of_outputs`); empty where only inputs tell that it is one.
        undeclared: Instances whose files it read without a declared dependency.
        outputs: Digest, by path relative to the run directory, of every file that it wrote or that was kept
            from the run before.
        altered: Outputs that existed before it began and were made by others.
        made: What else it made in its run directory: folders (names that end in `/`), pipes, dangling links.
        found: While it runs: everything in its run directory when it began that was not its own.
        owner: While it runs: the process that runs it.
        last_good: For a failed run: the folder with the files of the last good run.
        threads: Threads that OpenMP and linear algebra were told to use, on which last digits can depend;
            None if they had the choice. Another number is no reason to run again.
        stats: Size and times, by path, of an input when it had that digest: saves hashing it again.
        observed: How much of what it read was observed: "all", "python only" or "no".
        unknown: Why what it read is not known in full, in words.
        design: How the table that declared it was made, as in `Instance.design`, when it ran.
        lineage: Where the run comes from: `session`, `host`, `tags` of the user, `commit` of the project and
            whether it was `dirty`, as far as known. Nothing of it is a reason to run again.
        stored: Whether it was a replay of a stored instance.
        differences: For a stored instance: where its outputs differ from the expected ones.
        warning_line: Line of the flow that printed the first warning, or the first line of that cell.
        unchanged: Whether nothing ran and this record was kept; never true in a run directory's file.
    """

    status: Status
    flow: str
    step: str
    instance: str
    run_dir: str
    started: str = ""
    duration: float | None = None
    attempts: int = 1
    failed_attempts: tuple[str, ...] = ()
    waited: tuple[float, ...] = ()
    retry_at: float | None = None
    reason: str = ""
    source: str = ""
    line: int | None = None
    warnings: tuple[str, ...] = ()
    warning_count: int = 0
    warning_line: int | None = None
    python_warnings: tuple[str, ...] = ()
    error: Failure | None = None
    flows: tuple[Record, ...] = ()
    kernel: str = ""
    cwd: Workplace = "run"
    worker: str = ""
    reserved: Mapping[str, JSON] = field(default_factory=dict)
    config_digest: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    upstreams: Mapping[str, str] = field(default_factory=dict)
    undeclared: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    altered: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    found: tuple[str, ...] | None = None
    owner: Owner | None = None
    last_good: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    peak_memory: int | None = None
    threads: int | None = None
    stats: Mapping[str, str] = field(default_factory=dict)
    observed: str = ""
    unknown: tuple[str, ...] = ()
    design: Mapping[str, JSON] = field(default_factory=dict)
    lineage: Mapping[str, JSON] = field(default_factory=dict)
    stored: bool = False
    differences: tuple[Difference, ...] = ()
    unchanged: bool = False
    schema: int = SCHEMA_VERSION

    @property
    def differs(self) -> bool:
        """Whether it failed because its outputs differ from the expected ones."""
        return self.error is not None and self.error.type == OUTPUTS_DIFFER

    def with_flows(self) -> Iterator[Record]:
        """Yield this record and, for a build, those of its flows, recursively."""
        yield self
        for flow in self.flows:
            yield from flow.with_flows()

    def brief(self) -> Self:
        """Return the record without what the run used, which may be thousands of upstream files."""
        flows = tuple(flow.brief() for flow in self.flows)
        return self.with_(inputs={}, stats={}, code={}, packages={}, flows=flows)

    @property
    def message(self) -> str | None:
        """The line that a row of the report shows: why it is red, or orange."""
        if self.error is not None:
            return self.error.summary
        if self.warnings:
            return self.warnings[0]
        return next((flow.message for flow in self.flows if flow.message), None)

    @property
    def attempts_told(self) -> tuple[str, ...]:
        """The attempts before the last one, a line each: why it failed, and how long was waited then."""
        waited = (*self.waited, *[0.0] * len(self.failed_attempts))
        return tuple(
            f"{why}; then waited {seconds:.3g} s" if seconds else why
            for why, seconds in zip(self.failed_attempts, waited, strict=False)
        )

    def with_(self, **changes: Any) -> Self:
        """Return a record with some other fields; `dataclasses.replace` takes twenty times as long.

        Raises:
            TypeError: If there is no such field.
        """
        if unknown := changes.keys() - self.__dataclass_fields__.keys():
            raise TypeError(f"a record has no {', '.join(sorted(unknown))}")
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.pop("digest_of_outputs", None)
        made.__dict__.update(changes)
        return made

    @cached_property
    def digest_of_outputs(self) -> str:
        """A digest of paths and contents of what it and its flows wrote; empty if that is nothing."""
        written = sorted(
            (each.run_dir, name, digest)
            for each in self.with_flows()
            for name, digest in each.outputs.items()
        )
        return hashlib.sha256(json.dumps(written).encode()).hexdigest()[:_DIGITS] if written else ""

    def to_json(self) -> dict[str, JSON]:
        """Return plain JSON types only, as xdist cannot pass an enum between its processes."""
        data: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in _LEFT_OUT_IF_EMPTY:
            if not data[name]:
                del data[name]
        for name in ("found", "threads", "retry_at"):
            if data[name] is None:
                del data[name]
        if self.cwd == "run":
            del data["cwd"]
        lists = {name: list(data[name]) for name in _LISTS if name in data}
        if self.owner is not None:
            data["owner"] = asdict(self.owner)
        return (
            data
            | lists
            | {
                "status": self.status.value,
                "error": asdict(self.error) if self.error else None,
                "flows": [flow.to_json() for flow in self.flows],
                "warnings": list(self.warnings),
                "python_warnings": list(self.python_warnings),
                "upstreams": dict(self.upstreams),
                "undeclared": list(self.undeclared),
                "unknown": list(self.unknown),
                "differences": [asdict(difference) for difference in self.differences],
            }
        )

    def sparse_json(self) -> dict[str, JSON]:
        """Return `to_json` without what is empty: reports of tests carry it, thousands of them."""
        return {
            name: value
            for name, value in self.to_json().items()
            if name in _SAID_EMPTY or not (value is None or value is False or value in ("", [], {}))
        }

    @classmethod
    def from_json(cls, data: Mapping[str, JSON]) -> Self:
        """Read what `to_json` or `sparse_json` wrote, in this version or a later one with the same schema.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: If it is anything else.
        """
        if data["schema"] != SCHEMA_VERSION:
            raise ValueError(f"schema version {data['schema']}, expected {SCHEMA_VERSION}")
        values = {**_defaults(Record), **_known(cls, data)}
        values["status"] = Status(values["status"])
        for name, kind in (("error", Failure), ("owner", Owner)):
            value = values[name]
            values[name] = _checked(kind(**_known(kind, value))) if value is not None else None
        values["flows"] = tuple(cls.from_json(flow) for flow in values["flows"])
        values["differences"] = tuple(map(Difference.from_json, values["differences"]))
        for name in ("warnings", "python_warnings", "undeclared", "unknown", *_LISTS):
            values[name] = _tuple_of(values[name])
        if isinstance(upstreams := values["upstreams"], list):  # names alone
            values["upstreams"] = dict.fromkeys(upstreams, "")
        for name in ("flow", "step", "instance", "run_dir", *_REQUIRED):
            values[name] = data[name]
        made = object.__new__(cls)  # as in `with_`
        made.__dict__.update(values)
        return cast("Self", _checked(made))
