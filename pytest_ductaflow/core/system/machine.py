"""The cores of this machine, and how many workers of the session share them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

THREADS = "ductaflow"  # how names of threads begin that run instances side by side

# How many instances share the cores; in the environment, for processes that run some of them for this one.
SHARED_BY = "_DUCTAFLOW_SHARED_BY"

_lock = threading.Lock()
_running = 0  # instances that run in this process


def number_of_cores() -> int:
    """Return the number of workers that pytest-xdist's `-n auto` would start."""
    import psutil

    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


@contextlib.contextmanager
def core_in_use() -> Iterator[None]:
    """Count an instance that runs in this process, in whatever thread."""
    global _running  # noqa: PLW0603 - of this process
    with _lock:
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1


def is_shared() -> bool:
    """Return whether several instances run in this process, so that each holds up the others."""
    return _running > 1


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def usable_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or fewer in a container."""
    import psutil

    return min([int(psutil.virtual_memory().total), *_limits_of_groups()])


def _limits_of_groups(own: Path = Path("/proc/self/cgroup"), top: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Return the limits of memory that control groups set (Linux)."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                folder, name = top, "memory.max"
            elif "memory" in controllers.split(","):
                folder, name = top / "memory", "memory.limit_in_bytes"
            else:
                continue
            group = folder / path.lstrip("/")
            for place in {folder, group, *(each for each in group.parents if folder in each.parents)}:
                with contextlib.suppress(OSError, ValueError):  # there is none, or it is "max"
                    found.append(int((place / name).read_text(encoding="ascii")))
    return found


@contextlib.contextmanager
def shared_by(workers: int) -> Iterator[None]:
    """Say within the block how many instances share the cores, in this process and those that it starts."""
    earlier = os.environ.get(SHARED_BY)
    share_among(workers)
    try:
        yield
    finally:
        if earlier is None:
            os.environ.pop(SHARED_BY, None)
        else:
            os.environ[SHARED_BY] = earlier


def share_among(workers: int) -> None:
    """Say from now on how many instances share the cores, in this process and those that it starts."""
    os.environ[SHARED_BY] = str(workers)


def workers_of_session() -> int | None:
    """Return how many workers share the cores, of `-n` or of a call; None if there is only one process."""
    told = os.environ.get(SHARED_BY)
    return _workers_of_pytest() if told is None else int(told)


def _workers_of_pytest() -> int | None:
    count = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    return None if count is None else int(count)


def worker_here() -> str:
    """Return the name of the pytest worker or thread that runs an instance; "" in an only process."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    thread = threading.current_thread().name
    return worker or (thread if thread.startswith(THREADS) else "")


def has_idle_core() -> bool:
    """Return whether there are more cores than instances that run at a time."""
    return (_workers_of_pytest() or 1) * max(_running, 1) < usable_cores()
