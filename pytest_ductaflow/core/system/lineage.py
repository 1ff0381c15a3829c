"""Tell where a run comes from: its session, the machine, the project's commit, and tags of the user.

Git is asked once for each project and process, by a process that runs beside the first instance. Without
Git, or outside of a repository, there is no commit.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import platform
import secrets
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PATIENCE = 10.0  # seconds that a first instance that has ended waits for Git
_DESCRIBE = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
_DIRTY = "-dirty"

_lock = threading.Lock()
_session = ""
_tags: tuple[str, ...] = ()


def begin_session(name: str = "", tags: Sequence[str] = ()) -> None:
    """Begin a session, which may be that of another process.

    Args:
        name: Its id; by default a new one, made of the time and a random number.
        tags: Texts of the user, `KEY=VALUE` or any other.
    """
    global _session, _tags  # noqa: PLW0603 - a process has one session at a time
    now = datetime.datetime.now(datetime.UTC)
    _session = name or f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    _tags = tuple(tags)


def session_id() -> str:
    """Return the id of this session; a script's begins with the first call."""
    with _lock:
        if not _session:
            begin_session()
        return _session


def lineage_here(root: str) -> dict[str, Any]:
    """Return what is known at once: `session`, `host`, and `tags` if there are any; begin to ask Git.

    Args:
        root: The project root.
    """
    with _lock:
        if root not in _asked:
            _asked[root] = _Git(root)
    said: dict[str, Any] = {"session": session_id(), "host": platform.node()}
    return {**said, "tags": list(_tags)} if _tags else said


def commit_of(root: str) -> dict[str, Any]:
    """Return `commit` and whether tracked files differed from it (`dirty`); empty if that is not known.

    Args:
        root: The project root, which `lineage_here` was called with.
    """
    with _lock:
        asked = _asked.get(root)
        return asked.answer if asked is not None else {}


class _Git:
    """A question to Git that is answered in the background.

    Args:
        root: The project root.
    """

    def __init__(self, root: str) -> None:
        self._known: dict[str, Any] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._owner = os.getpid()
        path = Path(root)
        if not any((folder / ".git").exists() for folder in (path, *path.parents)):
            return
        with contextlib.suppress(OSError):  # Git is not installed
            self._process = subprocess.Popen(
                ["git", "-C", root, *_DESCRIBE],  # noqa: S607 - whichever Git the user has
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # so that it writes nothing
            )
            atexit.register(self._end)

    @property
    def answer(self) -> dict[str, Any]:
        """What Git has said, for which this waits, but not for long."""
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, Any]:
        process = self._process
        if process is None or self._owner != os.getpid():  # a forked process, which cannot wait for it
            return {}
        try:
            said = process.communicate(timeout=_PATIENCE)[0].strip()
        except (subprocess.TimeoutExpired, OSError, ValueError):
            self._end()
            return {}
        if process.returncode != 0 or not said:
            return {}
        return {"commit": said.removesuffix(_DIRTY), "dirty": said.endswith(_DIRTY)}

    def _end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()


_asked: dict[str, _Git] = {}
