"""Answers for the calls of a conductor that is executed once more, after its instances have ended.

Under pytest a call whose instance was recorded at collection returns what it would have returned, or raises,
by what the session has made of it; nothing runs twice. Other calls run there and then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...core.errors import DuctaflowError
from ...core.model import JSON, Failure, Instance, Record, Status
from ...core.run_files import RunFiles, read_record, shown, surrounding_build, write_json
from ...graph.verdicts import Verdict
from ...sources.names import path_key

VARIABLE = "DUCTAFLOW_ANSWERS"
NOT_RUN = "NotRun"  # type of the failure of an instance that has no record of now
_SHOWN = 3  # names in a message

_told = ""  # the file of answers, in the process that executes the conductor once more
Ending = Verdict | None  # None if this session has not run the instance


def write(file: Path, root: Path, settings: str, instances: Iterable[tuple[Instance, Ending]]) -> None:
    """Lay down the answers for the calls of a conductor.

    Args:
        file: Where they go.
        root: The project root.
        settings: Of the session, as text.
        instances: All that it declares, and how each ended.
    """
    told = [(instance.to_json(), ending) for instance, ending in instances]
    write_json(file, {"root": str(root), "settings": settings, "instances": told})


@dataclass(frozen=True)
class Answers:
    """What is known of the instances of a conductor.

    Attributes:
        root: The project root.
        settings: Of the session, as text, for what runs here.
        endings: By run directory and stem of the flow, the instance as it was recorded, and how it ended.
        asked_for: Those for which the conductor has called.
        new: Labels of what it called for and nobody has collected.
    """

    root: Path
    settings: str
    endings: Mapping[tuple[str, str], tuple[Instance, Ending]]
    asked_for: set[tuple[str, str]] = field(default_factory=set)
    new: list[str] = field(default_factory=list)

    def record_of(self, instance: Instance) -> Record | None:
        """The record that answers a call; None if it has to run: it is not recorded, or its files are gone.

        Raises:
            DuctaflowError: If another config ran in its run directory.
        """
        key = path_key(instance.run_dir), instance.stem
        label = f"{instance.step}/{instance.name}"
        if key not in self.endings:
            self.new.append(label)
            return None
        known, ending = self.endings[key]
        if differing := _differences(known.config, instance.config):
            raise DuctaflowError(
                f"{label} has run with another config than it is called with now ({differing}): give what "
                "depends on results, or on the time, a name of its own"
            )
        self.asked_for.add(key)
        files = RunFiles.of(known)
        if ending in ("ok", "failed") and not files.record.exists():
            self.new.append(label)
            return None
        return _record(known, ending)

    @property
    def doubt(self) -> str | None:
        """That calls seem to have changed their names since collection, as with the time in them."""
        missed = [f"{i.step}/{i.name}" for key, (i, _) in self.endings.items() if key not in self.asked_for]
        if not self.new or not missed:
            return None
        return (
            f"ran here, as they were not collected: {_some(self.new)}; collected, and not asked for: "
            f"{_some(missed)}. If their names depend on the time, give them names that do not."
        )


def begin(file: str) -> None:
    """From now on, let calls of this process, and of those that it starts, be answered from a file."""
    global _told  # noqa: PLW0603 - a conductor may clear its environment
    _told = os.environ[VARIABLE] = file


def current() -> Answers | None:
    """The answers for this process, None if its calls are to run; within a flow they always are."""
    file = _told or os.environ.get(VARIABLE)
    return None if file is None or surrounding_build() is not None else _read(file)


def is_known(directory: str, stem: str) -> bool:
    """Whether there is an answer for a flow in a run directory."""
    given = current()
    return given is not None and (path_key(directory), stem) in given.endings


@lru_cache(maxsize=1)
def _read(file: str) -> Answers:
    data = json.loads(Path(file).read_text(encoding="utf-8"))
    known = [(Instance.from_json(instance), ending) for instance, ending in data["instances"]]
    by_key = {(path_key(instance.run_dir), instance.stem): (instance, end) for instance, end in known}
    return Answers(Path(data["root"]), data["settings"], by_key)


def _record(instance: Instance, ending: Ending) -> Record:
    record, _ = read_record(RunFiles.of(instance).record)
    if ending in ("blocked", "skipped"):
        return _without_run(instance, f"it was {ending} in this session")
    return record if record is not None else _without_run(instance, "it has no record")


def _without_run(instance: Instance, why: str) -> Record:
    root = instance.project_root
    return Record(
        status=Status.BLOCKED,
        flow=shown(instance.flow, root),
        step=instance.step,
        instance=instance.name,
        run_dir=shown(instance.run_dir, root),
        error=Failure(NOT_RUN, why),
    )


def _differences(recorded: Mapping[str, JSON], now: Mapping[str, JSON]) -> str:
    """The keys at the top of a config that differ, with both values."""
    differing = [key for key in {**recorded, **now} if _text(recorded, key) != _text(now, key)]
    return ", ".join(f"{key}: {_text(recorded, key)} → {_text(now, key)}" for key in differing[:_SHOWN])


def _text(config: Mapping[str, Any], key: str) -> str:
    return json.dumps(config[key], sort_keys=True) if key in config else "not set"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
