"""Find the run that a user means: by a path, by `step/instance`, or by a unique part of a name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from ...core.instance import RUNS, slug
from ...core.number_text import listed
from ...core.record import Record
from ...core.run_directory.layout import RunFiles, display_path, is_record
from ...core.run_directory.record_files import folders_with_records, read_record
from ...gate.instance_file import REPLAYS
from ...planning.history.declared_history import declarations
from ...report.failure_text import quoted
from .near import near_names
from .project import find_project, project_of, shown
from .refusal import Refusal

_RECORD_END = "_record.json"
_NAMED = 8  # names in a message


@dataclass(frozen=True)
class Run:
    """A flow's files in a run directory, or the place of an instance that has not run.

    Attributes:
        root: Its project root.
        files: Its files.
    """

    root: Path
    files: RunFiles

    @classmethod
    def of_record(cls, root: Path, record_file: str | Path) -> Run:
        path = Path(record_file)
        return cls(root, RunFiles(path.parent, path.name.removesuffix(_RECORD_END)))

    @property
    def directory(self) -> Path:
        return self.files.directory

    @cached_property
    def label(self) -> str:
        """Its name: `step/instance`, or the run directory's path where it is not in `runs/`."""
        return display_path(self.directory, self.root).removeprefix(f"{RUNS}/")

    @property
    def has_run(self) -> bool:
        return self.files.record.exists()

    @cached_property
    def record(self) -> Record:
        """Its record.

        Raises:
            Refusal: If it has not run, or the record cannot be read.
        """
        record, problem = read_record(self.files.record)
        if record is None:
            where = shown(self.directory)
            what = problem or f"{self.label} has not run yet: {where} holds no record"
            raise Refusal(f"{what}; to see whether and why it would run: ductaflow why {quoted(self.label)}")
        return record


def all_runs(root: Path) -> Iterator[Run]:
    """Yield what has run in a project, by path, without reading the records."""
    for folder, names in folders_with_records(root / RUNS, ()):
        yield from (Run.of_record(root, os.path.join(folder, name)) for name in names)


def declared_runs(root: Path) -> Iterator[Run]:
    """Yield what conductors, tables and flows declared when last planned, whether it has run or not."""
    there = (each for each in declarations(root) if os.path.exists(root / each.source))
    for name in sorted(frozenset[str]().union(*(each.planned for each in there))):
        yield Run.of_record(root, root / name)


def find_run(text: str) -> Run:
    """Return the run that a user means in the working directory.

    Raises:
        Refusal: If it is unknown or ambiguous, with the names that may be meant.
    """
    given = Path(os.path.abspath(text))
    if text and (found := _at(given, text)) is not None:
        return found
    root = project_of(Path.cwd())
    for place in (root / text, root / RUNS / text) if text else ():
        if (found := _at(Path(os.path.abspath(place)), text)) is not None:
            return found
    runs = list({run.files.record: run for run in (*all_runs(root), *declared_runs(root))}.values())
    return _named(text, runs, root)


def path_of_run(text: str) -> Path:
    """Return the run directory that a user means; a path that is neither there nor a name as it is."""
    if not text:  # a variable of the shell that is not set, say: not the working directory
        name_in(text)
    path = Path(os.path.abspath(text))
    if os.path.lexists(path) or find_project(Path.cwd()) is None:
        return path
    try:
        return find_run(text).directory
    except Refusal:
        if os.sep in text:  # a path, and the command says what is wrong with it
            return path
        raise


def _at(path: Path, text: str) -> Run | None:
    """Return the run to which an existing path belongs: a run directory, or a file in one; else None.

    Raises:
        Refusal: If several flows have run there.
    """
    root = find_project(path) if path.exists() else None
    if root is None or not path.is_relative_to(root):
        return None
    if path.is_file() and is_record(path.name):
        return Run.of_record(root, path)
    for folder in (path, *path.parents) if path.is_file() else (path,):
        if not folder.is_relative_to(root):
            return None
        if folder.is_dir() and (names := sorted(filter(is_record, os.listdir(folder)))):
            runs = [Run.of_record(root, folder / name) for name in names]
            if len(readable := [run for run in runs if read_record(run.files.record)[0]]) > 1:
                own = [run for run in readable if path.name.startswith(f"{run.files.stem}_")]
                if len(own) != 1:
                    which = " or ".join(shown(run.files.record) for run in readable)
                    raise Refusal(f"{text}: several flows have run there; name a record: {which}")
                return own[0]
            return (readable or runs)[0]
    return None


def name_in(text: str) -> str:
    """Return the name, or a part of one, in the id of a test or a path.

    Raises:
        Refusal: If there is none: no text, the root of a file system, or a folder around the runs.
    """
    name = "/".join(text.split("::")[1:]) if "::" in text else text.strip("/").removeprefix(f"{RUNS}/")
    if name == RUNS or all(part in ("", ".", "..") for part in name.split("/")):
        raise Refusal(f"{text!r} is not the name of a run; all there are: ductaflow ls")
    return name


def _named(text: str, runs: list[Run], root: Path) -> Run:
    """Return the run that has a name, or the only one that has it as a part; replays come last.

    Raises:
        Refusal: If there is none, or several.
    """
    name = name_in(text)
    same = [run for run in runs if name in (run.label, slug(run.label))]
    ends = same or [run for run in runs if run.label.endswith(f"/{name}")]
    found = ends or [run for run in runs if name.lower() in run.label.lower()]
    found = [run for run in found if not run.label.startswith(f"{REPLAYS}/")] or found
    if len(found) == 1:
        return found[0]
    where = f"in {shown(root / RUNS)}"
    if len(found) > 1:
        names = listed((_told_apart(run, found) for run in found), _NAMED)
        raise Refusal(f"{text!r} is ambiguous, {len(found)} runs {where} are called like it: {names}")
    if not runs:
        raise Refusal(
            f"{text!r}: nothing has run {where} yet; run a conductor: pytest --ductaflow conductor.py"
        )
    near = near_names(name, [run.label for run in runs])
    near += near_names(name, [run.label.rpartition("/")[2] for run in runs]) if not near else []
    hint = f"near it: {listed(near)}" if near else "all there are: ductaflow ls"
    raise Refusal(f"no run {where} is called like {text!r}; {hint}")


def _told_apart(run: Run, others: list[Run]) -> str:
    """Return the name of a run, or its record where several flows share its run directory."""
    shares = sum(other.label == run.label for other in others) > 1
    return shown(run.files.record) if shares else run.label


class RunName(click.ParamType):  # type: ignore[type-arg]  # no generic one in earlier releases
    """The argument RUN, whose names the shell can complete."""

    name = "run"

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin, or whose instance begins, with what is typed; else paths."""
        root = find_project(Path.cwd())
        if root is None:
            return [CompletionItem(incomplete, type="file")]
        names = sorted({run.label for run in (*all_runs(root), *declared_runs(root))})
        found = [name for name in names if name.startswith(incomplete)]
        found = found or [name for name in names if name.rpartition("/")[2].startswith(incomplete)]
        if found:
            return [CompletionItem(name) for name in found]
        return [CompletionItem(incomplete, type="file")]


RUN = RunName()
