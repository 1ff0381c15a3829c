"""Report run directories that belong to no instance any more, and flows that are gone."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.instance import RUNS, Instance
from ...core.record import Record
from ...core.run_directory import record_files
from ...core.run_directory.layout import RunFiles, display_path
from ...gate.instance_file import REPLAYS
from ...report.failure_text import quoted
from ..plan import Plan
from .declared_history import DeclaredRecords, has_lost_its_flow, note_plan

_NAMED = 3  # names shown in one line


def note(plan: Plan) -> None:
    """Store what the sources of a plan declare, for other sessions and for `results()`."""
    for path, instances in whole_sources(plan).items():
        note_plan(Path(instances[0].project_root), path, instances)


def lines(plan: Plan, here: Path) -> Iterator[str]:
    """Yield one line for each finding.

    Only sources that this session has planned as a whole are considered; a past run directory named on the
    command line is not one.

    Args:
        plan: The session's plan.
        here: The user's working directory.
    """
    by_root: dict[str, list[Path]] = defaultdict(list)
    for path, instances in whole_sources(plan).items():
        by_root[instances[0].project_root].append(path)
    for root, paths in by_root.items():
        instances = [instance for instance in plan.all if instance.project_root == root]
        found = _search(Path(root), [display_path(path, root) for path in paths], instances)
        yield from _lines_of_folders(found.folders, here)
        yield from _lines_of_flows(found, root, here)


def whole_sources(plan: Plan) -> Mapping[Path, Sequence[Instance]]:
    """Return the sources whose instances are all known: conductors, tables and flows."""
    return {
        path: found
        for path, found in plan.instances.items()
        if any(not instance.always_run for instance in found)
    }


@dataclass
class _Found:
    """The leftovers in a `runs/`.

    Attributes:
        folders: Names of run directories that no instance has any more, by parent folder.
        flows: Run directories shared by a flow that is gone and a planned one, by these two flows.
    """

    folders: dict[Path, list[str]] = field(default_factory=lambda: defaultdict(list))
    flows: dict[tuple[str, str], list[Path]] = field(default_factory=lambda: defaultdict(list))


def _search(root: Path, sources: Sequence[str], instances: Sequence[Instance]) -> _Found:
    """Find leftovers in `runs/`; the records of planned instances are not read."""
    flows = {str(RunFiles.of(instance).record): instance.flow for instance in instances}
    runs, knowledge, found = root / RUNS, DeclaredRecords(root), _Found()
    for place, names in record_files.folders_with_records(runs, {instance.run_dir for instance in instances}):
        files = [os.path.join(place, name) for name in names]
        unknown = [Path(file) for file in files if file not in flows]
        if not unknown or (folder := Path(place)).is_relative_to(runs / REPLAYS):
            continue
        records = [
            (file, record) for file in unknown if (record := record_files.read_record(file)[0]) is not None
        ]
        planned = next((flows[file] for file in files if file in flows), None)
        if planned is not None:
            for _, record in records:
                if has_lost_its_flow(root, record):
                    found.flows[record.flow, planned].append(folder)
        elif records and all(_is_left(knowledge, file, record, sources) for file, record in records):
            found.folders[folder.parent].append(folder.name)
    return found


def _is_left(knowledge: DeclaredRecords, file: Path, record: Record, sources: Sequence[str]) -> bool:
    return not record.stored and knowledge.is_no_more(file, record, sources)


def _lines_of_folders(folders: Mapping[Path, Sequence[str]], here: Path) -> Iterator[str]:
    for folder, names in sorted(folders.items()):
        many, place = len(names) > 1, _seen_from(here, folder)
        shown_names = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        few = [_seen_from(here, folder / name) for name in names]
        command = _command("rm", few) if len(names) <= _NAMED else _command("gc", [place])
        yield (
            f"{len(names)} folder{'s' * many} in {place} {'are' if many else 'is'} of no instance any more: "
            f"{shown_names}; remove {'them' if many else 'it'} with: {command}"
        )


def _lines_of_flows(found: _Found, root: str, here: Path) -> Iterator[str]:
    for (gone, other), folders in sorted(found.flows.items()):
        above = sorted({_seen_from(here, folder.parent) for folder in folders})
        count = f"{len(folders)} in {', '.join(above[:_NAMED])}" + (", …" if len(above) > _NAMED else "")
        yield (
            f"{gone} is gone; {display_path(other, root)} writes into the same folders ({count}); "
            f"remove what is left of it with: {_command('gc', above[:_NAMED])}"
        )


def _command(name: str, arguments: Sequence[str]) -> str:
    return f"ductaflow {name} {' '.join(map(quoted, arguments))}"


def _seen_from(here: Path, path: Path) -> str:
    return Path(os.path.relpath(path, here)).as_posix()
