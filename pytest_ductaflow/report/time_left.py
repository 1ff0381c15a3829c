"""Estimate how long a session still takes, from what its instances took before and take now."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.instance import Instance
from ..graph.digraph import Before
from ..graph.expected_durations import expected_durations
from ..graph.ready_queue import longest_ways


class TimeLeft:
    """The time that the instances of a plan still take.

    Args:
        instances: All instances of the plan.
        before: The nodes that must end before each; the first ones are the instances.
        durations: Seconds that instances took when they last ran, by number.
        numbers: Number of the instance of each row, by the row's id.
        workers: How many run at a time.

    Attributes:
        workers: The same, which may change.
    """

    def __init__(
        self,
        instances: Sequence[Instance],
        before: Before,
        durations: Mapping[int, float],
        numbers: Mapping[str, int],
        workers: int,
    ) -> None:
        self._instances = instances
        self._before = before
        self._durations = durations
        self._numbers = numbers
        self.workers = workers

    def seconds(self, rows: Mapping[str, Mapping[str, Any]]) -> float | None:
        """Return the seconds left; None if nothing is known yet of how long instances take.

        It is the larger one of two: the work that is left, shared by the workers, and the longest chain of
        instances that wait for each other.

        Args:
            rows: The rows of the report by their ids.
        """
        mine = {self._numbers[name]: row for name, row in rows.items() if name in self._numbers}
        mine = {number: row for number, row in mine.items() if not row.get("earlier")}
        took = {number: _took(row) for number, row in mine.items() if _has_ended(row)}
        known = dict(self._durations)
        known |= {number: seconds for number, seconds in took.items() if not mine[number].get("unchanged")}
        if not known:
            return None
        expected = expected_durations(self._instances, known)
        pace = self._pace(took)
        left = {
            number: max(0.0, expected[number] * pace - _elapsed(row))
            for number, row in mine.items()
            if not _has_ended(row)
        }
        if not left:
            return 0.0
        return max(sum(left.values()) / max(self.workers, 1), *longest_ways(self._before, left))

    def _pace(self, took: Mapping[int, float]) -> float:
        """Return what those that have ended took, as a share of what was expected of them.

        Unchanged ones take no time, and another machine may be faster. One more, as expected, stands for
        all that is not known yet.
        """
        before = [self._durations[number] for number in took if number in self._durations]
        now = [seconds for number, seconds in took.items() if number in self._durations]
        usual = statistics.fmean(self._durations.values()) if self._durations else 1.0
        usual = max(usual, 1e-3)
        return (sum(now) + usual) / (sum(before) + usual)


def _has_ended(row: Mapping[str, Any]) -> bool:
    return row["status"] not in ("waiting", "running")


def _took(row: Mapping[str, Any]) -> float:
    """Return the seconds that an instance took in this session."""
    return 0.0 if row.get("unchanged") else row.get("duration") or 0.0


def _elapsed(row: Mapping[str, Any]) -> float:
    if row["status"] != "running" or not row.get("started"):
        return 0.0
    began = datetime.datetime.fromisoformat(row["started"])
    return max(0.0, (datetime.datetime.now(datetime.UTC) - began).total_seconds())
