"""Answer the calls of a conductor that is executed again after its instances have ended.

Under pytest a call whose instance was recorded at collection returns or raises what it would have, by the
outcome of the instance in the session; nothing runs twice. Other calls run immediately.
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
from ...core.instance import JSON, Instance
from ...core.masking.names import use as use_patterns
from ...core.outcome import GOOD, Outcome
from ...core.record import Failure, Record, Status
from ...core.run_directory.atomic import write_json
from ...core.run_directory.build_variable import surrounding_build
from ...core.run_directory.layout import RunFiles, display_path
from ...core.run_directory.record_files import read_record
from ...core.settings import Settings
from ...sources.instance_names import path_key

VARIABLE = "_DUCTAFLOW_ANSWERS"
NOT_RUN = "NotRun"  # failure type of an instance without a current record
_SHOWN = 3  # names in a message

_told = ""  # the file of answers, in the process that executes the conductor again


def write(
    file: Path, root: Path, settings: str, instances: Iterable[tuple[Instance, Outcome | None]]
) -> None:
    """Write the answers for the calls of a conductor.

    Args:
        file: The file for the answers.
        root: The project root.
        settings: Settings of the session, as text.
        instances: All instances that it declares, and how each ended.
    """
    told = [(instance.with_(secrets=()).to_json(), outcome) for instance, outcome in instances]
    write_json(file, {"root": str(root), "settings": settings, "instances": told})


@dataclass(frozen=True)
class Answers:
    """The recorded instances of a conductor and how they ended, to answer its calls.

    Attributes:
        root: The project root.
        settings: Settings of the session, as text, for calls that run here.
        endings: Instance as recorded, and how it ended, by run directory and stem of the flow.
        asked_for: Keys of the instances that the conductor has called.
        new: Labels of called instances that cannot be answered and run here.
    """

    root: Path
    settings: str
    endings: Mapping[tuple[str, str], tuple[Instance, Outcome | None]]
    asked_for: set[tuple[str, str]] = field(default_factory=set)
    new: list[str] = field(default_factory=list)

    def record_of(self, instance: Instance) -> Record | None:
        """Return the record that answers a call; None if it must run: not recorded, or its files are gone.

        Raises:
            DuctaflowError: If another config ran in its run directory.
        """
        key = path_key(instance.run_dir), instance.stem
        label = f"{instance.step}/{instance.name}"
        if key not in self.endings:
            self.new.append(label)
            return None
        known, outcome = self.endings[key]
        if differing := _differences(known.config, instance.config):
            raise DuctaflowError(
                f"{label} has run with another config than it is called with now ({differing}): give what "
                "depends on results, or on the time, a name of its own"
            )
        self.asked_for.add(key)
        files = RunFiles.of(known)
        if outcome in (*GOOD, "failed") and not files.record.exists():
            self.new.append(label)
            return None
        return _record(known, outcome)

    @property
    def doubt(self) -> str | None:
        """A warning if names seem to have changed since collection, as with the time in them."""
        missed = [f"{i.step}/{i.name}" for key, (i, _) in self.endings.items() if key not in self.asked_for]
        if not self.new or not missed:
            return None
        return (
            f"ran here, as they were not collected: {_some(self.new)}; collected, and not asked for: "
            f"{_some(missed)}. If their names depend on the time, give them names that do not."
        )


def begin(file: str) -> None:
    """Answer the calls of this process, and of those that it starts, from a file from now on."""
    global _told  # noqa: PLW0603 - a conductor may clear its environment
    _told = os.environ[VARIABLE] = file
    if (given := current()) is not None:
        use_patterns(Settings.loads(given.settings).secrets)


def current() -> Answers | None:
    """Return the answers for this process; None if its calls run, as they always do within a flow."""
    file = _told or os.environ.get(VARIABLE)
    return None if file is None or surrounding_build() is not None else _read(file)


def is_known(directory: str, stem: str) -> bool:
    """Return whether there is an answer for a flow in a run directory."""
    given = current()
    return given is not None and (path_key(directory), stem) in given.endings


@lru_cache(maxsize=1)
def _read(file: str) -> Answers:
    data = json.loads(Path(file).read_text(encoding="utf-8"))
    known = [(Instance.from_json(instance), outcome) for instance, outcome in data["instances"]]
    by_key = {(path_key(instance.run_dir), instance.stem): (instance, end) for instance, end in known}
    return Answers(Path(data["root"]), data["settings"], by_key)


def _record(instance: Instance, outcome: Outcome | None) -> Record:
    record, _ = read_record(RunFiles.of(instance).record)
    if outcome in ("blocked", "skipped"):
        return without_run(instance, f"it was {outcome} in this session")
    return record if record is not None else without_run(instance, "it has no record")


def without_run(instance: Instance, why: str) -> Record:
    """Return the record of an instance that has not run, which is written nowhere."""
    root = instance.project_root
    return Record(
        status=Status.BLOCKED,
        flow=display_path(instance.flow, root),
        step=instance.step,
        instance=instance.name,
        run_dir=display_path(instance.run_dir, root),
        error=Failure(NOT_RUN, why),
    )


def _differences(recorded: Mapping[str, JSON], now: Mapping[str, JSON]) -> str:
    """Return the top-level config keys that differ, with both values."""
    differing = [key for key in {**recorded, **now} if _text(recorded, key) != _text(now, key)]
    return ", ".join(f"{key}: {_text(recorded, key)} → {_text(now, key)}" for key in differing[:_SHOWN])


def _text(config: Mapping[str, Any], key: str) -> str:
    return json.dumps(config[key], sort_keys=True) if key in config else "not set"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
