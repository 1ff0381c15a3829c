"""Store which instances each conductor, table or flow declared when last planned or run as a script.

    runs/.declared/conductor.py.json    one file for each source, its path quoted as in a URL

A run directory does not show whether its instance is still declared, and planning all sources to find out
would run their code. So each session stores what its planned sources declare, and each script what it has
called. Instances are identified by their records: `runs/{step}/{instance}/{flow}_record.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from ...core.instance import RUNS, Instance
from ...core.record import Record
from ...core.run_directory.atomic import write_json
from ...core.run_directory.layout import DECLARED, RunFiles, display_path
from ...core.run_directory.listing import digest
from ...sources.notebooks import NOTEBOOK_SUFFIXES, looks_like_flow

_KINDS = ("planned", "called", "earlier")
_LONGEST_NAME = 200  # characters; longer file names lose their beginning


@dataclass(frozen=True)
class Declaration:
    """The instances that one source declares, as paths of their records relative to the project root.

    Attributes:
        source: The file, relative to the project root.
        planned: Instances declared when a session last planned the source.
        called: Other instances it ran as a script, under `if not is_collecting():`, say.
        earlier: Instances it declared before and no longer does, if they are still on disk.
        code: Digest of the source when it ran as a script; "" if it ran no more than was planned.
    """

    source: str
    planned: frozenset[str] = frozenset()
    called: frozenset[str] = frozenset()
    earlier: frozenset[str] = frozenset()
    code: str = ""

    @property
    def now(self) -> frozenset[str]:
        return self.planned | self.called

    def after_plan(self, planned: frozenset[str], code: str) -> Self:
        """Return the declaration after a session has planned the source."""
        # Calls made only as a script stay valid while the source is the one that ran as a script.
        called = self.called - self.planned - planned if code == self.code else frozenset()
        return self._followed_by(planned, called, self.code)

    def after_script(self, calls: frozenset[str], code: str, *, complete: bool) -> Self:
        """Return the declaration after the source has run as a script.

        Args:
            calls: Instances that it has run.
            code: Digest of the source.
            complete: Whether it ran to its end; if not, it may have had more to run.
        """
        planned = self.planned & calls if complete else self.planned
        called = calls - planned if complete else (self.called | calls) - planned
        return self._followed_by(planned, called, code)

    def _followed_by(self, planned: frozenset[str], called: frozenset[str], code: str) -> Self:
        earlier = (self.now | self.earlier) - planned - called
        return type(self)(self.source, planned, called, earlier, code if called else "")

    def to_json(self) -> dict[str, Any]:
        kinds = {name: sorted(getattr(self, name)) for name in _KINDS}
        return {"source": self.source, **kinds, "code": self.code}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        planned, called, earlier = (frozenset(map(str, data[name])) for name in _KINDS)
        return cls(str(data["source"]), planned, called, earlier, str(data["code"]))


def record_name(instance: Instance) -> str:
    """Return the path that identifies an instance in declarations: that of its record."""
    return display_path(RunFiles.of(instance).record, instance.project_root)


def note_plan(root: Path, source: Path, instances: Iterable[Instance]) -> None:
    """Store what a source declared when a session planned it."""
    planned = frozenset(map(record_name, instances))
    _update(root, source, lambda earlier: earlier.after_plan(planned, _code_of(source)))


def note_script(root: Path, source: Path, instances: Iterable[Instance], *, complete: bool) -> None:
    """Store what a source has run as a script."""
    calls = frozenset(map(record_name, instances))
    _update(root, source, lambda earlier: earlier.after_script(calls, _code_of(source), complete=complete))


def declarations(root: Path) -> list[Declaration]:
    """Return the stored declarations of all sources of a project."""
    with contextlib.suppress(OSError):
        files = sorted((root / RUNS / DECLARED).iterdir())
        return [found for file in files if (found := _read(file)) is not None]
    return []


class DeclaredRecords:
    """The stored declarations of a project, to look up its records."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._all = {each.source: each for each in declarations(root)}
        self._now = frozenset[str]().union(*(each.now for each in self._all.values()))

    def is_declared(self, record_file: Path, record: Record) -> bool:
        """Return whether a record's instance is still declared; True if nothing shows that it is not."""
        if self.is_no_more(record_file, record, self._all):
            return False
        return not record.source or os.path.exists(self._root / record.source)

    @cached_property
    def of_sources_that_exist(self) -> frozenset[str]:
        """The paths of the records of all instances that a source declares which is still there."""
        there = (each.now for each in self._all.values() if os.path.exists(self._root / each.source))
        return frozenset[str]().union(*there)

    def is_no_more(self, record_file: Path, record: Record, sources: Collection[str]) -> bool:
        """Return whether one of the sources declared a record's instance, and none does now."""
        name = display_path(record_file, self._root)
        if name in self._now:
            return False
        earlier = (self._all[source].earlier for source in sources if source in self._all)
        return record.source in sources or any(name in names for names in earlier)


def has_lost_its_flow(root: Path, record: Record) -> bool:
    """Return whether a record's flow is gone but other flows are there (a copy of `runs/` may have none)."""
    flow = root / record.flow
    if flow.exists():
        return False
    with contextlib.suppress(OSError):
        others = (file for file in flow.parent.iterdir() if file.suffix in NOTEBOOK_SUFFIXES)
        return any(map(looks_like_flow, others))
    return False


def root_of(directory: Path, record: Record) -> Path | None:
    """Return the project root of a run directory; None if it is not where its record says."""
    above = str(directory).removesuffix(os.path.join("", *record.run_dir.split("/")))
    return Path(above) if above.endswith(os.sep) and above != str(directory) else None


def _update(root: Path, source: Path, change: Callable[[Declaration], Declaration]) -> None:
    file = file_of(root, source)
    earlier = _read(file) or Declaration(display_path(source, root))
    now = change(earlier)
    if now.earlier:
        kept = frozenset(name for name in now.earlier if os.path.exists(root / name))
        now = Declaration(now.source, now.planned, now.called, kept, now.code)
    if now == earlier:
        return
    with contextlib.suppress(OSError):  # a read-only project is reported where it matters
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, now.to_json())


def file_of(root: Path, source: Path) -> Path:
    """Return the file that stores the declaration of a source."""
    name = quote(display_path(source, root), safe="")
    return root / RUNS / DECLARED / f"{name[-_LONGEST_NAME:]}.json"


def _read(file: Path) -> Declaration | None:
    try:
        return Declaration.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _code_of(source: Path) -> str:
    try:
        return digest(source)
    except OSError:
        return ""
