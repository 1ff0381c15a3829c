"""Which instance starts next when several can: the one from which the longest way remains."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from statistics import fmean

from .dependencies import Graph
from .digraph import Before, Frontier, topological


class ReadyQueue:
    """The selected instances of a plan, each to be had once all before it has ended."""

    def __init__(self, graph: Graph, selected: Iterable[int], weights: Mapping[int, float]) -> None:
        """Begin with nothing ended.

        Args:
            graph: The order.
            selected: The numbers of the instances to be carried out.
            weights: How long each is thought to take, in seconds; the mean for those that are not there.
        """
        self._left = set(selected)
        self._out: set[int] = set()
        typical = fmean(weights.values()) if weights else 1.0
        known = {number: weights.get(number, typical) for number in self._left}
        self._remaining = _longest_ways(graph.before, known)
        self._frontier = Frontier(graph.before, self._left)
        self._heap: list[tuple[float, int]] = []
        self._offer(self._frontier.ready)

    def __len__(self) -> int:
        """How many of the selected have not ended."""
        return len(self._left)

    def pop(self) -> int | None:
        """The ready instance with the longest way to the end of the plan; None if none is ready now."""
        while self._heap:
            number = heapq.heappop(self._heap)[1]
            if number in self._left:  # else it has ended without ever having been handed out
                self._out.add(number)
                return number
        return None

    def put_back(self, number: int) -> None:
        """Offer an instance again that was handed out and has not been carried out."""
        if number in self._out:
            self._out.remove(number)
            self._offer([number])

    def done(self, number: int) -> None:
        """Note that an instance has ended, however it ended; what waited for it may become ready."""
        if number in self._left:
            self._left.remove(number)
            self._out.discard(number)
            self._offer(self._frontier.end(number))

    def _offer(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            heapq.heappush(self._heap, (-self._remaining[number], number))


def _longest_ways(before: Before, weights: Mapping[int, float]) -> list[float]:
    """For each node, the greatest sum of weights on a way from it (and with it) to an end."""
    longest = [0.0] * len(before)
    for node in reversed(topological(before)):
        longest[node] += weights.get(node, 0.0)
        for earlier in before[node]:
            longest[earlier] = max(longest[earlier], longest[node])
    return longest
