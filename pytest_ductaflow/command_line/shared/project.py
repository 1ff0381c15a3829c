"""Find the project in which a command is called, and read its settings if they are needed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import DuctaflowError
from ...core.instance import RUNS
from ...core.run_directory.layout import DECLARED, LOCKS, REPORT
from .refusal import Refusal

if TYPE_CHECKING:
    from ...core.settings import Settings

_INI_FILES = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
_ROOT_OPTION = "ductaflow_root"
_MARKERS = ("flows", "flow")  # as in sources.notebooks
_TRACES = (DECLARED, LOCKS, REPORT)  # in runs/; other tools have a runs/, too


def project_of(path: Path) -> Path:
    """Return the project root of a file or folder: the nearest folder above that is one.

    Raises:
        Refusal: If there is none.
    """
    found = find_project(path)
    if found is None:
        raise Refusal(
            f"there is no project in {path} or above it: expected a folder with flows/ or runs/; "
            "go there, or make one with: ductaflow init FOLDER"
        )
    return found


def find_project(path: Path) -> Path | None:
    """Return the project root of a file or folder; None if there is none."""
    path = Path(os.path.abspath(path))
    folders = [folder for folder in (path, *path.parents) if folder.is_dir()]
    for folder in folders:
        if any(map(_mentions_root, (folder / name for name in _INI_FILES))):
            return settings_and_root(path)[1]
        if folder.name != RUNS and any((folder / marker).is_dir() for marker in _MARKERS):
            return folder
        if any((folder / RUNS / trace).exists() for trace in _TRACES):
            return folder
    return None


def _mentions_root(file: Path) -> bool:
    with contextlib.suppress(OSError):
        return _ROOT_OPTION in file.read_text(encoding="utf-8", errors="replace")
    return False


def settings_and_root(path: Path) -> tuple[Settings, Path, tuple[str, ...]]:
    """Read the ini file that pytest would find for a path.

    Returns:
        The settings, the path's project root, and the patterns of folders that pytest does not enter.

    Raises:
        DuctaflowError: If a setting is invalid.
    """
    import pytest

    from ...planning.discovery import project_root
    from ...plugin import settings_of

    try:
        config = pytest.Config.fromdictargs({}, ["--noconftest", str(path)])
        settings = settings_of(config)
    except pytest.UsageError as error:
        raise DuctaflowError(str(error)) from None
    root = project_root(path, settings, config.invocation_params.dir, config.rootpath)
    return settings, root, tuple(config.getini("norecursedirs"))


def shown(path: Path | str) -> str:
    """Return a path as one would type it in the working directory, with `/` between its parts."""
    try:
        return Path(os.path.relpath(path)).as_posix()
    except ValueError:  # another drive
        return str(path)
