"""Move and delete files and folders of a run directory, of which others may hold a part."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_ATTEMPTS = 100  # to create a folder


def move(source: Path, target: Path, names: Iterable[str]) -> None:
    """Move files to the same names in another folder, and create folders there."""
    names = set(names)
    for name in sorted(name for name in names if not name.endswith("/")):
        if _is_file_or_link(source / name):
            make_folder((target / name).parent)
            _move_file(source / name, target / name)
    for name in sorted(name for name in names if name.endswith("/")):
        if (source / name).is_dir():
            make_folder(target / name)
    remove(source, (name for name in names if name.endswith("/")))


def _move_file(source: Path, target: Path) -> None:
    """Move a file, a link, a pipe or a socket."""
    if source.is_symlink() or source.is_file():
        shutil.move(source, target)
        return
    try:
        source.replace(target)
    except OSError:  # it cannot move to another disk, and holds nothing
        source.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, while other workers remove empty ones that they share with it."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Delete files, and those of the folders that are empty then."""
    names = set(names)
    for name in names:
        if not name.endswith("/") and _is_file_or_link(folder / name):
            (folder / name).unlink(missing_ok=True)
    for name in sorted((name for name in names if name.endswith("/")), reverse=True):  # deepest first
        shutil.rmtree(folder / name / "__pycache__", ignore_errors=True)
        with contextlib.suppress(OSError):  # another's file is in it
            (folder / name).rmdir()


def remove_empty(folder: Path, top: Path) -> None:
    """Delete an empty folder, and the empty folders around it, up to another one."""
    while folder != top and folder.is_relative_to(top):
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            break
        folder = folder.parent


def _is_file_or_link(path: Path) -> bool:
    """Return whether something other than a folder exists: a former file may be another's folder now."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir())
