"""One at a time: an instance belongs to one process while it runs.

The lock is an operating system's lock on a file in `runs/.locks`, so it ends with its process, however
that ends. What it protects is a record, not a folder: flows that share a run directory, or a build and a
flow within it, do not wait for each other.

The files stay when nobody holds them. They are empty, one for each instance that ever ran, and hidden; to
delete one would let two processes hold a lock each, one of them on the file that was deleted.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import psutil
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from . import run_files
from .errors import DuctaflowError
from .model import RUNS, Owner, Record
from .run_files import RunFiles

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # of file systems that know none
_PAUSE = 0.05  # seconds between two looks at a lock that somebody else holds
_UNTIL_TOLD = 1.0  # seconds in which a process that has just taken a lock says who it is
_LAST_WORDS = 10.0  # seconds in which the kernel of a process that was killed ends
_SAME_START = 1.0  # seconds by which the clock may tell the start of one process differently


class InUse(DuctaflowError):
    """Another process is running the instance; the message says which."""


def this_process() -> Owner:
    """The process in which this code runs."""
    return _owner(os.getpid())  # by its number: a fork is another process


@lru_cache(maxsize=1)
def _owner(pid: int) -> Owner:
    return Owner(socket.gethostname(), pid, round(psutil.Process(pid).create_time(), 3))


def is_alive(owner: Owner) -> bool:
    """Whether a process is still there; of one on another machine that cannot be told, and it may be."""
    if owner.host != socket.gethostname():
        return True
    try:
        started: float = psutil.Process(owner.pid).create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # another user's
        return True
    return abs(started - owner.started) <= _SAME_START


@contextlib.contextmanager
def held(
    files: RunFiles, root: str | Path, label: str, *, wait: bool, say: Callable[[str], None]
) -> Iterator[bool]:
    """Keep all other processes from running an instance.

    Args:
        files: Those of the instance.
        root: Its project root.
        label: What it is called in messages.
        wait: Whether to wait for another process that is running it.
        say: Gets one line if it has to wait.

    Yields:
        Whether it had to wait, so that what was known of the instance may be out of date.

    Raises:
        InUse: If another process is running it and `wait` is false, or it is run within itself.
        OSError: If there can be no lock.
    """
    lock: BaseFileLock = FileLock(_lock_file(files, root))
    try:
        has_waited = not _is_taken(lock)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        lock = SoftFileLock(f"{lock.lock_file}.held")
        has_waited = not _is_taken(lock)
    if has_waited:
        _wait_for(lock, files, label, wait=wait, say=say)
    try:
        yield has_waited
    finally:
        lock.release()


def is_free(files: RunFiles, root: str | Path) -> bool:
    """Whether no process is running an instance."""
    with contextlib.suppress(OSError):
        lock = FileLock(_lock_file(files, root))
        if not _is_taken(lock):
            return False
        lock.release()
    return True


def _lock_file(files: RunFiles, root: str | Path) -> Path:
    """The file to lock, in a folder that is there.

    It is in the project's `runs/`, also for a run directory elsewhere, in which people look; only where the
    project cannot be written to, it is in the run directory.
    """
    runs = Path(root) / RUNS
    name = os.path.relpath(files.directory, runs) if files.directory.is_relative_to(runs) else files.directory
    # A digest: the name of a run directory may be as long as a path can be.
    key = hashlib.sha256(os.fsencode(f"{name}/{files.stem}")).hexdigest()[:16]
    folder = runs / run_files.LOCKS
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = files.directory / run_files.LOCKS
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{key}.lock"


def _is_taken(lock: BaseFileLock) -> bool:
    """Take a lock if nobody holds it."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _wait_for(
    lock: BaseFileLock, files: RunFiles, label: str, *, wait: bool, say: Callable[[str], None]
) -> None:
    """Take a lock as soon as the process that holds it has ended its run.

    Raises:
        InUse: If that cannot come to pass, or is not wanted.
    """
    if files.journal in run_files.builds_around():
        raise InUse(f"{label} would be run within itself: {files.directory} is its own run directory")
    deadline = time.monotonic() + _UNTIL_TOLD
    told = False
    while not _is_taken(lock):
        record, _ = run_files.read_record(files.record)
        owner = record.owner if record is not None else None
        if not told and (owner is not None or time.monotonic() > deadline):
            text = f"{label} is being run by {_who(owner, record)}"
            if not wait:
                raise InUse(text)
            say(f"{text}: waiting")
            told = True
        time.sleep(_PAUSE)


def _who(owner: Owner | None, record: Record | None) -> str:
    if owner is None or record is None:
        return "another process"
    since = datetime.datetime.fromisoformat(record.started).astimezone()
    return f"process {owner.pid} on {owner.host} since {since:%H:%M}"


def wait_for_orphans(owner: Owner, directory: Path) -> None:
    """Wait for the kernel of a process that was killed over an instance: it may outlive it by a moment."""
    if owner.host != socket.gethostname() or is_alive(owner):
        return
    deadline = time.monotonic() + _LAST_WORDS
    while time.monotonic() < deadline and any(_works_in(directory)):
        time.sleep(_PAUSE)


def _works_in(directory: Path) -> Iterator[int]:
    """Processes whose working directory is a run directory, less the shells of people who look at it."""
    real = os.path.realpath(directory)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd() == real and process.pid != os.getpid() and process.terminal() is None:
                yield process.pid
