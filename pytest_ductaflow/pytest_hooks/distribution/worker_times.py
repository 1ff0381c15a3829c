"""Keep which worker runs which instance, and when workers are idle, for the timeline of the report."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from ...graph.waits import IdleTimes, Wait


@dataclass
class WorkerTimes:
    """What the scheduler knows of its workers.

    Attributes:
        begun: Worker of each instance that was given out, and what the instance had waited for.
        idle: Times without work.
    """

    begun: dict[int, tuple[str, Wait | None]] = field(default_factory=dict)
    idle: IdleTimes = field(default_factory=IdleTimes)


TIMES = pytest.StashKey[WorkerTimes]()
