"""The upstreams of an instance: their records, their outputs, and which of them a run has read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..core.instance import Instance, Neighbours
from ..core.record import Record
from ..core.run_directory.layout import RunFiles
from ..core.run_directory.record_files import read_record
from .paths_in_config import output_files


def records_of(neighbours: Neighbours) -> list[tuple[str, Record]]:
    """Return label and record of each declared upstream that has a record."""
    read = ((label, read_record(RunFiles.of(up).record)[0]) for label, up in neighbours.declared)
    return [(label, record) for label, record in read if record is not None]


def upstream_files(upstreams: Iterable[tuple[str, Record]], root: str) -> Iterator[str]:
    """Yield the absolute paths of all files that upstreams have written."""
    return (path for _, record in upstreams for path in output_files(record, root))


def with_upstreams(
    record: Record, instance: Instance, neighbours: Neighbours, before: Iterable[tuple[str, Record]]
) -> Record:
    """Return a record with the instances on which it depends, declared or observed.

    Args:
        record: The record.
        instance: Its instance.
        neighbours: The other instances that concern it.
        before: Labels and records of its declared upstreams from before it ran.
    """
    declared = {label for label, _ in neighbours.declared}
    owners = {
        label
        for each in record.with_flows()
        for name in each.inputs
        for label in _owners(os.path.join(instance.project_root, name), neighbours.run_dirs)
    }
    own = set(neighbours.run_dirs.get(instance.run_dir, ()))
    undeclared = owners - declared - own
    digests = {label: upstream.digest_of_outputs for label, upstream in before}
    known = {label: digests.get(label, "") for label in sorted(declared | set(neighbours.learned))}
    return record.with_(upstreams=known, undeclared=tuple(sorted(undeclared)))


def _owners(path: str, run_dirs: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Return the instances whose run directory contains a file."""
    folder = os.path.dirname(path)
    while folder != os.path.dirname(folder):
        if folder in run_dirs:
            return run_dirs[folder]
        folder = os.path.dirname(folder)
    return ()
