"""Whether what an instance depends on is there when its turn comes, and if not, why not.

Nothing here waits: what has not ended by then is not there.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from .graph import Graph
from .model import RUNS, Instance
from .statuses import Statuses, Verdict
from .store import RunFiles, read_record, records, shown

_NAMED = 5  # of many, in one message
_WORST_FIRST: tuple[Verdict | None, ...] = ("failed", "blocked", "skipped", None)


@dataclass(frozen=True)
class Hindrance:
    """Why an instance is not run.

    Attributes:
        verdict: `blocked` by another instance of the session, or `failed` for what nobody is going to mend.
        reason: One line.
        of_failure: Whether in the end an instance that failed is to blame.
    """

    verdict: Literal["blocked", "failed"]
    reason: str
    of_failure: bool = False


class Gate:
    """Lets an instance through if all that it depends on has ended well.

    Args:
        graph: Which instance depends on which.
        instances: Those of the plan, by number.
        statuses: How those that have run in this session ended.
        command_for: What a user types to run just some instances (by number) or run directories.
    """

    def __init__(
        self,
        graph: Graph,
        instances: Sequence[Instance],
        statuses: Statuses,
        command_for: Callable[[Sequence[int | str]], str],
    ) -> None:
        self.statuses = statuses
        self.selected: Collection[int] = frozenset()  # those that this session runs
        self._graph = graph
        self._instances = instances
        self._command_for = command_for
        self._good: set[int | str] = set()  # of what is not run now: known to be good on disk
        self._roots: dict[int, Hindrance] = {}

    def hindrance(self, number: int) -> Hindrance | None:
        """What keeps an instance from being run, None if nothing does."""
        checks = (self._blocked, self._not_selected, self._outside, self._unwritten)
        return next((found for check in checks if (found := check(number)) is not None), None)

    def _blocked(self, number: int) -> Hindrance | None:
        """By upstreams of this session."""
        verdicts = self.statuses.read()
        found = [up for up in self._graph.upstreams[number] if up in self.selected]
        for verdict in _WORST_FIRST:
            bad = [up for up in found if verdicts.get(up) == verdict]
            if verdict == "skipped":
                bad = [up for up in bad if not self._is_good(up)]
            if bad:
                told = self._told(bad[0], verdict)
                more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                return Hindrance("blocked", told.reason + more, of_failure=told.of_failure)
        return None

    def hindrance_of_after(self, numbers: Sequence[int]) -> Hindrance | None:
        """What keeps from being done what is to follow these instances, once all have ended well."""
        verdicts = self.statuses.read()
        for verdict in _WORST_FIRST:
            bad = [n for n in numbers if n in self.selected and verdicts.get(n) == verdict]
            if verdict == "skipped":
                bad = [number for number in bad if not self._is_good(number)]
            if bad:
                told = self._told(bad[0], verdict)
                more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                reason = told.reason.removeprefix("upstream ") + more
                return Hindrance("blocked", reason, of_failure=told.of_failure)
        missing = [n for n in numbers if n not in self.selected and not self._is_good(n)]
        return Hindrance("blocked", self._unready("", missing)) if missing else None

    def _told(self, upstream: int, verdict: Verdict | None) -> Hindrance:
        label = f"upstream {self._graph.labels[upstream]}"
        if verdict == "failed":
            return Hindrance("blocked", f"{label} failed", of_failure=True)
        if verdict == "skipped":
            return Hindrance("blocked", f"{label} was skipped")
        if verdict == "blocked":
            root = self._root(upstream)
            return Hindrance("blocked", f"{label} is blocked: {root.reason}", of_failure=root.of_failure)
        return Hindrance("blocked", f"{label} has not ended")

    def _root(self, blocked: int) -> Hindrance:
        """What is to blame for a blocked instance, which may be many instances upstream."""
        if blocked not in self._roots:
            self._roots[blocked] = self._search_root(blocked)
        return self._roots[blocked]

    def _search_root(self, blocked: int) -> Hindrance:
        verdicts = self.statuses.read()
        seen, left = {blocked}, [blocked]
        skipped = None
        while left:
            for upstream in self._graph.upstreams[left.pop()]:
                verdict = verdicts.get(upstream)
                if verdict == "failed":
                    return self._told(upstream, verdict)
                if verdict == "skipped" and skipped is None and not self._is_good(upstream):
                    skipped = self._told(upstream, verdict)
                if verdict == "blocked" and upstream not in seen:
                    seen.add(upstream)
                    left.append(upstream)
        return skipped or Hindrance("blocked", "its own upstreams have not ended")

    def _not_selected(self, number: int) -> Hindrance | None:
        """By instances that this session does not run, and that no earlier one has left in good state."""
        upstreams = (up for up in self._graph.upstreams[number] if up not in self.selected)
        missing = [upstream for upstream in upstreams if not self._is_good(upstream)]
        if not missing:
            return None
        return Hindrance("failed", self._unready("upstreams " if len(missing) > 1 else "upstream ", missing))

    def _unready(self, what: str, missing: Sequence[int]) -> str:
        """That instances were not selected and are not good, and how to run them."""
        names = _some([self._graph.labels[number] for number in missing])
        many = len(missing) > 1
        verb, it = ("were not selected and have", "them") if many else ("was not selected and has", "it")
        return f"{what}{names} {verb} no good record; run {it} first: {self._command_for(missing[:_NAMED])}"

    def _outside(self, number: int) -> Hindrance | None:
        """By a run directory that is not of this plan, and in which something did not end well."""
        for directory in self._graph.externals.get(number, ()):
            if not self._is_good(directory):
                name = shown(directory, self._instances[number].project_root)
                command = self._command_for([directory])
                return Hindrance("failed", f"upstream {name} has no good record; run it first: {command}")
        return None

    def _is_good(self, what: int | str) -> bool:
        """Whether the last run of an instance, or of all in a run directory, ended well."""
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

    def _unwritten(self, number: int) -> Hindrance | None:
        """By a path into `runs/` where nothing is, and where no instance is going to put anything."""
        instance = self._instances[number]
        for key, text in self._graph.orphans.get(number, ()):
            if not any(_exists(path) for path in _places(text, instance)):
                reason = f"config key {key!r}: {text} is not there, and no instance writes it"
                return Hindrance("failed", reason + self._near(text, instance))
        return None

    def _near(self, text: str, instance: Instance) -> str:
        """The instances that there are in the step into which a path points."""
        runs = Path(instance.project_root, RUNS)
        meant = (path for path in _places(text, instance) if not path.is_relative_to(instance.run_dir))
        within = [path.relative_to(runs).parts for path in meant if path.is_relative_to(runs)]
        for parts in within:
            for end in range(len(parts), 0, -1):
                step = "/".join(parts[:end])
                if names := self._names.get((instance.project_root, step)):
                    return f"; step {step} has {_some(names)}"
        return ""

    @cached_property
    def _names(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """The instances of each step of a project."""
        names: dict[tuple[str, str], list[str]] = defaultdict(list)
        for instance in self._instances:
            names[instance.project_root, instance.step].append(instance.name)
        return names


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _places(text: str, instance: Instance) -> Iterator[Path]:
    """What a path in a config can mean."""
    for base in (instance.project_root, instance.run_dir):
        yield Path(os.path.normpath(os.path.join(base, text)))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with characters that no path has
        return False
