"""Find instances that conflict, by their files or by their names."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.instance import SHORT_HASH, Instance, config_hash, slug
from ..core.problem import Problem
from ..core.run_directory.layout import display_path


def collisions(instances: Sequence[Instance]) -> list[Problem]:
    """Return a problem for each instance that would overwrite another's files."""
    seen: dict[tuple[str, str], Instance] = {}
    problems = []
    for instance in instances:
        first = seen.setdefault((path_key(instance.run_dir), instance.stem), instance)
        if first is not instance:
            root = Path(instance.project_root)
            run_dir = display_path(instance.run_dir, root)
            problems.append(
                Problem(
                    declared_at(instance, root),
                    f"has the same run directory as {declared_at(first, root)}: {run_dir}",
                    "give each its own 'instance_name'",
                )
            )
    return problems or _replays_in_each_other(instances)


def shared_folders(run_dirs: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs (i, j) where run_dirs[i] equals or lies inside run_dirs[j]."""
    paths = [Path(path_key(run_dir)) for run_dir in run_dirs]
    owners: dict[Path, int] = {}
    for number, path in enumerate(paths):
        owners.setdefault(path, number)
    for number, path in enumerate(paths):
        for folder in (path, *path.parents):
            if owners.get(folder, number) != number:
                yield number, owners[folder]


def _replays_in_each_other(instances: Sequence[Instance]) -> list[Problem]:
    """Return a problem for each pair of stored instances of which one would delete the other's files."""
    replays = [instance for instance in instances if instance.stored_in]
    return [
        Problem(
            declared_at(replays[number], replays[number].project_root),
            f"would run in {display_path(replays[number].run_dir, replays[number].project_root)}, where "
            f"{declared_at(replays[other], replays[other].project_root)} runs, too, or in a folder of it",
            "give it another `instance`",
        )
        for number, other in shared_folders([replay.run_dir for replay in replays])
    ]


def path_key(path: str) -> str:
    """Normalise a path for comparison (case-folded on Windows and macOS)."""
    return path.casefold() if sys.platform in ("win32", "darwin") else path


def declared_at(instance: Instance, root: str | Path) -> str:
    """Return where an instance was declared, for messages: `conductor.py:27, row 3`."""
    line = f":{instance.line}" if instance.line else ""
    row = f", row {instance.row}" if instance.row else ""
    return f"{display_path(instance.source, root)}{line}{row}"


def _flow_suffix(instance: Instance) -> str:
    return f"@{instance.stem}"


def _directory_suffix(instance: Instance) -> str:
    return f"~{config_hash({'run_dir': instance.run_dir})[:SHORT_HASH]}"


def original_name(instance: Instance) -> str:
    """Return the name of an instance before it was made distinct."""
    name = instance.name
    if "~" in name:
        name = name.removesuffix(_directory_suffix(instance))
    return name.removesuffix(_flow_suffix(instance))


def with_distinct_names(instances: Sequence[Instance]) -> list[Instance]:
    """Return the instances with names that are unique in node ids, even where flows share a directory."""
    for suffix in (_flow_suffix, _directory_suffix):
        groups: dict[tuple[str, str], list[Instance]] = defaultdict(list)
        for instance in instances:
            groups[slug(instance.step), slug(instance.name)].append(instance)
        if all(len(group) == 1 for group in groups.values()):
            break
        instances = [
            instance.with_(name=instance.name + suffix(instance))
            if len(groups[slug(instance.step), slug(instance.name)]) > 1
            else instance
            for instance in instances
        ]
    return list(instances)
