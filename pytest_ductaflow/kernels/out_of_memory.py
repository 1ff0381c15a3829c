"""Whether the system has killed processes because memory ran out, as control groups tell; None elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def killed_for_memory(own: Path = _OWN, groups: Path = _GROUPS) -> int | None:
    """How many processes of this one's group the system has killed so far because memory ran out.

    Args:
        own: Tells in which groups this process is.
        groups: Where groups are files.

    Returns:
        None if nobody tells.
    """
    for file in _counters(own, groups):
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = file.read_text(encoding="ascii").splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return None


def _counters(own: Path, groups: Path) -> Iterator[Path]:
    """Where it may be told: within a container the path of its group may be that of the system outside."""
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
