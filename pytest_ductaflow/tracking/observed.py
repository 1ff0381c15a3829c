"""Files and packages that a flow was observed to use, by its kernel and by an observer."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from ..kernels.inside.trace import (
    ASKED,
    DATABASE,
    FOLLOWED,
    LISTED,
    MODULE,
    OPENED,
    SEARCHED,
    STARTED,
    WRITTEN,
)
from ..kernels.observer.access_log import ASKED as SEEN_ASKED
from ..kernels.observer.access_log import FOLLOWED as SEEN_FOLLOWED
from ..kernels.observer.access_log import LISTED as SEEN_LISTED
from ..kernels.observer.access_log import MADE as SEEN_MADE
from ..kernels.observer.access_log import READ as SEEN_READ
from ..kernels.observer.access_log import STARTED as SEEN_STARTED
from ..kernels.observer.access_log import UPDATED as SEEN_UPDATED
from ..kernels.observer.access_log import WRITTEN as SEEN_WRITTEN

ALL, PYTHON_ONLY, NOTHING = "all", "python only", "no"  # how much was observed, as in records

_USES = {
    SEEN_READ: OPENED,
    SEEN_STARTED: STARTED,
    SEEN_WRITTEN: WRITTEN,
    SEEN_UPDATED: DATABASE,
    SEEN_MADE: DATABASE,
    SEEN_LISTED: LISTED,
    SEEN_ASKED: ASKED,
    SEEN_FOLLOWED: FOLLOWED,
}
# Programs that libraries start to query the system.
_ABOUT_THE_SYSTEM = frozenset(
    ("uname", "arch", "fc-list", "ldconfig", "lscpu", "lsb_release", "sysctl", "sw_vers", "system_profiler")
)
_LISTS = ("modules", "packages", "imports", "readers", "opened_by_code", "prefixes", "path")


@dataclass(frozen=True)
class Used:
    """What a flow was observed to use.

    Attributes:
        observed: How much was observed: `ALL`, `PYTHON_ONLY` or `NOTHING`.
        unseen: What an observer could not see, in words.
        uses: Pairs of a use (one of `kernels.inside.trace`) and an absolute path.
        since: Time of the first use, by path, in nanoseconds since the epoch.
        states: State just before that, by path: None if it did not exist, else as in `observer.access_log`.
            Only for paths that an observer has seen.
        privileged: Programs that would have run with other rights.
        modules: Source files of imported modules outside of the interpreter's own folders.
        packages: Top-level names of what was imported.
        imports: Names of modules that code of the project has imported, or tried to.
        readers: Imported modules that open files without Python's knowledge.
        searches: Number of times, by folder, that the kernel's Python has listed it in search of modules.
        opened_by_code: Files that code of the project has opened itself.
        python: Version of the interpreter; "" if the kernel's language is not Python or it has died.
        executable: Path of the interpreter.
        prefixes: Folders where it is installed.
        path: Its `sys.path`.
    """

    observed: str = NOTHING
    unseen: tuple[str, ...] = ()
    uses: tuple[tuple[str, str], ...] = ()
    since: Mapping[str, int] = field(default_factory=dict)
    states: Mapping[str, str | None] = field(default_factory=dict)
    privileged: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    searches: Mapping[str, int] = field(default_factory=dict)
    opened_by_code: tuple[str, ...] = ()
    python: str = ""
    executable: str = ""
    prefixes: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    @classmethod
    def from_reports(
        cls, trace: Path, final_report: Mapping[str, Any], observation: Mapping[str, Any] | None = None
    ) -> Self:
        """Return what is known of a run.

        Args:
            trace: Trace file, as named by `kernels.inside.trace.begin`.
            final_report: Final report of `kernels.inside.trace.used`; empty if the kernel could not send it.
            observation: Notes of `observer.access_log`; None if there was no observer.
        """
        words: dict[str, Any] = {
            name: tuple(value) if name in _LISTS else value for name, value in final_report.items()
        }
        told = list(_lines_of(trace))
        if observation is None:
            since: dict[str, int] = {}
            for _, path, moment in told:
                since.setdefault(path, moment)
            seen = PYTHON_ONLY if words.pop("begun", False) else NOTHING
            uses = {(use, path) for use, path, _ in told if use != SEARCHED}
            return cls(observed=seen, uses=tuple(sorted(uses)), since=since, **words)
        words.pop("begun", None)
        searches = Counter(words.pop("searches", {}))
        searches.update(path for use, path, _ in told if use == SEARCHED)
        return cls(
            observed=ALL,
            unseen=tuple(observation["unseen"]),
            uses=tuple(sorted(_uses(observation, searches))),
            since={path: moment for path, moment, _, _ in observation["uses"]},
            states={path: state for path, _, state, _ in observation["uses"]},
            privileged=tuple(observation["privileged"]),
            searches=dict(searches),
            **words,
        )

    def of(self, *uses: str) -> set[str]:
        return {path for use, path in self.uses if use in uses}

    @property
    def programs(self) -> set[str]:
        """The other programs that the flow has started, if only Python was observed."""
        return self.of(STARTED)

    @property
    def programs_that_read(self) -> list[str]:
        """The names of the other programs, except those that libraries use to query the system."""
        return sorted({os.path.basename(path) for path in self.programs} - _ABOUT_THE_SYSTEM)

    def renamed(self, real_names: Mapping[str, str]) -> Self:
        """Return the same with the project's own paths in place of real ones behind links."""
        if not real_names:
            return self

        def name(path: str) -> str:
            for real, given in real_names.items():
                if path == real or path.startswith(os.path.join(real, "")):
                    return given + path[len(real) :]
            return path

        return replace(
            self,
            uses=tuple(dict.fromkeys((use, name(path)) for use, path in self.uses)),
            since=_by_name(self.since, name),
            states=_by_name(self.states, name),
            modules=tuple(name(path) for path in self.modules),
            searches=_by_name(self.searches, name),
            opened_by_code=tuple(name(path) for path in self.opened_by_code),
        )


def _by_name(values: Mapping[str, Any], name: Callable[[str], str]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for path, value in values.items():
        named.setdefault(name(path), value)
    return named


def _lines_of(trace: Path) -> Iterator[tuple[str, str, int]]:
    """Yield use, path and time from each line of Python's trace."""
    with contextlib.suppress(OSError):  # a kernel of another language leaves none
        for line in trace.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            with contextlib.suppress(ValueError, TypeError):  # incomplete: the kernel died while writing
                use, path, moment = json.loads(line)
                yield use, path, moment


def _uses(observation: Mapping[str, Any], searches: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield the uses that an observer has seen; folders listed only in search of modules count as asked."""
    listings = observation["listings"]
    for path, _, state, kinds in observation["uses"]:
        for kind in kinds:
            use = WRITTEN if kind == SEEN_MADE and state is None else _USES[kind]
            if use == LISTED and listings.get(path, 0) <= searches.get(path, 0):
                use = ASKED
            source = _source_of_cache(path) if use == OPENED else None
            yield (MODULE, source) if source is not None else (use, path)


def _source_of_cache(path: str) -> str | None:
    """Return the source file of a module cached by Python; None for other files."""
    folder, file = os.path.split(path)
    if os.path.basename(folder) != "__pycache__" or not file.endswith(".pyc"):
        return None
    return os.path.join(os.path.dirname(folder), file.partition(".")[0] + ".py")
