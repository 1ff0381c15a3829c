"""Locks of the operating system on files, which end with their process, however that ends.

Where there is `flock`, it is called here: that takes 0.01 ms, and filelock, which serves elsewhere, 0.3 ms.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from filelock import FileLock

HAS_FLOCK = sys.platform != "win32"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # from file systems without locks


class Lock(Protocol):
    """A lock that one process at a time has, and one of its threads."""

    def take(self) -> bool:
        """Take the lock if it is free, and return whether that succeeded.

        Raises:
            OSError: If there are no locks, or the file cannot be made.
        """

    def release(self) -> None:
        """Release the lock, if it was taken."""


def lock_on(file: Path) -> Lock:
    """Return the lock on a file, which is made when it is taken, and stays."""
    return _Flock(file) if HAS_FLOCK else _LockOfLibrary(file)


def marker_beside(file: Path) -> Lock:
    """Return a lock that is a file beside another one, for file systems without locks.

    It stays if its process is killed; filelock removes it once that process is known to be gone.
    """
    return _LockOfLibrary(file.with_name(f"{file.name}.held"), is_marker=True)


def has_no_locks(error: OSError) -> bool:
    """Return whether an error says that a file system has no locks."""
    return error.errno in _NO_LOCKS


class _Flock:
    """A lock by `flock`.

    It belongs to the open file, which forks share: they close it, so that none keeps what its parent had.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None

    def take(self) -> bool:
        import fcntl  # which Windows has not

        while True:
            descriptor = _opened(self._file)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_there = os.fstat(descriptor).st_nlink > 0
            except BaseException as error:
                os.close(descriptor)
                if isinstance(error, BlockingIOError | PermissionError):  # some systems say the latter
                    return False
                raise
            if is_there:
                self._descriptor = descriptor
                _held.add(self)
                return True
            os.close(descriptor)  # removed in between, as older versions of filelock do: another one counts

    def release(self) -> None:
        import fcntl

        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # then closing releases it
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.close()

    def close(self) -> None:
        """Close the file, which releases the lock only if no fork has it open."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)  # before the file is closed: another thread may fork
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _opened(file: Path) -> int:
    """Open a file that all who may write to its folder can lock.

    Raises:
        OSError: If it cannot be made.
    """
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError as error:
        with contextlib.suppress(OSError):  # another user's: what can be read can be locked
            return os.open(file, os.O_RDONLY)
        raise error from None


_held: set[_Flock] = set()


def _close_all() -> None:
    for lock in list(_held):
        lock.close()


if HAS_FLOCK:
    os.register_at_fork(after_in_child=_close_all)


class _LockOfLibrary:
    """A lock of filelock, or its marker."""

    def __init__(self, file: Path, *, is_marker: bool = False) -> None:
        from filelock import FileLock, SoftFileLock  # not needed where there is `flock`

        self._lock = SoftFileLock(file) if is_marker else FileLock(file, **_without_probe(FileLock))

    def take(self) -> bool:
        from filelock import Timeout

        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        self._lock.release()


def _without_probe(kind: type[FileLock]) -> dict[str, Any]:
    """Return the options with which newer versions make no file first, to see whether there are locks."""
    return {"fallback_to_soft": False} if "fallback_to_soft" in signature(kind.__init__).parameters else {}
