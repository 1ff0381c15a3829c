"""Make the plan of a session: which files declare instances, and which instances they declare.

It is made once, in the reporting process, before anything is collected; pytest workers read it from a
file. The work is done by `declare_process` in separate processes, one for each conductor.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Literal

from ..core.errors import PlanError
from ..core.instance import JSON, RUNS, Instance, Neighbours
from ..core.number_text import listed
from ..core.problem import merged_lines
from ..core.record import Record, Status
from ..core.run_files import RunFiles, is_past_config, past_configs, read_record, records, shown
from ..core.settings import Settings
from ..gate.instance_file import EXPECTED, INPUTS, is_stored
from ..gate.instance_file import FILE as STORED_FILE
from ..graph.dependencies import Graph, make_graph
from ..sources.names import collisions, path_key
from ..sources.notebooks import (
    NOTEBOOK_SUFFIXES,
    ROOT_MARKERS,
    TABLE_SUFFIXES,
    looks_like_flow,
    project_root_of,
)
from ..tracking.digests import config_digest, file_digest
from ..tracking.outside_files import Outside, files_outside, writers_of
from .collecting.file_backups import put_back
from .conductor_file import is_mere_notebook
from .processes.pool import DeclareProcesses, Process

Answer = tuple[dict[str, dict[str, JSON]], list[str]]  # results by source, and error messages
Kind = Literal["conductor", "table", "flow", "past", "stored"]
LATER = (
    "  It has its turn when the instances have ended, as a test item `conductor.py::after`, and nothing was "
    "lost (from pytest_ductaflow import is_collecting). For a conductor that is to stay as it is, there is "
    "--ductaflow-defer."
)
_TEST = re.compile(r"^(?:(?:async )?def test|class Test)", re.MULTILINE)
STILL = 10.0  # seconds until the first message that a conductor is still being collected; doubles each time
_OUTPUT_LINES = 20  # last lines of a failed conductor's output, shown in the message


@dataclass(frozen=True)
class Source:
    """A file that declares instances."""

    path: Path
    kind: Kind
    root: Path


@dataclass(frozen=True)
class Plan:
    """The instances of each source, in the order of their declaration.

    Attributes:
        instances: Instances by the source's path.
        graph: Graph of which instances wait for which others; an instance's node is its index in `all`.
        durations: Seconds that instances took when they last ran, by the same numbers, if known.
        afters: Conductors that have something to do after their instances; that work is numbered after the
            last node of the graph.
        writers: Numbers of the instances that have written each file outside of run directories.
        began_ns: Time when the plan was made, in nanoseconds since the epoch.
        notes: Valid but possibly unintended declarations in the sources, one sentence each.
    """

    instances: dict[Path, list[Instance]]
    graph: Graph = field(default_factory=Graph)
    durations: dict[int, float] = field(default_factory=dict)
    afters: tuple[Path, ...] = ()
    writers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    began_ns: int = 0
    notes: tuple[str, ...] = ()

    def dumps(self) -> str:
        """Return the plan as text, for pytest's workers."""
        data = {
            "instances": {str(path): [i.to_json() for i in found] for path, found in self.instances.items()},
            "graph": self.graph.to_json(),
            "durations": list(self.durations.items()),
            "afters": list(map(str, self.afters)),
            "writers": self.writers,
            "began_ns": self.began_ns,
        }
        return json.dumps(data)

    @classmethod
    def loads(cls, text: str) -> Plan:
        data = json.loads(text)
        return cls(
            _instances(data["instances"]),
            Graph.from_json(data["graph"]),
            dict(map(tuple, data["durations"])),
            tuple(map(Path, data["afters"])),
            {path: tuple(numbers) for path, numbers in data["writers"].items()},
            data["began_ns"],
        )

    @cached_property
    def all(self) -> list[Instance]:
        return [instance for found in self.instances.values() for instance in found]

    @cached_property
    def numbers(self) -> Mapping[Path, range]:
        """The numbers of the instances of each source."""
        found, first = {}, 0
        for path, instances in self.instances.items():
            found[path] = range(first, first + len(instances))
            first += len(instances)
        return found

    def source_of(self, number: int) -> Path:
        """Return the source that declares an instance."""
        return next(path for path, numbers in self.numbers.items() if number in numbers)

    def number_of_after(self, conductor: Path) -> int:
        """Return the number of a conductor's work after its instances."""
        return len(self.graph.before) + self.afters.index(conductor)

    @cached_property
    def order(self) -> Graph:
        """The graph of what waits for what, including the conductors' work after their instances."""
        return self._followed_by_afters(self.graph.before)

    @cached_property
    def order_as_asked(self) -> Graph:
        """The same for instances named by the user: the order in which flows were declared is ignored."""
        barriers = len(self.graph.before) - len(self.graph.upstreams)
        return self._followed_by_afters((*self.graph.upstreams, *[()] * barriers))

    def _followed_by_afters(self, before: tuple[tuple[int, ...], ...]) -> Graph:
        afters = tuple(tuple(self.numbers[conductor]) for conductor in self.afters)
        return replace(self.graph, before=before + afters)

    @cached_property
    def _run_dirs(self) -> Mapping[str, list[str]]:
        """The labels of the instances in each run directory."""
        found: dict[str, list[str]] = {}
        for label, instance in zip(self.graph.labels, self.all, strict=True):
            found.setdefault(instance.run_dir, []).append(label)
        return found

    @cached_property
    def _outside(self) -> Outside:
        return Outside(self.writers, self.all, self.graph.before, self.began_ns)

    def neighbours(self, number: int) -> Neighbours:
        """Return what the instance with this number needs to know about other instances."""
        graph, instances = self.graph, self.all
        learned = [up for up in graph.upstreams[number] if (up, number) in graph.learned]
        declared = [up for up in graph.upstreams[number] if up not in learned]
        return Neighbours(
            declared=tuple((graph.labels[up], instances[up]) for up in declared),
            learned=tuple(graph.labels[up] for up in learned),
            run_dirs=self._run_dirs,
            last_written=self._outside.last_written(number),
            made_beside=partial(self._outside.made_beside, number),
        )


