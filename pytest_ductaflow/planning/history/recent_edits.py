"""Guess from time stamps whether anything in a project has changed since its last session."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ...core.instance import RUNS
from ...core.run_directory.layout import REPORT

_LOOKED_AT = 2_000  # files; a larger project is assumed to have changed
_DEPTH = 3  # levels of folders below the project root that are searched
_OF_TOOLS = ("__pycache__", "node_modules")


def may_have_changed(root: Path) -> bool:
    """Return whether a project has a file that is newer than its report, or no report.

    It is a guess, good for deciding what to get ready and not for deciding what runs.
    """
    try:
        last_session = os.stat(root / RUNS / REPORT).st_mtime_ns
    except OSError:
        return True
    waiting, looked_at = [(str(root), 0)], 0
    while waiting:
        folder, depth = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                looked_at += 1
                if entry.is_dir(follow_symlinks=False):
                    if depth < _DEPTH and not _is_left_out(entry.name):
                        waiting.append((entry.path, depth + 1))
                elif looked_at > _LOOKED_AT or entry.stat().st_mtime_ns > last_session:
                    return True
    return False


def _is_left_out(folder: str) -> bool:
    return folder == RUNS or folder.startswith(".") or folder in _OF_TOOLS
