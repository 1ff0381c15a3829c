"""Which instances each conductor, table or flow declares, by when it was last planned or run as a script.

    runs/.declared/conductor.py.json    one file for each source, its path quoted as in a URL

A run directory cannot tell whether there is still an instance to it, and planning all sources to find out
would run their code. So each session notes what the sources that it has planned declare, and each script
what it has called. Instances are told apart by their records: `runs/{step}/{instance}/{flow}_record.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from ..core.model import RUNS, Instance, Record
from ..core.run_files import DECLARED, RunFiles, digest, shown, write_json
from ..sources.notebooks import NOTEBOOK_SUFFIXES, looks_like_flow

_KINDS = ("planned", "called", "earlier")
_LONGEST_NAME = 200  # of a file, before its beginning is left out


@dataclass(frozen=True)
class Declaration:
    """What one source declares, each instance by its record's path, relative to the project root.

    Attributes:
        source: The file, relative to the project root.
        planned: What it has declared when a session planned it last.
        called: What else it has run as a script: under `if not is_collecting():`, say.
        earlier: What it has declared before and declares no more, as far as it is still on disk.
        code: Digest of the source when it ran as a script; "" where that has run no more than was planned.
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
        """After a session that has planned the source."""
        # What only a script calls is none of the plan's, as long as the source is what that script was.
        called = self.called - self.planned - planned if code == self.code else frozenset()
        return self._followed_by(planned, called, self.code)

    def after_script(self, calls: frozenset[str], code: str, *, complete: bool) -> Self:
        """After a script's run.

        Args:
            calls: What it has run.
            code: Digest of the source.
            complete: Whether it came to its end; else it may have had more to run.
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
    """What an instance is called here."""
    return shown(RunFiles.of(instance).record, instance.project_root)


def note_plan(root: Path, source: Path, instances: Iterable[Instance]) -> None:
    """Note what a session has found a source to declare."""
    planned = frozenset(map(record_name, instances))
    _update(root, source, lambda earlier: earlier.after_plan(planned, _code_of(source)))


def note_script(root: Path, source: Path, instances: Iterable[Instance], *, complete: bool) -> None:
    """Note what a script has run."""
    calls = frozenset(map(record_name, instances))
    _update(root, source, lambda earlier: earlier.after_script(calls, _code_of(source), complete=complete))


def declarations(root: Path) -> list[Declaration]:
    """What all sources of a project declare, as far as that was noted."""
    with contextlib.suppress(OSError):
        files = sorted((root / RUNS / DECLARED).iterdir())
        return [found for file in files if (found := _read(file)) is not None]
    return []


class Knowledge:
    """What the declarations of a project tell of its records."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._all = {each.source: each for each in declarations(root)}
        self._now = frozenset[str]().union(*(each.now for each in self._all.values()))

    def is_declared(self, record_file: Path, record: Record) -> bool:
        """Whether there is still an instance to a record; yes where nothing tells that there is none."""
        if self.is_no_more(record_file, record, self._all):
            return False
        return not record.source or os.path.exists(self._root / record.source)

    def is_no_more(self, record_file: Path, record: Record, sources: Collection[str]) -> bool:
        """Whether one of some sources has declared the instance of a record, and none does now."""
        name = shown(record_file, self._root)
        if name in self._now:
            return False
        earlier = (self._all[source].earlier for source in sources if source in self._all)
        return record.source in sources or any(name in names for names in earlier)


def has_lost_its_flow(root: Path, record: Record) -> bool:
    """Whether the flow of a record is gone from among other flows: a copy of `runs/` may be without any."""
    flow = root / record.flow
    if flow.exists():
        return False
    with contextlib.suppress(OSError):
        others = (file for file in flow.parent.iterdir() if file.suffix in NOTEBOOK_SUFFIXES)
        return any(map(looks_like_flow, others))
    return False


def root_of(directory: Path, record: Record) -> Path | None:
    """The project of a run directory; None if it does not lie where its record says."""
    above = str(directory).removesuffix(os.path.join("", *record.run_dir.split("/")))
    return Path(above) if above.endswith(os.sep) and above != str(directory) else None


def _update(root: Path, source: Path, change: Callable[[Declaration], Declaration]) -> None:
    file = file_of(root, source)
    earlier = _read(file) or Declaration(shown(source, root))
    now = change(earlier)
    if now.earlier:
        kept = frozenset(name for name in now.earlier if os.path.exists(root / name))
        now = Declaration(now.source, now.planned, now.called, kept, now.code)
    if now == earlier:
        return
    with contextlib.suppress(OSError):  # a project that cannot be written tells so where it matters
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, now.to_json())


def file_of(root: Path, source: Path) -> Path:
    """The file in which it is noted what a source declares."""
    name = quote(shown(source, root), safe="")
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