def _instances(data: Mapping[str, list[dict[str, JSON]]]) -> dict[Path, list[Instance]]:
    return {Path(path): [Instance.from_json(i) for i in found] for path, found in data.items()}


def discover(
    arguments: Iterable[str],
    invocation_dir: Path,
    settings: Settings,
    *,
    test_files: Sequence[str] = (),
    ignored_folders: Sequence[str] = (),
    rootdir: Path | None = None,
) -> list[Source]:
    """Return the sources that the command line names.

    Args:
        arguments: Paths as given to pytest, with or without `::…`.
        invocation_dir: Directory that relative paths refer to.
        settings: Settings with the file names of conductors and, if set, the project root.
        test_files: Patterns of files that are ordinary tests.
        ignored_folders: Patterns of folders that a search does not enter.
        rootdir: pytest's root, to which a project root in an ini file is relative.

    Raises:
        PlanError: If the project root does not exist.
    """
    found: dict[Path, Kind] = {}
    for argument in arguments:
        path = Path(os.path.abspath(invocation_dir / argument.partition("::")[0]))
        if path.is_dir():
            found |= dict(_in_folder(path, settings.files, ignored_folders))
        elif path.is_file() and (kind := _kind_of(path, settings.files, test_files)):
            found[path] = kind
    return [
        Source(path, kind, project_root(path, settings, invocation_dir, rootdir))
        for path, kind in found.items()
    ]


def project_root(path: Path, settings: Settings, invocation_dir: Path, rootdir: Path | None) -> Path:
    """Return the project root of a path: that of the settings, else the nearest folder with flows.

    Raises:
        PlanError: If it does not exist.
    """
    if settings.root is None:
        return project_root_of(path)
    root = Path(os.path.abspath((rootdir or invocation_dir) / settings.root))
    if not root.is_dir():
        raise PlanError(f"ductaflow_root: {root} is not a folder")
    return root


def _kind_of(path: Path, conductors: Sequence[str], test_files: Sequence[str]) -> Kind | None:
    """Return the kind of a file named on the command line; None if it is not ours."""
    if is_stored(path):
        return "stored"
    if is_past_config(path):
        return "past"
    if path.suffix in TABLE_SUFFIXES:
        return "table"
    if path.suffix not in NOTEBOOK_SUFFIXES or path.name.endswith("_executed.ipynb"):
        return None
    if looks_like_flow(path):
        return "flow"
    if path.suffix == ".py" and _matches(path.name, test_files):
        return "conductor" if _matches(path.name, conductors) and not _has_tests(path) else None
    return "flow" if not _matches(path.name, conductors) and is_mere_notebook(path) else "conductor"


def _has_tests(path: Path) -> bool:
    """Return whether a file named both like a conductor and like a test, `test_conductor.py`, has tests."""
    return bool(_TEST.search(path.read_text(encoding="utf-8", errors="replace")))


