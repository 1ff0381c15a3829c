"""Track files that instances write outside of their run directories, where they can conflict."""

from __future__ import annotations

import datetime
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from ..core.instance import RUNS, Instance
from ..core.record import Record
from ..core.run_directory.layout import RunFiles, names_of_ours
from ..core.run_directory.record_files import read_record
from ..core.system.file_state import changed_since, stat_of


def files_outside(record: Record, root: str) -> Iterator[str]:
    """Yield absolute paths of files that an instance (or its flows) wrote outside of its run directory."""
    inside = os.path.join(root, record.run_dir, "")
    for each in record.with_flows():
        for name in each.outputs:
            if name.startswith(os.pardir):
                path = os.path.normpath(os.path.join(root, each.run_dir, name))
                if not path.startswith(inside):
                    yield path


def left_out_of_listing(
    folder: str,
    outside: Iterable[str],
    inputs: Iterable[str],
    made_beside: Callable[[str], Collection[str]],
) -> Collection[str]:
    """Return the names in a folder that are not inputs of an instance which lists it.

    Args:
        folder: The folder; if the instance does not itself write into it, all names in it are inputs.
        outside: Files that it wrote outside of its run directory.
        inputs: Files that it read; if one of them is among the names made beside it, all names are inputs.
        made_beside: `Neighbours.made_beside`.
    """
    folder = os.path.normpath(folder)
    own = {path for path in outside if os.path.dirname(path) == folder}
    if not own:
        return ()
    beside = made_beside(folder)
    read = (os.path.split(os.path.normpath(path)) for path in inputs if path not in own)
    return () if any(above == folder and name in beside for above, name in read) else beside


def own_names(folder: str, run_dir: str, outputs: Iterable[str]) -> set[str]:
    """Return the names in a folder that the run, or we, have made; they are not inputs of the run.

    Args:
        folder: The folder; if it is not in the run directory, the result is empty.
        run_dir: The run directory.
        outputs: Files that the run wrote, relative to the run directory.
    """
    inside = os.path.relpath(folder, run_dir)
    if inside.split(os.sep)[0] == os.pardir:
        return set()
    beginning = "" if inside == os.curdir else os.path.join(inside, "")
    made = {name[len(beginning) :].split(os.sep)[0] for name in outputs if name.startswith(beginning)}
    return made | names_of_ours(run_dir) if inside == os.curdir else made


def writers_of(records: Iterable[tuple[int, str, Record]]) -> dict[str, tuple[int, ...]]:
    """Return the files written outside run directories, each with its writers in the order they ended.

    Args:
        records: Number, project root and record of each instance.
    """
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for number, root, record in records:
        for path in dict.fromkeys(files_outside(record, root)):
            found[path].append((_end_of(record), number))
    return {path: tuple(number for _, number in sorted(writers)) for path, writers in found.items()}


def _end_of(record: Record) -> float:
    try:
        began = datetime.datetime.fromisoformat(record.started).timestamp()
    except ValueError:
        return 0.0
    return began + (record.duration or 0.0)


class Outside:
    """What is known in a session of files written outside of run directories.

    Args:
        writers: Numbers of the instances that have written a file, by its absolute path.
        instances: Instances of the plan.
        before: Nodes that each of them waits for, as in the plan's graph.
        began_ns: Start of the session: newer files are assumed to be made by its instances.
    """

    def __init__(
        self,
        writers: Mapping[str, tuple[int, ...]],
        instances: Sequence[Instance],
        before: Sequence[tuple[int, ...]],
        began_ns: int,
    ) -> None:
        self._writers = writers
        self._instances = instances
        self._before = before
        self._began = began_ns
        self._earlier: dict[tuple[int, ...], frozenset[int]] = {}
        self._written_earlier: dict[tuple[int, ...], frozenset[str]] = {}
        self._is_new: dict[str, bool] = {}

    def last_written(self, number: int) -> Collection[str]:
        """Return the files of an instance that no other one of the plan has written after it."""
        return self._last_written.get(number, ())

    @cached_property
    def _last_written(self) -> Mapping[int, set[str]]:
        found: dict[int, set[str]] = defaultdict(set)
        for path, numbers in self._writers.items():
            found[numbers[-1]].add(path)
        return found

    def made_beside(self, number: int, folder: str) -> Collection[str]:
        """Return the names in a folder made by instances of the plan that need not end before this one.

        In a run from scratch they may not exist yet. If every instance writes its own figure into one folder
        and lists it, each would otherwise seem to change the input of the others.
        """
        return {
            name for name in self._names_in(folder) if self._is_beside(number, os.path.join(folder, name))
        }

    def _names_in(self, folder: str) -> Iterable[str]:
        try:
            return os.listdir(folder)
        except OSError:
            return ()

    def _is_beside(self, number: int, path: str) -> bool:
        if path == os.path.join(self._instances[number].project_root, RUNS):
            return True
        before = self._before[number]
        if path in self._writers:
            return self._instances_before(before).isdisjoint(self._writers[path])
        return self._was_made_now(path) and path not in self._files_before(before)

    def _was_made_now(self, path: str) -> bool:
        if path not in self._is_new:
            self._is_new[path] = self._has_changed(path) and not self._holds_older(path)
        return self._is_new[path]

    def _has_changed(self, path: str) -> bool:
        stat = stat_of(path)
        return stat is not None and changed_since(stat, self._began)

    def _holds_older(self, path: str) -> bool:
        """Return whether something in a folder is older than the session, and so is the folder.

        Its own times change with what is put into it, such as a cache of Python for a module.
        """
        names = self._names_in(path) if os.path.isdir(path) else ()
        return any(not self._has_changed(os.path.join(path, name)) for name in names)

    def _instances_before(self, before: tuple[int, ...]) -> frozenset[int]:
        """Return all instances before one that waits for these; cached, as rows of a table share them."""
        if before not in self._earlier:
            seen, left = set(before), list(before)
            while left:
                new = set(self._before[left.pop()]) - seen
                seen |= new
                left += new
            self._earlier[before] = frozenset(seen)
        return self._earlier[before]

    def _files_before(self, before: tuple[int, ...]) -> frozenset[str]:
        """Return what those instances, which have ended, have written outside."""
        if before not in self._written_earlier:
            numbers = (n for n in self._instances_before(before) if n < len(self._instances))
            instances = [self._instances[number] for number in numbers]
            records = [(i.project_root, read_record(RunFiles.of(i).record)[0]) for i in instances]
            files = (files_outside(record, root) for root, record in records if record is not None)
            self._written_earlier[before] = frozenset(path for paths in files for path in paths)
        return self._written_earlier[before]
