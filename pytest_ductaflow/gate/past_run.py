"""A run in `runs/` that is to be stored: what it was given, and what it has left."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core import run_files
from ..core.model import JSON, RUNS, Record
from ..core.run_files import RunFiles
from .instance_file import is_compared
from .judge import outputs_of
from .storable import NotStored


def record_in(run_dir: Path, root: Path, flow: str | None) -> Record:
    """The record of a run that can be stored.

    Raises:
        NotStored: If there is none, or several and no flow is named.
    """
    example = f"{RUNS}/analysis/scenario_A"
    if not run_dir.is_dir():
        raise NotStored(f"{run_dir} is not there: expected a run directory, such as {example}")
    found = [record for folder, record in run_files.records(run_dir) if folder == run_dir]
    if flow is not None:
        found = [record for record in found if Path(record.flow).stem == Path(flow).stem]
    if not found:
        whose = f" of a flow {flow}" if flow else ""
        raise NotStored(f"{run_dir} has no record{whose}: expected the directory of a run, such as {example}")
    if len(found) > 1:
        stems = [Path(record.flow).stem for record in found]
        several = f"{run_dir} has the runs of several flows ({', '.join(stems)})"
        raise NotStored(f"{several}: say which, --flow {stems[0]}")
    record = found[0]
    if not record.status.good:
        why = f": {record.message}" if record.message else ""
        raise NotStored(f"{run_dir}: this run ended with {record.status}{why}; store one that ended well")
    if os.path.isabs(record.flow):
        raise NotStored(f"{record.flow} lies outside of the project {root}, and would not be in its repo")
    return record


def config_of(record: Record, run_dir: Path) -> dict[str, JSON]:
    """The config of a run, without `_project_root`.

    Raises:
        NotStored: If it cannot be read.
    """
    file = RunFiles(run_dir, Path(record.flow).stem).config
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotStored(f"{file}: cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise NotStored(
            f"{file}: expected a config, found {type(config).__name__}; the flow may have written it"
        )
    return {key: value for key, value in config.items() if key != "_project_root"}


def chosen_outputs(
    record: Record, root: Path, patterns: Sequence[str], asked_for: Sequence[str]
) -> dict[str, Path]:
    """Some of the outputs, by name, as the run has left them.

    Args:
        record: The run.
        root: The project root.
        patterns: Of those that are chosen.
        asked_for: Patterns that must fit at least one.

    Raises:
        NotStored: If an output is not there any more, or not as it was written.
    """
    everything = outputs_of(record, str(root))
    for pattern in asked_for:
        if not any(is_compared(name, [pattern.removeprefix("!")]) for name in everything):
            written = ", ".join(everything) or "nothing"
            raise NotStored(f"no output is called like {pattern!r}; the run has written {written}")
    found = {name: path for name, path in everything.items() if is_compared(name, patterns)}
    digests = dict(_digests(record, root))
    for name, path in found.items():
        if not path.is_file():
            raise NotStored(f"{name} is not there any more: run the instance again")
        if run_files.digest(path) != digests[os.path.normpath(path)]:
            raise NotStored(f"{name} has been changed after the run: run the instance again")
    return found


def _digests(record: Record, root: Path) -> Iterator[tuple[str, str]]:
    """The digest of each output as it was written, by absolute path."""
    for each in record.with_flows():
        for name, digest in each.outputs.items():
            yield os.path.normpath(root / each.run_dir / name), digest
