"""Cores of this machine, and those idle while instances run."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

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


def has_idle_core() -> bool:
    """Return whether there are more cores than instances that run at a time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return processes * max(_running, 1) < cores
