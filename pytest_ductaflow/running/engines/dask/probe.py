"""Ask a worker what it is and what it sees, before it gets anything to run.

This module is sent to workers as code, since they may not have this package: it imports nothing of it, and
all that is in it is called there.
"""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any


def look(question: dict[str, Any], dask_worker: Any = None) -> dict[str, Any]:
    """Return what a worker has.

    Args:
        question: `packages`, names of distributions, and `files`, paths of files.
        dask_worker: The worker, which Dask gives.

    Returns:
        `python`, `host`, its `id`, `versions` by distribution, and `files`: the text at each path, or why
        there is none. Beside each of these, it has written another one whose name ends in its id.
    """
    me = str(getattr(dask_worker, "id", "")).rpartition("-")[2]
    return {
        "python": platform.python_version(),
        "host": platform.node(),
        "id": me,
        "versions": {name: _version(name) for name in question["packages"]},
        "files": {path: _seen(path, me) for path in question["files"]},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _seen(path: str, me: str) -> str:
    """Return the text of a file, after writing the same beside it; or why that is not possible."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(f"{path}.{me}", "w", encoding="utf-8") as file:
            file.write(f"{text}{me}")
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    return text
