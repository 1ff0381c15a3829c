"""Choose the next instance when several are ready: the one with the longest remaining critical path."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from statistics import fmean

from .dependencies import Graph
from .digraph import Before, Frontier, topological


class ReadyQueue:
    """A queue of a plan's selected instances; each is ready once all before it has ended."""

    def __init__(self, graph: Graph, selected: Iterable[int], weights: Mapping[int, float]) -> None:
        """Start with no instance ended.

        Args:
            graph: The order.
            selected: Numbers of the instances to run.
            weights: Expected duration of each in seconds; for missing ones, the mean is used.
        """
        self._left = set(selected)
        self._out: set[int] = set()
        typical = fmean(weights.values()) if weights else 1.0
        known = {number: weights.get(number, typical) for number in self._left}
        self._remaining = _longest_ways(graph.before, known)
        self._frontier = Frontier(graph.before, self._left)
        self._heap: list[tuple[float, int]] = []
        self._offer(self._frontier.ready)
        self._needs = Frontier(graph.needed, self._left) if graph.order_only else None
        self._free = set(self._needs.ready) if self._needs is not None else set()

    def __len__(self) -> int:
        """Return how many of the selected instances have not ended."""
        return len(self._left)

    @property
    def held_back(self) -> int:
        """The number of instances that wait for nothing but the order in which flows were declared."""
        return len(self._free - self._out)

    def pop(self) -> int | None:
        """Remove and return the ready instance with the longest critical path; None if none is ready."""
        while self._heap:
            number = heapq.heappop(self._heap)[1]
            if number in self._left:  # else it ended without ever having been handed out
                self._out.add(number)
                return number
        return None

    def put_back(self, number: int) -> None:
        """Offer an instance again that was handed out but not run."""
        if number in self._out:
            self._out.remove(number)
            self._offer([number])

    def done(self, number: int) -> None:
        """Mark an instance as ended, with whatever outcome; those that waited for it may become ready."""
        if number in self._left:
            self._left.remove(number)
            self._out.discard(number)
            self._offer(self._frontier.end(number))
            if self._needs is not None:
                self._free.discard(number)
                self._free.update(self._needs.end(number))

    def _offer(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            heapq.heappush(self._heap, (-self._remaining[number], number))


def _longest_ways(before: Before, weights: Mapping[int, float]) -> list[float]:
    """Return, for each node, the greatest sum of weights on a path from it (inclusive) to an end."""
    longest = [0.0] * len(before)
    for node in reversed(topological(before)):
        longest[node] += weights.get(node, 0.0)
        for earlier in before[node]:
            longest[earlier] = max(longest[earlier], longest[node])
    return longest
