"""Count the processes that the system has killed for lack of memory, by the counters of control groups."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def killed_for_memory(own: Path = _OWN, groups: Path = _GROUPS) -> int | None:
    """Return how many processes of this one's group the system has killed so far for lack of memory.

    Args:
        own: The file that lists the groups of this process.
        groups: The folder where control groups are mounted.

    Returns:
        The number; None if there is no counter, as on systems without control groups.
    """
    for file in _counters(own, groups):
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = file.read_text(encoding="ascii").splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return None


def _counters(own: Path, groups: Path) -> Iterator[Path]:
    """Yield the files that may hold the counter; in a container, the group's path may be the host's."""
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2 of control groups
                folder, name = groups, "memory.events"
            elif "memory" in controllers.split(","):
                folder, name = groups / "memory", "memory.oom_control"
            else:
                continue
            yield folder / path.lstrip("/") / name
            yield folder / name
