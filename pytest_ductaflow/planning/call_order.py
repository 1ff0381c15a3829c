"""Decide in which order the instances of one call run, and which of them cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from ..core.instance import Instance
from ..core.outcome import outcome_of
from ..core.record import Record
from ..core.settings import Settings
from ..graph.core_pool import CorePool
from ..graph.dependencies import Graph, make_graph
from ..graph.expected_durations import expected_durations
from ..graph.preconditions import Preconditions
from ..graph.ready_queue import ReadyQueue
from ..graph.session_outcomes import SessionOutcomes
from ..report.time_left import TimeLeft
from .history.earlier_runs import earlier_runs


class CallOrder:
    """The order of the instances of one call, and how those that have ended did so.

    Instances of other calls do not count, and those that wait for each other in a circle do not wait.

    Args:
        instances: The instances, in the order of the table.
        settings: The limit of memory of those that have none of their own.

    Attributes:
        sequence: Their numbers in an order in which they can run one after the other: that of the table, as
            far as nothing stands before what it waits for.
    """

    def __init__(self, instances: Sequence[Instance], settings: Settings) -> None:
        self._instances, self._settings = instances, settings
        graph, _ = make_graph([instances])  # its problems may be about instances of other calls
        self.sequence = graph.order(range(len(instances)))
        self._graph = _without_circles(graph, self.sequence)
        self._outcomes = SessionOutcomes()
        self._preconditions = Preconditions(self._graph, instances, self._outcomes, lambda _: "")
        self._preconditions.selected = frozenset(self.sequence)

    def queue(self, workers: int) -> ReadyQueue:
        """Return a queue of the instances, of which the one with the longest critical path comes first.

        Args:
            workers: How many run at a time.
        """
        durations = expected_durations(self._instances, self._durations)
        cores = CorePool.of_machine(self._instances, self._settings, workers)
        return ReadyQueue(self._graph, self.sequence, dict(enumerate(durations)), cores)

    def time_left(self, ids: Sequence[str], workers: int) -> TimeLeft:
        """Return what says how long the call still takes.

        Args:
            ids: Ids of the instances in the report.
            workers: How many run at a time.
        """
        numbers = {name: number for number, name in enumerate(ids)}
        return TimeLeft(self._instances, self._graph.before, self._durations, numbers, workers)

    @cached_property
    def _durations(self) -> Mapping[int, float]:
        """Seconds that instances took when they last ran, by number."""
        return earlier_runs(self._instances).durations

    def obstacle(self, number: int) -> str | None:
        """Return why an instance cannot run: what it waited for has not ended well; None if it can."""
        found = self._preconditions.blocked(number)
        return None if found is None else found.reason

    def ended(self, number: int, record: Record) -> None:
        """Note how an instance has ended."""
        self._outcomes.write(number, outcome_of(record.status))


def _without_circles(graph: Graph, sequence: Sequence[int]) -> Graph:
    """Return a graph without upstreams that come later in a sequence."""
    rank = {number: place for place, number in enumerate(sequence)}
    upstreams = (
        tuple(up for up in mine if rank[up] < rank[number]) for number, mine in enumerate(graph.upstreams)
    )
    return replace(graph, upstreams=tuple(upstreams))
