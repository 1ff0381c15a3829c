"""Find the warm processes that a session may use: those of its user, interpreter and environment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
from pathlib import Path

from .client import WarmProcess
from .start import folder_for_sockets, variables_at_start

CONDUCTORS, RUNS = "conductors", "runs"  # the kinds of warm processes
_PACKAGE = str(Path(__file__).parents[2])
_RIGHTS = ("Uid", "Gid", "Cap", "NoNewPrivs", "Seccomp:")  # lines of a process's status
_NAMESPACES = ("mnt", "net", "pid", "user", "ipc", "uts")


def private_folder(*, make: bool = False) -> Path | None:
    """Return the folder for the sockets of this user's warm processes; None if it is missing, or not private.

    Args:
        make: Whether to make it.
    """
    folder = Path(folder_for_sockets(), f"ductaflow-{os.getuid()}")
    with contextlib.suppress(OSError):
        if make:
            folder.mkdir(mode=0o700, exist_ok=True)
        status = os.lstat(folder)
        is_private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
        return folder if is_private and status.st_uid == os.getuid() else None
    return None


def socket_of(kind: str, *, make: bool = False) -> Path | None:
    """Return the path of the socket of a warm process that this one could use, if there were one.

    Args:
        kind: Which of the warm processes.
        make: Whether to make the folder that it lies in.
    """
    folder = private_folder(make=make)
    return folder / f"{_start_digest()}.{kind}" if folder is not None else None


def find(kind: str) -> WarmProcess | None:
    """Return the warm process of a kind that this one may use; None if there is none, or it is stale.

    One that is stale is told to end.
    """
    path = socket_of(kind) if sys.platform == "linux" and not _depends_on_folder() else None
    if path is None or not path.exists():
        return None
    found = WarmProcess(path)
    try:
        if found.ask("state")["stale"] is None:
            return found
        found.ask("stop")
    except (OSError, KeyError):  # it has ended
        with contextlib.suppress(OSError):
            path.unlink()
    return None


def all_of_this_user() -> list[WarmProcess]:
    """Return all warm processes of this user."""
    folder = private_folder()
    return [WarmProcess(path) for path in sorted(folder.iterdir()) if path.is_socket()] if folder else []


def _depends_on_folder() -> bool:
    """Return whether the working directory at its start decides from where a process imports."""
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return any(folder and not os.path.isabs(folder) for folder in folders)


def _start_digest() -> str:
    """Return a digest of all that a process inherits and cannot change later, or libraries read only once."""
    import resource

    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    given = {
        "interpreter": [sys.executable, sys.prefix, sys.version],
        "package": _PACKAGE,
        "variables": variables_at_start(os.environ),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in limits},
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "cores": sorted(os.sched_getaffinity(0)),
        "groups": sorted(os.getgroups()),
        "session": _read("/proc/self/cgroup"),
        "rights": [line for line in _read("/proc/self/status").splitlines() if line.startswith(_RIGHTS)],
        "namespaces": [_link(f"/proc/self/ns/{name}") for name in _NAMESPACES],
    }
    return hashlib.sha256(json.dumps(given).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _read(path: str) -> str:
    with contextlib.suppress(OSError, ValueError):
        return Path(path).read_text(encoding="utf-8")
    return ""


def _link(path: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return ""
