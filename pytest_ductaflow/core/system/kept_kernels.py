"""Kernels of failed instances that go on running after their session, and how they end.

    runs/.locks/{key}.kept      while one does, or until the instance runs again; `key` as in `instance_lock`

The note names the process with its start time, so that no other process is taken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ..instance import RUNS
from ..record import Owner
from ..run_directory.atomic import write_atomic
from ..run_directory.layout import LOCKS, RunFiles
from .instance_lock import is_alive, lock_file, this_process

IDLE = 12 * 3600.0  # seconds without a request after which one ends by itself
MOST = 10  # of a project
_SUFFIX = ".kept"
_PATIENCE = 3.0  # seconds between SIGTERM and SIGKILL, and for the process to be gone


@dataclass(frozen=True)
class KeptKernel:
    """A kernel that goes on running.

    Attributes:
        label: The instance, as `step/name`.
        owner: Its process.
        connection_file: The file with which a client connects to it; its folder is the kernel's own.
        note: The file that tells of it.
    """

    label: str
    owner: Owner
    connection_file: str
    note: Path


def note(files: RunFiles, root: str | Path, label: str, pid: int, connection_file: str) -> None:
    """Note that the kernel of an instance goes on running."""
    with contextlib.suppress(OSError, psutil.Error):
        started = round(psutil.Process(pid).create_time(), 3)
        owner = Owner(this_process().host, pid, started)
        data = {"label": label, "owner": asdict(owner), "connection_file": connection_file}
        write_atomic(_note(files, root), json.dumps(data))


def kept_of(files: RunFiles, root: str | Path) -> KeptKernel | None:
    """Return the kernel of an instance that goes on running; None if there is none."""
    try:
        return _read(_note(files, root))
    except OSError:
        return None


def all_kept(root: str | Path) -> list[KeptKernel]:
    """Return all kernels of a project that go on running, by instance."""
    found = map(_read, Path(root, RUNS, LOCKS).glob(f"*{_SUFFIX}"))
    return sorted(filter(None, found), key=lambda kept: kept.label)


def end_of(files: RunFiles, root: str | Path) -> str | None:
    """End the kernel of an instance that goes on running, before the instance runs again.

    Returns:
        Why it cannot be ended; None if there is none any more.
    """
    kept = kept_of(files, root)
    return None if kept is None else end(kept)


def end(kept: KeptKernel) -> str | None:
    """End a kernel and what its flow has started; return why that is not possible, or None if it is done."""
    if kept.owner.host != this_process().host:
        where = f"process {kept.owner.pid} on {kept.owner.host}"
        how = f"end it there first (ductaflow cancel {kept.label})"
        return f"the kernel of {kept.label} was kept, {where}: {how}"
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(kept.owner.pid)
        below = process.children(recursive=True)
        for each in (process, *below):
            with contextlib.suppress(psutil.Error):
                each.terminate()
        _, left = psutil.wait_procs([process, *below], timeout=_PATIENCE)
        for each in left:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(left, timeout=_PATIENCE)
    if is_alive(kept.owner) and _runs(kept.owner.pid):
        return f"the kernel of {kept.label} was kept and does not end: end process {kept.owner.pid}"
    shutil.rmtree(os.path.dirname(kept.connection_file), ignore_errors=True)
    kept.note.unlink(missing_ok=True)
    return None


def is_in_use(folder: str) -> bool:
    """Return whether a kernel that goes on running uses a folder."""
    return os.path.exists(os.path.join(folder, _SUFFIX))


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _note(files: RunFiles, root: str | Path) -> Path:
    return lock_file(files, root).with_suffix(_SUFFIX)


def _read(file: Path) -> KeptKernel | None:
    """Return the kernel that a note tells of, if it is alive; remove the note otherwise."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        kept = KeptKernel(str(data["label"]), Owner(**data["owner"]), str(data["connection_file"]), file)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if is_alive(kept.owner) and (kept.owner.host != this_process().host or _runs(kept.owner.pid)):
        return kept
    folder = os.path.dirname(kept.connection_file)
    if kept.owner.host == this_process().host and is_in_use(folder):  # it was killed
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        file.unlink()
    return None
