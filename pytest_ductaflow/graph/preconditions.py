"""Check an instance's preconditions just before it runs.

Nothing here waits: an upstream that has not ended by then counts as missing.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import has_magic
from pathlib import Path
from typing import Literal

from ..core.instance import RUNS, Instance, stem_of
from ..core.outcome import Outcome
from ..core.record import Record
from ..core.run_directory.layout import RunFiles, display_path
from ..core.run_directory.record_files import read_record, records, records_in
from ..tracking.paths_in_config import is_written_place, places_of
from .dependencies import Graph
from .references import leaves
from .session_outcomes import SessionOutcomes

_LONGEST_PATH = 4_096  # characters; a longer text is not a path
_NAMED = 5  # most names in one message
_WORST_FIRST: tuple[Outcome | None, ...] = ("failed", "blocked", "skipped", None)


@dataclass(frozen=True)
class Obstacle:
    """The reason why an instance is not run.

    Attributes:
        outcome: `blocked` by another instance of the session, or `failed` if this session cannot resolve it.
        reason: One line.
        of_failure: Whether a failed instance is the root cause.
    """

    outcome: Literal["blocked", "failed"]
    reason: str
    of_failure: bool = False


class Preconditions:
    """A check that lets an instance run only if everything it depends on ended well.

    Args:
        graph: Dependencies among the instances.
        instances: Instances of the plan, by number.
        outcomes: Outcomes on those that have run in this session.
        command_for: Function that returns the command to run just some instances (by number) or run
            directories.
    """

    def __init__(
        self,
        graph: Graph,
        instances: Sequence[Instance],
        outcomes: SessionOutcomes,
        command_for: Callable[[Sequence[int | str]], str],
    ) -> None:
        self.outcomes = outcomes
        self.selected: Collection[int] = frozenset()  # instances that this session runs
        self.further: Callable[[int], Obstacle | None] = lambda _: None  # blocks for another reason
        self._graph = graph
        self._instances = instances
        self._command_for = command_for
        self._good: set[int | str] = set()  # instances and run directories with a good record on disk
        self._roots: dict[int, Obstacle] = {}

    def obstacle(self, number: int) -> Obstacle | None:
        """Return what prevents an instance from running, None if nothing does."""
        checks = (
            self.blocked,
            self.further,
            self._not_selected,
            self._outside,
            self._unwritten,
            self._left_over,
        )
        return next((found for check in checks if (found := check(number)) is not None), None)

    def blocked(self, number: int) -> Obstacle | None:
        """Return what blocks an instance among the upstreams that ran in this session."""
        found = [up for up in self._graph.upstreams[number] if up in self.selected]
        outcomes = self.outcomes.read() if found else {}
        for outcome in _WORST_FIRST:
            bad = [up for up in found if outcomes.get(up) == outcome]
            if outcome == "skipped":
                bad = [up for up in bad if not self._is_good(up)]
            if bad:
                told = self._blocked_by(bad[0], outcome)
                more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                return Obstacle("blocked", told.reason + more, of_failure=told.of_failure)
        return None

    def obstacle_after(self, numbers: Sequence[int]) -> Obstacle | None:
        """Return what prevents work that must follow these instances, None if all of them ended well."""
        outcomes = self.outcomes.read()
        for outcome in _WORST_FIRST:
            bad = [n for n in numbers if n in self.selected and outcomes.get(n) == outcome]
            if outcome == "skipped":
                bad = [number for number in bad if not self._is_good(number)]
            if bad:
                told = self._blocked_by(bad[0], outcome)
                more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                reason = told.reason.removeprefix("upstream ") + more
                return Obstacle("blocked", reason, of_failure=told.of_failure)
        missing = [n for n in numbers if n not in self.selected and not self._is_good(n)]
        return Obstacle("blocked", self._unready("", missing)) if missing else None

    def _blocked_by(self, upstream: int, outcome: Outcome | None) -> Obstacle:
        label = f"upstream {self._graph.labels[upstream]}"
        if outcome == "failed":
            return Obstacle("blocked", f"{label} failed", of_failure=True)
        if outcome == "skipped":
            return Obstacle("blocked", f"{label} was skipped")
        if outcome == "blocked":
            root = self._root(upstream)
            return Obstacle("blocked", f"{label} is blocked: {root.reason}", of_failure=root.of_failure)
        return Obstacle("blocked", f"{label} has not ended")

    def _root(self, blocked: int) -> Obstacle:
        """Return the root cause for a blocked instance, which may lie many instances upstream."""
        if blocked not in self._roots:
            self._roots[blocked] = self._search_root(blocked)
        return self._roots[blocked]

    def _search_root(self, blocked: int) -> Obstacle:
        if (found := self.further(blocked)) is not None:
            return found
        outcomes = self.outcomes.read()
        seen, left = {blocked}, [blocked]
        skipped = None
        while left:
            for upstream in self._graph.upstreams[left.pop()]:
                outcome = outcomes.get(upstream)
                if outcome == "failed":
                    return self._blocked_by(upstream, outcome)
                if outcome == "skipped" and skipped is None and not self._is_good(upstream):
                    skipped = self._blocked_by(upstream, outcome)
                if outcome == "blocked" and upstream not in seen:
                    seen.add(upstream)
                    left.append(upstream)
        return skipped or Obstacle("blocked", "its own upstreams have not ended")

    def _not_selected(self, number: int) -> Obstacle | None:
        """Return what blocks an instance: upstreams that are not selected and have no good record."""
        upstreams = (up for up in self._graph.upstreams[number] if up not in self.selected)
        missing = [upstream for upstream in upstreams if not self._is_good(upstream)]
        if not missing:
            return None
        return Obstacle("failed", self._unready("upstreams " if len(missing) > 1 else "upstream ", missing))

    def _unready(self, what: str, missing: Sequence[int]) -> str:
        """Return the message that instances are neither selected nor have a good record, with a remedy."""
        names = _some([self._graph.labels[number] for number in missing])
        many = len(missing) > 1
        verb, it = ("were not selected and have", "them") if many else ("was not selected and has", "it")
        return f"{what}{names} {verb} no good record; run {it} first: {self._command_for(missing[:_NAMED])}"

    def _outside(self, number: int) -> Obstacle | None:
        """Return what blocks an instance: a run directory outside of the plan without a good record."""
        for directory in self._graph.externals.get(number, ()):
            if not self._is_good(directory):
                name = display_path(directory, self._instances[number].project_root)
                command = self._command_for([directory])
                return Obstacle("failed", f"upstream {name} has no good record; run it first: {command}")
        return None

    def _is_good(self, what: int | str) -> bool:
        """Return whether the last run of an instance, or of all in a run directory, ended well."""
        if what not in self._good:
            if isinstance(what, int):
                record, _ = read_record(RunFiles.of(self._instances[what]).record)
                good = record is not None and record.status.good
            else:
                good = all(record.status.good for _, record in records(Path(what)))
            if not good:
                return False
            self._good.add(what)
        return True

    def _unwritten(self, number: int) -> Obstacle | None:
        """Return what blocks an instance: a missing path into `runs/` that no instance writes."""
        instance = self._instances[number]
        for key, text in self._graph.orphans.get(number, ()):
            if not any(_exists(path) for path in map(Path, places_of(text, instance))):
                reason = f"config key {key!r}: {text} is not there, and no instance writes it"
                return Obstacle("failed", reason + self._near(text, instance))
        return None

    def _left_over(self, number: int) -> Obstacle | None:
        """Return what blocks an instance: an upstream's file that this upstream's last run did not write."""
        instance, upstreams = self._instances[number], set(self._graph.upstreams[number])
        if not upstreams:
            return None
        for key, value in leaves(instance.config):
            if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_PATH or has_magic(value):
                continue
            for path in map(Path, places_of(value, instance)):
                owners = self._owners(path)
                if not upstreams.isdisjoint(owners) and self._is_left_over(path, key, owners, number):
                    labels = " and ".join(self._graph.labels[owner] for owner in owners if owner in upstreams)
                    name = display_path(path, instance.project_root)
                    reason = f"config key {key!r}: {name} is not among what {labels} wrote last"
                    return Obstacle("failed", reason)
        return None

    def _is_left_over(self, path: Path, key: str, owners: Sequence[int], number: int) -> bool:
        """Return whether a path in other instances' run directory is nothing that they wrote last."""
        instance = self._instances[number]
        run_dir = Path(self._instances[owners[0]].run_dir)
        name = path.relative_to(run_dir).as_posix()
        if name == "." or path.is_dir():
            return False
        there = _exists(path)
        if not there and is_written_place(key):
            return False  # the instance is going to write it
        found = records_in(run_dir)
        if any(name in RunFiles(run_dir, stem).names for stem in found):
            return False
        if self._is_written_from_elsewhere(path, number):
            return False
        written = _written_in(run_dir, found.values(), instance.project_root)
        # A missing path may be a prefix of a name (`shape` of shape.shp) or extend one (`a.gpkg|roads`).
        return bool(found) and not any(
            name == other or (not there and (other.startswith(name) or name.startswith(other)))
            for other in written
        )

    def _is_written_from_elsewhere(self, path: Path, number: int) -> bool:
        """Return whether the instance itself or another upstream wrote a file into this foreign folder."""
        for other in (number, *self._graph.upstreams[number]):
            run_dir = self._instances[other].run_dir
            last, _ = read_record(RunFiles.of(self._instances[other]).record)
            if last is not None and Path(os.path.relpath(path, run_dir)).as_posix() in last.outputs:
                return True
        return False

    def _owners(self, path: Path) -> Sequence[int]:
        """Return the numbers of the instances whose run directory contains a path."""
        folder = str(path)
        while folder not in self._by_run_dir:
            above = os.path.dirname(folder)
            if above == folder:
                return ()
            folder = above
        return self._by_run_dir[folder]

    @cached_property
    def _by_run_dir(self) -> Mapping[str, Sequence[int]]:
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, instance in enumerate(self._instances):
            numbers[os.path.normpath(instance.run_dir)].append(number)
        return numbers

    def _near(self, text: str, instance: Instance) -> str:
        """Return a hint that lists the instances of the step into which a path points."""
        runs = Path(instance.project_root, RUNS)
        meant = (
            path for path in map(Path, places_of(text, instance)) if not path.is_relative_to(instance.run_dir)
        )
        within = [path.relative_to(runs).parts for path in meant if path.is_relative_to(runs)]
        for parts in within:
            for end in range(len(parts), 0, -1):
                step = "/".join(parts[:end])
                if names := self._names.get((instance.project_root, step)):
                    return f"; step {step} has {_some(names)}"
        return ""

    @cached_property
    def _names(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """The instance names by project root and step."""
        names: dict[tuple[str, str], list[str]] = defaultdict(list)
        for instance in self._instances:
            names[instance.project_root, instance.step].append(instance.name)
        return names


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _written_in(run_dir: Path, found: Iterable[Record], root: str) -> Iterator[str]:
    """Yield what runs wrote, by name relative to a run directory, including the files of builds' flows."""
    for record in found:
        for each in record.with_flows():
            below = os.path.relpath(os.path.join(root, each.run_dir), run_dir)
            ours = RunFiles(Path(below), stem_of(each.flow))
            names = (*each.outputs, *each.made, *ours.names)
            yield from (Path(os.path.normpath(os.path.join(below, name))).as_posix() for name in names)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with characters that no path can have
        return False
