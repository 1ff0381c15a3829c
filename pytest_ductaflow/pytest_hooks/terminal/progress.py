"""Count how the instances of a session have ended, which run, and how long the others still take."""

from __future__ import annotations

import datetime
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...report.budget import Budget
from ...report.time_left import TimeLeft

SHARE = 0.005  # largest fraction of the time, as time of a processor, spent on the time left
PAUSE = 1.0  # minimum seconds between two estimates
_RUNNING, _WAITING, _ENDED = "running", "waiting", "ended"


@dataclass(frozen=True)
class Snapshot:
    """A session at one moment.

    Attributes:
        total: How many instances it runs.
        running: How many run now.
        outcomes: How many have ended in which way: `passed`, `unchanged`, `warned`, `failed`, `blocked` or
            `skipped`.
        left: Seconds that it still takes; None if that is not known.
        slowest: Label of the instance that has been running longest, and its seconds; None if none runs.
    """

    total: int
    running: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    left: float | None = None
    slowest: tuple[str, float] | None = None

    @property
    def done(self) -> int:
        return sum(self.outcomes.values())

    @property
    def waiting(self) -> int:
        return max(self.total - self.done - self.running, 0)


class Progress:
    """What is known of the instances of a session; any thread may ask for it."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._rows: dict[str, dict[str, Any]] = {}  # as the estimate takes those of the report
        self._began: dict[str, float] = {}  # of those that run, in the order of their start
        self._outcomes: dict[str, str] = {}
        self._time_left: TimeLeft | None = None
        self._budget = Budget(SHARE)
        self._estimate: tuple[float, float] | None = None  # seconds left, and when that was
        self._estimated = -PAUSE
        self._lock = threading.Lock()

    def begin(self, labels: Mapping[str, str], time_left: TimeLeft) -> None:
        """Take the instances that will run, by node id, and what estimates their time."""
        with self._lock:
            self._labels = dict(labels)
            self._rows = {node_id: {"status": _WAITING} for node_id in labels}
            self._time_left = time_left

    def started(self, node_id: str) -> bool:
        """Note that an instance runs; return whether it is one."""
        with self._lock:
            if node_id not in self._rows:
                return False
            self._outcomes.pop(node_id, None)  # it runs once more
            self._began.pop(node_id, None)
            self._began[node_id] = time.monotonic()
            now = datetime.datetime.now(datetime.UTC).isoformat()
            self._rows[node_id] = {"status": _RUNNING, "started": now}
            return True

    def waits(self, node_id: str) -> None:
        """Note that an instance has failed, and waits for its next attempt."""
        with self._lock:
            if node_id in self._rows:
                self._began.pop(node_id, None)
                self._rows[node_id] = {"status": _WAITING}

    def ended(self, node_id: str, outcome: str, seconds: float | None = None) -> None:
        """Note how an instance has ended, and what it took."""
        with self._lock:
            if node_id in self._rows:
                self._began.pop(node_id, None)
                self._outcomes[node_id] = outcome
                is_unchanged = outcome == "unchanged"
                self._rows[node_id] = {"status": _ENDED, "duration": seconds, "unchanged": is_unchanged}

    def snapshot(self) -> Snapshot:
        """Return how things are."""
        now = time.monotonic()
        with self._lock:
            rows, outcomes = dict(self._rows), Counter(self._outcomes.values())
            first = next(iter(self._began.items()), None)
            running = len(self._began)
        slowest = (self._labels[first[0]], now - first[1]) if first is not None else None
        return Snapshot(len(rows), running, outcomes, self._left(rows, now), slowest)

    def _left(self, rows: Mapping[str, Mapping[str, Any]], now: float) -> float | None:
        """Return the seconds left: between two estimates, which take time, they are counted down."""
        if self._time_left is None:
            return None
        if now >= max(self._budget.due, self._estimated + PAUSE):
            used = time.thread_time()
            left = self._time_left.seconds(rows)
            self._estimate = None if left is None else (left, now)
            self._estimated = now
            self._budget.spend(time.thread_time() - used)
        if self._estimate is None:
            return None
        left, since = self._estimate
        return max(left - (now - since), 0.0)
