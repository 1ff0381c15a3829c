"""Find the instances that the names in pytest's arguments mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import pytest

from ..report.failure_text import quoted
from .items import PLAN, node_id_of


def with_their_dots(arguments: Sequence[str], config: pytest.Config) -> list[str]:
    """Return arguments with the dots in names of instances, for which PyCharm writes `::` or `_`."""

    @cache
    def known(path: str) -> tuple[set[str], dict[str, set[str]]]:
        names = _names_in(_file_of(path, config), config)
        alike: dict[str, set[str]] = {}
        for name in names:
            alike.setdefault(_without_dots(name), set()).add(name)
        return {*names, *(name.partition("::")[0] for name in names)}, alike

    given = []
    for argument in arguments:
        path, _, name = argument.partition("::")
        if name and name not in known(path)[0]:
            meant = known(path)[1].get(_without_dots(name), set())
            given.append(f"{path}::{next(iter(meant))}" if len(meant) == 1 else argument)
        else:
            given.append(argument)
    return given


def path_and_name(argument: str, here: Path) -> tuple[Path, str]:
    """Return the path that an argument names, and what it names therein."""
    path, _, name = argument.partition("::")
    return Path(os.path.abspath(here / path)), name


def is_meant(node_id: str, name: str) -> bool:
    """Return whether what an argument names in a file, if anything, means an item of that file."""
    own = node_id.partition("::")[2]
    return not name or own == name or own.startswith((f"{name}::", f"{name}["))


def _without_dots(name: str) -> str:
    return name.replace("::", "_").replace(".", "_")


def _file_of(path: str, config: pytest.Config) -> Path:
    return Path(os.path.abspath(config.invocation_params.dir / path))


def _names_in(file: Path, config: pytest.Config) -> list[str]:
    """Return what follows the file in the ids of its instances."""
    instances = config.stash[PLAN].instances.get(file, ())
    return [node_id_of(file, each, config.rootpath).partition("::")[2] for each in instances]


def near_names(argument: str, config: pytest.Config) -> str:
    """Return a suggestion for an argument that matches nothing; empty if there is none."""
    path, _, name = argument.partition("::")
    file = _file_of(path, config)
    if not file.exists():
        others = os.listdir(file.parent) if file.parent.is_dir() else []
        near = [str(Path(path).with_name(other)) for other in get_close_matches(file.name, others, 1)]
    else:
        names = _names_in(file, config)
        is_known = any(other == name or other.startswith(f"{name}::") for other in names)
        near = [] if is_known or not name else get_close_matches(name, names, 3)
        near = [f"{path}::{other}" for other in near]
    return f"did you mean {' or '.join(map(quoted, near))}?" if near else ""
