"""Find the files on the command line that declare instances."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..core.errors import PlanError
from ..core.instance import RUNS
from ..core.run_directory.layout import is_past_config, past_configs
from ..core.settings import Settings
from ..gate.instance_file import EXPECTED, INPUTS, is_stored
from ..gate.instance_file import FILE as STORED_FILE
from ..sources.notebooks import (
    NOTEBOOK_SUFFIXES,
    ROOT_MARKERS,
    TABLE_SUFFIXES,
    looks_like_flow,
    project_root_of,
)
from .conductor_file import is_mere_notebook

Kind = Literal["conductor", "table", "flow", "past", "stored"]
_TEST = re.compile(r"^(?:(?:async )?def test|class Test)", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A file that declares instances."""

    path: Path
    kind: Kind
    root: Path


def discover(
    arguments: Iterable[str],
    invocation_dir: Path,
    settings: Settings,
    *,
    test_files: Sequence[str] = (),
    ignored_folders: Sequence[str] = (),
    rootdir: Path | None = None,
) -> list[Source]:
    """Return the sources that the command line names.

    Args:
        arguments: Paths as given to pytest, with or without `::…`.
        invocation_dir: Directory that relative paths refer to.
        settings: Settings with the file names of conductors and, if set, the project root.
        test_files: Patterns of files that are ordinary tests.
        ignored_folders: Patterns of folders that a search does not enter.
        rootdir: pytest's root, to which a project root in an ini file is relative.

    Raises:
        PlanError: If the project root does not exist.
    """
    found: dict[Path, Kind] = {}
    for argument in arguments:
        path = Path(os.path.abspath(invocation_dir / argument.partition("::")[0]))
        if path.is_dir():
            found |= dict(_in_folder(path, settings.files, ignored_folders))
        elif path.is_file() and (kind := _kind_of(path, settings.files, test_files)):
            found[path] = kind
    return [
        Source(path, kind, project_root(path, settings, invocation_dir, rootdir))
        for path, kind in found.items()
    ]


def project_root(path: Path, settings: Settings, invocation_dir: Path, rootdir: Path | None) -> Path:
    """Return the project root of a path: that of the settings, else the nearest folder with flows.

    Raises:
        PlanError: If it does not exist.
    """
    if settings.root is None:
        return project_root_of(path)
    root = Path(os.path.abspath((rootdir or invocation_dir) / settings.root))
    if not root.is_dir():
        raise PlanError(f"ductaflow_root: {root} is not a folder")
    return root


def _kind_of(path: Path, conductors: Sequence[str], test_files: Sequence[str]) -> Kind | None:
    """Return the kind of a file named on the command line; None if it is not ours."""
    if is_stored(path):
        return "stored"
    if is_past_config(path):
        return "past"
    if path.suffix in TABLE_SUFFIXES:
        return "table"
    if path.suffix not in NOTEBOOK_SUFFIXES or path.name.endswith("_executed.ipynb"):
        return None
    if looks_like_flow(path):
        return "flow"
    if path.suffix == ".py" and _matches(path.name, test_files):
        return "conductor" if _matches(path.name, conductors) and not _has_tests(path) else None
    return "flow" if not _matches(path.name, conductors) and is_mere_notebook(path) else "conductor"


def _has_tests(path: Path) -> bool:
    """Return whether a file named both like a conductor and like a test, `test_conductor.py`, has tests."""
    return bool(_TEST.search(path.read_text(encoding="utf-8", errors="replace")))


def _in_folder(folder: Path, names: Sequence[str], ignored: Sequence[str]) -> Iterable[tuple[Path, Kind]]:
    if _is_in_runs(folder):
        for config in past_configs(folder):
            yield config, "past"
        return
    for current, folders, files in os.walk(folder):
        if STORED_FILE in files and is_stored(stored := Path(current, STORED_FILE)):
            yield stored, "stored"
            folders[:] = [sub for sub in folders if sub not in (EXPECTED, INPUTS)]  # which declare nothing
        for link in (Path(current, sub, STORED_FILE) for sub in folders if Path(current, sub).is_symlink()):
            if is_stored(link):
                yield link, "stored"
        folders[:] = sorted(sub for sub in folders if sub != RUNS and not _matches(sub, ignored))
        for file in sorted(files):
            if _matches(file, names):
                yield Path(current, file), "conductor"


def _is_in_runs(folder: Path) -> bool:
    root = project_root_of(folder)
    is_project = root != folder or any((root / marker).is_dir() for marker in ROOT_MARKERS)
    return RUNS in (folder.relative_to(root).parts if is_project else folder.parts)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