def _in_folder(folder: Path, names: Sequence[str], ignored: Sequence[str]) -> Iterable[tuple[Path, Kind]]:
    if _is_in_runs(folder):
        for config in past_configs(folder):
            yield config, "past"
        return
    for current, folders, files in os.walk(folder):
        if STORED_FILE in files and is_stored(stored := Path(current, STORED_FILE)):
            yield stored, "stored"
            folders[:] = [sub for sub in folders if sub not in (EXPECTED, INPUTS)]  # which declare nothing
        for link in (Path(current, sub, STORED_FILE) for sub in folders if Path(current, sub).is_symlink()):
            if is_stored(link):
                yield link, "stored"
        folders[:] = sorted(sub for sub in folders if sub != RUNS and not _matches(sub, ignored))
        for file in sorted(files):
            if _matches(file, names):
                yield Path(current, file), "conductor"


def _is_in_runs(folder: Path) -> bool:
    root = project_root_of(folder)
    is_project = root != folder or any((root / marker).is_dir() for marker in ROOT_MARKERS)
    return RUNS in (folder.relative_to(root).parts if is_project else folder.parts)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def make_plan(
    sources: Sequence[Source],
    settings: Settings,
    *,
    echo: bool = False,
    say: Callable[[str], None] = lambda _: None,
    undo: contextlib.ExitStack | None = None,
) -> Plan:
    """Read all sources, executing the conductors, and return the plan.

    Files that a conductor has overwritten for its calls to read keep the new content for the instances; if
    making the plan fails, all are restored.

    Args:
        sources: Files that declare instances.
        settings: Settings of the session, such as `where` and `cwd`.
        echo: Whether a conductor's output goes to the terminal instead of being kept for errors.
        say: Function that gets a line while something takes long.
        undo: Stack of a session in which nothing runs; closing it restores these files, too.

    Raises:
        PlanError: If anything is wrong; its message has a line for each problem.
    """
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ductaflow-")))
        files = stack.enter_context(contextlib.ExitStack())
        groups = _groups(sources)
        with DeclareProcesses([group[0].root for group in groups], fork=settings.fork, echo=echo) as planners:
            asking = partial(_ask, settings=settings, work=work, undo=files, planners=planners, say=say)
            plan = _plan_of(sources, settings, map(asking, groups))
        if undo is None:
            files.pop_all()  # restores nothing
        else:
            undo.enter_context(stack.pop_all())
    return plan


def _groups(sources: Sequence[Source]) -> list[list[Source]]:
    """Group the sources by process: each conductor alone, all others together."""
    conductors = [[source] for source in sources if source.kind == "conductor"]
    others = [source for source in sources if source.kind != "conductor"]
    return [*conductors, others] if others else conductors


def _plan_of(sources: Sequence[Source], settings: Settings, asked: Iterable[Answer]) -> Plan:
    """Build the plan from the answers for all sources.

    Raises:
        PlanError: If anything is wrong; its message has a line for each problem.
    """
    answers: dict[str, dict[str, JSON]] = {}
    complaints: list[str] = []
    for found, wrong in asked:
        answers |= found
        complaints += wrong
    declarations = _instances({path: answer["instances"] for path, answer in answers.items()})
    instances = {path: [*map(settings.placed, found)] for path, found in declarations.items()}
    # A past run refers to an instance that a conductor declares; it is not a second one.
    declared = [i for source in sources if source.kind != "past" for i in instances.get(source.path, ())]
    is_complete = not complaints  # else names would seem unknown whose source has failed
    complaints += merged_lines(collisions(declared))
    every = [i for found in instances.values() for i in found]
    earlier = earlier_runs(every)
    graph, problems = make_graph(
        list(instances.values()), earlier.undeclared, lambda number: earlier.is_settled(number, every[number])
    )
    complaints += merged_lines(problems) if is_complete else []
    if complaints:
        raise PlanError("\n".join(complaints))
    afters = tuple(path for path, found in instances.items() if found and answers[str(path)]["has_after"])
    return Plan(
        instances,
        graph,
        earlier.durations,
        afters,
        writers_of(earlier.outside),
        time.time_ns(),
        (*(note for answer in answers.values() for note in answer["notes"]), *_without_effect(every)),
    )


def _without_effect(instances: Iterable[Instance]) -> Iterator[str]:
    """Yield notes about settings of instances that have no effect."""
    asking = (shown(i.source, Path(i.project_root)) for i in instances if i.cores is not None)
    if sources := list(dict.fromkeys(asking)):
        where = listed(sources)
        yield f"_cores has no effect yet ({where}): -n alone says how many instances run at a time"


@dataclass(frozen=True)
class EarlierRuns:
    """The facts from the records of earlier runs that the plan needs, by number of the instance.

    Attributes:
        undeclared: Labels of the instances whose files an instance read without declaring that.
        durations: Seconds that an instance took.
        contents: Digests of config and flow of the instances that ended well.
        outside: Number, project root and record of instances that wrote outside of their run directories.
    """

    undeclared: dict[int, tuple[str, ...]] = field(default_factory=dict)
    durations: dict[int, float] = field(default_factory=dict)
    contents: dict[int, tuple[str, str]] = field(default_factory=dict)
    outside: list[tuple[int, str, Record]] = field(default_factory=list)

    def is_settled(self, number: int, instance: Instance) -> bool:
        """Return whether an instance's reads are known: it ended well with its current config and flow."""
        contents = self.contents.get(number)
        return contents == (config_digest(instance.config), file_digest(instance.flow))


