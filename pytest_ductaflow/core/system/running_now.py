"""Notes on what is running, for the commands `status` and `cancel`: sessions, and kernels of instances.

    runs/.locks/{host}-{pid}.session    while a session or a conductor as a script runs instances
    runs/.locks/{key}.kernel            while the flow of an instance runs; `key` as in `instance_lock`

A process that is killed leaves its notes behind, so each names the start time of its process, too.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ..instance import RUNS
from ..record import Owner
from ..run_directory.atomic import write_atomic
from ..run_directory.layout import LOCKS, RunFiles
from .instance_lock import is_alive, lock_file, this_process

_SESSION = ".session"
_KERNEL = ".kernel"


@dataclass(frozen=True)
class RunningSession:
    """A session that runs instances of a project.

    Attributes:
        owner: The process to interrupt: with xdist the controller.
        command: The command that started it.
        began: When it began to run instances, in ISO 8601.
        may_be_debugged: Whether it is at a terminal, where a debugger may be open that Ctrl-C only leaves; it
            ends at SIGTERM.
    """

    owner: Owner
    command: str
    began: str
    may_be_debugged: bool = False


def announce(root: Path, command: str, *, may_be_debugged: bool = False) -> Callable[[], None]:
    """Note that this process runs instances of a project, and return the function that removes the note."""
    me = this_process()
    folder = root / RUNS / LOCKS
    note = folder / f"{me.host}-{me.pid}{_SESSION}"
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    with contextlib.suppress(OSError):  # a read-only project is reported where it matters
        for old in folder.glob(f"*{_SESSION}"):
            if (found := _read_session(old)) is not None and not is_alive(found.owner):
                old.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(note, json.dumps(asdict(RunningSession(me, command, began, may_be_debugged))))

    def withdraw() -> None:
        if os.getpid() == me.pid:  # not in a fork
            with contextlib.suppress(OSError):
                note.unlink(missing_ok=True)

    return withdraw


def running_sessions(root: Path) -> list[RunningSession]:
    """Return the sessions that run instances of a project now, the oldest first."""
    found = map(_read_session, (root / RUNS / LOCKS).glob(f"*{_SESSION}"))
    alive = [session for session in found if session is not None and is_alive(session.owner)]
    return sorted(alive, key=lambda session: session.began)


def _read_session(note: Path) -> RunningSession | None:
    try:
        data = json.loads(note.read_text(encoding="utf-8"))
        return RunningSession(
            Owner(**data["owner"]),
            str(data["command"]),
            str(data["began"]),
            data.get("may_be_debugged", False),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def note_kernel(files: RunFiles, root: str | Path, group: int | None) -> None:
    """Note the process group of the kernel that runs an instance, if it is known."""
    if group is None:
        return
    with contextlib.suppress(OSError, psutil.Error):
        data = {"pid": group, "started": round(psutil.Process(group).create_time(), 3)}
        _kernel_note(files, root).write_text(json.dumps(data), encoding="utf-8")


def forget_kernel(files: RunFiles, root: str | Path) -> None:
    """Remove the note on the kernel of an instance."""
    with contextlib.suppress(OSError):
        _kernel_note(files, root).unlink(missing_ok=True)


def kernel_of(files: RunFiles, root: str | Path, host: str) -> Owner | None:
    """Return the kernel that runs an instance, and leads its process group, if it is known and alive.

    Args:
        files: Files of the instance.
        root: Its project root.
        host: The machine on which it runs.
    """
    try:
        data = json.loads(_kernel_note(files, root).read_text(encoding="utf-8"))
        kernel = Owner(host, int(data["pid"]), float(data["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return kernel if is_alive(kernel) else None


def _kernel_note(files: RunFiles, root: str | Path) -> Path:
    return lock_file(files, root).with_suffix(_KERNEL)
