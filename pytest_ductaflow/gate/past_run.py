"""Read a run in `runs/` that is to be stored: its record, config and outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.errors import NotStored
from ..core.instance import JSON, RUNS
from ..core.record import Record
from ..core.run_directory import listing, record_files
from ..core.run_directory.layout import RunFiles
from .instance_file import is_compared
from .judge import outputs_of


def record_in(run_dir: Path, root: Path, flow: str | None) -> Record:
    """Return the record of a run that can be stored.

    Raises:
        NotStored: If there is none, or several and no flow is named.
    """
    example = f"{RUNS}/analysis/scenario_A"
    if not run_dir.is_dir():
        raise NotStored(f"{run_dir} is not there: expected a run directory, such as {example}")
    found = [record for folder, record in record_files.records(run_dir) if folder == run_dir]
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
    """Return the config of a run, without `_project_root`.

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
    """Return the chosen outputs of a run by name, after a check that they are unchanged.

    Args:
        record: Record of the run.
        root: Project root.
        patterns: Patterns of the outputs to choose.
        asked_for: Patterns that must each match at least one output.

    Raises:
        NotStored: If an output no longer exists or was changed after the run.
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
        if listing.digest(path) != digests[os.path.normpath(path)]:
            raise NotStored(f"{name} has been changed after the run: run the instance again")
    return found


def _digests(record: Record, root: Path) -> Iterator[tuple[str, str]]:
    """Yield the absolute path of each output and its digest when it was written."""
    for each in record.with_flows():
        for name, digest in each.outputs.items():
            yield os.path.normpath(root / each.run_dir / name), digest
