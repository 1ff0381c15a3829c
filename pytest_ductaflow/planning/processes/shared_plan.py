"""Share with other processes what a plan knows of files that several instances write."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ...core.instance import RUNS
from ...core.run_directory.atomic import write_atomic
from ...core.run_directory.layout import LOCKS
from ...core.system.lineage import session_id
from ..plan import Plan


def share(plan: Plan, root: Path) -> Path:
    """Write what `MadeBeside` needs of a plan into a project, without configs; return the file.

    Raises:
        OSError: If it cannot be written.
    """
    path = root / RUNS / LOCKS / f"{session_id()}.plan"
    path.parent.mkdir(parents=True, exist_ok=True)
    emptied = "config", "secrets", "variables", "design"
    write_atomic(path, replace(plan, durations={}).dumps(emptied))
    return path


@dataclass(frozen=True)
class MadeBeside:
    """`Neighbours.made_beside` of an instance, in a process that has to read the plan for it.

    Attributes:
        plan: The file with the plan.
        number: Number of the instance in it.
    """

    plan: Path
    number: int

    def __call__(self, folder: str) -> Collection[str]:
        plan = _plan_in(self.plan)
        return plan.neighbours(self.number).made_beside(folder) if plan is not None else ()


@lru_cache(maxsize=2)
def _plan_in(path: Path) -> Plan | None:
    with contextlib.suppress(OSError):
        return Plan.loads(path.read_text(encoding="utf-8"))
    return None
