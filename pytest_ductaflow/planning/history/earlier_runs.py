"""Read the records of earlier runs, for what the plan needs of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ...core.instance import Instance
from ...core.record import Record, Status
from ...core.run_directory.layout import RunFiles
from ...core.run_directory.record_files import read_record
from ...sources.instance_names import path_key
from ...tracking.digests import config_digest, file_digest
from ...tracking.outside_files import files_outside


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


def _names_in(folder: str) -> frozenset[str]:
    """Return the names in a folder; one listing is cheaper than a stat for each possible run directory."""
    try:
        return frozenset(map(path_key, os.listdir(folder)))
    except OSError:
        return frozenset()
