"""Idle cores of this machine while instances run."""

from __future__ import annotations

import os


def has_idle_core() -> bool:
    """Return whether there are more cores than instances that run at a time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) < cores
