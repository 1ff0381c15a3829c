"""The cores of this machine, and how many workers of the session share them."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def workers_of_session() -> int | None:
    """Return how many workers run instances (`-n`); None if this is no worker."""
    count = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    return None if count is None else int(count)


def has_idle_core() -> bool:
    """Return whether there are more cores than instances that run at a time."""
    return (workers_of_session() or 1) < usable_cores()
