"""Locks that let only one process at a time, and only one of its threads, run an instance.

The operating system locks a file in `runs/.locks`, so the lock ends with its process, however that ends.
It protects a record, not a folder: flows that share a run directory, or a build and a flow within it, do
not wait for each other.

Unlocked files stay. They are empty and hidden, one for each instance that ever ran; deleting one would let
two processes hold a lock each, one of them on the deleted file. Beside them are the notes of `running_now`.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import psutil

from ..errors import InUse
from ..instance import RUNS
from ..record import Owner, Record
from ..run_directory import build_variable, layout, record_files
from ..run_directory.layout import RunFiles
from . import interrupts
from .file_lock import Lock, has_no_locks, lock_on, marker_beside

_PAUSE = 0.05  # seconds between polls of a lock that another process holds
_UNTIL_TOLD = 1.0  # seconds for a process that has just taken a lock to write its id to the record
_LAST_WORDS = 10.0  # seconds for the kernel of a killed process to end
_SAME_START = 1.0  # seconds by which two readings of one process's start time may differ


def this_process() -> Owner:
    """Return the process in which this code runs."""
    return _owner(os.getpid())  # cached by pid: a fork is another process


@lru_cache(maxsize=1)
def _owner(pid: int) -> Owner:
    return Owner(socket.gethostname(), pid, round(psutil.Process(pid).create_time(), 3))


def is_alive(owner: Owner) -> bool:
    """Return whether a process is still alive; one on another machine is assumed to be."""
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
        files: Files of the instance.
        root: Its project root.
        label: Its name in messages.
        wait: Whether to wait for another process that is running it.
        say: Callback for one line if it has to wait.

    Yields:
        Whether it had to wait, so that what was known of the instance may be out of date.

    Raises:
        InUse: If another process is running it and `wait` is false, or it would run within itself.
        OSError: If no lock can be made.
    """
    file = lock_file(files, root)
    lock = lock_on(file)
    try:
        has_waited = not lock.take()
    except OSError as error:
        if not has_no_locks(error):
            raise
        lock = marker_beside(file)
        has_waited = not lock.take()
    if has_waited:
        _wait_for(lock, files, label, wait=wait, say=say)
    try:
        yield has_waited
    finally:
        lock.release()


def is_free(files: RunFiles, root: str | Path) -> bool:
    """Return whether no process is running an instance."""
    with contextlib.suppress(OSError):
        lock = lock_on(lock_file(files, root))
        if not lock.take():
            return False
        lock.release()
    return True


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep all other processes and threads that lock the same file waiting; nobody, where there are no locks.

    Raises:
        OSError: If the file cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = lock_on(file)
    try:
        while not lock.take():
            time.sleep(_PAUSE)
    except OSError as error:
        if not has_no_locks(error):
            raise
    try:
        yield
    finally:
        lock.release()


def lock_file(files: RunFiles, root: str | Path) -> Path:
    """Return the file to lock, after creating its folder.

    The folder is in the project's `runs/`, even for a run directory elsewhere, in which users look; only if
    the project is not writable, it is in the run directory.
    """
    # Texts, as it is asked for several times for each instance: they have their hash already.
    folder, path = _place_of_lock(str(files.directory), files.stem, str(root))
    try:
        if not os.path.isdir(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        path = files.directory / layout.LOCKS / path.name
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


@lru_cache(maxsize=1_024)
def _place_of_lock(directory: str, stem: str, root: str) -> tuple[str, Path]:
    """Return the folder of locks, and the file in it to lock for a flow in a run directory."""
    runs = os.path.join(root, RUNS)
    is_inside = f"{directory}{os.sep}".startswith(f"{runs}{os.sep}")
    name = os.path.normpath(directory[len(runs) + 1 :]) if is_inside else directory
    # A digest: the name of a run directory may be as long as a path can be.
    key = hashlib.sha256(os.fsencode(f"{name}/{stem}")).hexdigest()[:16]
    folder = os.path.join(runs, layout.LOCKS)
    return folder, Path(folder, f"{key}.lock")


def _wait_for(lock: Lock, files: RunFiles, label: str, *, wait: bool, say: Callable[[str], None]) -> None:
    """Wait for the process that holds a lock to end its run, then take the lock.

    Raises:
        InUse: If that can never happen, or `wait` is false.
    """
    if files.journal in build_variable.builds_around():
        raise InUse(f"{label} would be run within itself: {files.directory} is its own run directory")
    deadline = time.monotonic() + _UNTIL_TOLD
    told = False
    while not lock.take():
        record, _ = record_files.read_record(files.record)
        owner = record.owner if record is not None else None
        if not told and (owner is not None or time.monotonic() > deadline):
            text = f"{label} is being run by {_who(owner, record)}"
            if not wait:
                raise InUse(text)
            say(f"{text}: waiting")
            told = True
        interrupts.raise_if_pressed()
        time.sleep(_PAUSE)


def _who(owner: Owner | None, record: Record | None) -> str:
    if owner is None or record is None:
        return "another process"
    since = datetime.datetime.fromisoformat(record.started).astimezone()
    who = "another thread" if owner == this_process() else f"process {owner.pid} on {owner.host}"
    return f"{who} since {since:%H:%M}"


def wait_for_orphans(owner: Owner, directory: Path) -> None:
    """Wait for the kernel of a process that was killed during an instance: it may outlive it briefly."""
    if owner.host != socket.gethostname() or is_alive(owner):
        return
    deadline = time.monotonic() + _LAST_WORDS
    while time.monotonic() < deadline and any(_works_in(directory)):
        time.sleep(_PAUSE)


def _works_in(directory: Path) -> Iterator[int]:
    """Yield the ids of processes whose working directory is a run directory, except users' shells."""
    real = os.path.realpath(directory)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd() == real and process.pid != os.getpid() and process.terminal() is None:
                yield process.pid