def earlier_runs(instances: Sequence[Instance]) -> EarlierRuns:
    """Read the records of earlier runs, each once."""
    found = EarlierRuns()
    present = lru_cache(maxsize=None)(_names_in)
    for number, instance in enumerate(instances):
        folder, name = os.path.split(path_key(os.path.normpath(instance.run_dir)))
        record = read_record(RunFiles.of(instance).record)[0] if name in present(folder) else None
        if instance.duration is not None:  # the same wherever it runs, so that shards agree
            found.durations[number] = instance.duration
        if record is None:
            continue
        if record.undeclared:
            found.undeclared[number] = record.undeclared
        if instance.duration is None and _has_ended(record):
            found.durations[number] = record.duration or 0.0
        if next(files_outside(record, instance.project_root), None) is not None:
            found.outside.append((number, instance.project_root, record))
        if record.status.good:
            found.contents[number] = record.config_digest, record.inputs.get(record.flow, "")
    return found


def _has_ended(record: Record) -> bool:
    return record.duration is not None and record.status not in (Status.RUNNING, Status.BLOCKED)


def _look_ahead(group: Sequence[Source], is_time: Callable[[], bool]) -> None:
    """Preload the imports and earlier records that the session needs next, until `is_time` returns True."""
    from ..report import live  # noqa: F401
    from ..running import run_instance  # noqa: F401
    from ..sources.installed_versions import installed, own_path

    installed(own_path())
    for root in {source.root for source in group}:
        for _ in records(root / RUNS):
            if is_time():
                return


def _names_in(folder: str) -> frozenset[str]:
    """Return the names in a folder; one listing is cheaper than a stat for each possible run directory."""
    try:
        return frozenset(map(path_key, os.listdir(folder)))
    except OSError:
        return frozenset()


def _refused(file: Path, more: Sequence[str]) -> list[str]:
    """Return messages about actions of a conductor that must wait until its instances have ended."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    messages = [*map(json.loads, lines), *more]
    return [*messages, LATER] if messages else []


def _wait_for(process: Process, began: float, name: str, say: Callable[[str], None]) -> int:
    """Wait for the end of a process, with a message from time to time."""
    told = STILL
    while True:
        try:
            return process.wait(max(0.0, began + told - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"still collecting {name} ({told:g} s)")
            told *= 2


def _ask(
    group: Sequence[Source],
    settings: Settings,
    work: Path,
    undo: contextlib.ExitStack,
    planners: DeclareProcesses,
    *,
    say: Callable[[str], None],
) -> Answer:
    """Have a process read some sources; return what they declare, and what is wrong."""
    folder = Path(tempfile.mkdtemp(dir=work))
    request, result, output = folder / "request", folder / "result", folder / "output"
    calls, aside = folder / "calls", folder / "aside"
    data = {
        "sources": [{"path": str(s.path), "kind": s.kind, "root": str(s.root)} for s in group],
        "where": settings.where,
        "calls": str(calls),
        "refused": str(folder / "refused"),
        "aside": str(aside),
        "defer": settings.defer,
    }
    request.write_text(json.dumps(data), encoding="utf-8")
    undo.callback(put_back, aside)
    output.touch()
    exit_code = _exit_code(planners.start(request, result, output, group[0].root), group, say)
    printed = output.read_text(encoding="utf-8", errors="replace").splitlines()[-_OUTPUT_LINES:]
    refused = _refused(folder / "refused", put_back(aside, calls))
    if not result.exists() and refused:
        return {}, refused
    if not result.exists():
        what = f"{group[0].path.name}: its process ended with exit code {exit_code} before it was done"
        return {}, [what, *printed]
    answers = json.loads(result.read_text(encoding="utf-8"))
    complaints = refused
    for answer in answers.values():
        complaints += answer["problems"]
        if answer["error"]:
            complaints.append(answer["error"])
            complaints += [f"  | {line}" for line in printed]
    return answers, complaints


def _exit_code(process: Process, group: Sequence[Source], say: Callable[[str], None]) -> int:
    """Wait for the end of the process that reads some sources; kill it if the wait is interrupted."""
    try:
        began = time.monotonic()
        _look_ahead(group, lambda: process.poll() is not None)
        return _wait_for(process, began, group[0].path.name, say)
    except BaseException:
        process.kill()
        process.wait()
        raise
