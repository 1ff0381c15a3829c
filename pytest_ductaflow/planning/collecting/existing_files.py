"""Distinguish files and folders of a project that existed before this process from those it created."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

from ...core.system.file_state import created_ns
from ...sources.instance_names import path_key

_COARSE = 20_000_000  # ns by which a file system's clock may lag behind
_real_stat, _real_lstat = os.stat, os.lstat  # `guard` replaces them


class ExistingFiles:
    """The files of a project, divided into those that existed before and those the process created.

    A file counts as created by the process if an event reported that, or if it is younger than the process:
    compiled libraries and child processes create files without events.

    Args:
        root: The project root; files elsewhere are ignored.
    """

    def __init__(self, root: Path) -> None:
        self._began = time.time_ns() - _COARSE
        self._root = f"{path_key(os.path.realpath(root))}{os.sep}"
        self._own: set[str] = set()
        self._older: set[str] = set()  # known to have existed before, whatever their times are now
        self._folders: dict[str, str] = {}

    def place(self, path: str) -> str:
        """Return the path of a file or link with all links in its parent folders resolved."""
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return os.path.join(self._folders[folder], name)

    def target(self, path: str) -> str:
        """Return the file that is opened under a path."""
        place = self.place(path)
        return os.path.realpath(place) if os.path.islink(place) else place

    def is_within(self, place: str) -> bool:
        """Return whether a place is in the project and not in a cache."""
        key = path_key(place)
        return key.startswith(self._root) and not any(map(_is_cache, key[len(self._root) :].split(os.sep)))

    def has_made(self, place: str) -> bool:
        """Return whether this process has created exactly this file or folder."""
        return path_key(place) in self._own

    def was_there(self, place: str) -> bool:
        """Return whether what is at a place, or something inside it, existed before the process."""
        key = path_key(place)
        if not self.is_within(place) or self._is_own(key):
            return False
        try:
            status = _real_lstat(place)
        except OSError:
            return False
        if key in self._older or created_ns(status) < self._began:
            return True
        return stat.S_ISDIR(status.st_mode) and any(
            self.was_there(os.path.join(place, name)) for name in os.listdir(place)
        )

    def has_content(self, place: str) -> bool:
        """Return whether overwriting a file would lose content."""
        try:
            status = _real_stat(place)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size > 0

    def made(self, place: str) -> None:
        """Note that the process is about to create something, unless it existed already."""
        if not self.was_there(place):
            self._own.add(path_key(place))

    def touched(self, place: str) -> None:
        """Note that the process is about to change the times of what may have existed already."""
        if self.was_there(place):
            self._older.add(path_key(place))

    def _is_own(self, key: str) -> bool:
        while key not in self._own:
            parent = os.path.dirname(key)
            if parent == key:
                return False
            key = parent
        return True


def _is_cache(part: str) -> bool:
    """Return whether a folder is named like a cache, whose files are regenerated if missing."""
    return part in ("__pycache__", "cache", "caches") or (part.startswith(".") and "cache" in part)


def in_folder(path: object, descriptor: object = -1) -> str | None:
    """Return the path in an audit event as text; None if it cannot be determined.

    Args:
        path: Text, bytes or a path-like object; the descriptor of an open file.
        descriptor: Descriptor of the open folder to which the path is relative, if it is.
    """
    if path is None:
        return os.curdir
    if isinstance(path, int):
        return _of_descriptor(path)
    try:
        text = os.fsdecode(path)  # type: ignore[arg-type]
    except TypeError:
        return None
    if isinstance(descriptor, int) and descriptor >= 0 and not os.path.isabs(text):
        folder = _of_descriptor(descriptor)
        return None if folder is None else os.path.join(folder, text)
    return text


def _of_descriptor(number: int) -> str | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return None
