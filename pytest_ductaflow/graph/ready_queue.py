"""Choose the next instance when several are ready: that with the longest way to go, if there is room."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from statistics import fmean

from .core_pool import CorePool, Size
from .dependencies import Graph
from .digraph import Before, Frontier, topological
from .waits import Idle, Wait, Waits


class ReadyQueue:
    """A queue of a plan's selected instances; each is ready once all before it has ended."""

    def __init__(
        self,
        graph: Graph,
        selected: Iterable[int],
        weights: Mapping[int, float],
        cores: CorePool,
        first: Collection[int] = (),
    ) -> None:
        """Start with no instance ended.

        Args:
            graph: The order.
            selected: Numbers of the instances to run.
            weights: Expected duration of each in seconds; for missing ones, the mean is used.
            cores: Says what may begin beside what runs.
            first: Instances that begin before all others that are ready.
        """
        self._left = set(selected)
        self._out: set[int] = set()
        self._held: set[int] = set()  # to be tried again, but not yet
        typical = fmean(weights.values()) if weights else 1.0
        known = {number: weights.get(number, typical) for number in self._left}
        self._first = first
        self._remaining = longest_ways(graph.before, known)
        self._frontier = Frontier(graph.before, self._left)
        self._cores = cores
        self._heaps: dict[Size, list[tuple[bool, float, int]]] = defaultdict(list)  # by what they book
        self._waits = Waits(graph)
        self._waits.ready(self._frontier.ready)
        self._offer(self._frontier.ready)
        self._needs = Frontier(graph.needed, self._left) if graph.order_only else None
        self._free = set(self._needs.ready) if self._needs is not None else set()

    def __len__(self) -> int:
        """Return how many of the selected instances have not ended."""
        return len(self._left)

    @property
    def held_back(self) -> int:
        """The number of instances that wait for nothing but the order in which flows were declared."""
        if not self._free:
            return 0
        ready = {number for heap in self._heaps.values() for *_, number in heap}
        waiting = self._free - self._out - self._held - ready
        return sum(self._cores.fits(number) for number in waiting)

    def pop(self) -> int | None:
        """Remove and return the ready instance that is to begin next; None if none may.

        That is the one with the longest critical path, unless too few cores, or too little memory, are free.
        """
        line = self._line()
        size = self._cores.book(line)
        self._note_short(line if size is None else line[: line.index(size)])
        if size is None:
            return None
        number = heapq.heappop(self._heaps[size])[-1]
        self._out.add(number)
        return number

    def longest_way(self, number: int) -> float:
        """Return the expected seconds from the begin of an instance to the end of all that waits for it."""
        return self._remaining[number]

    def _note_short(self, sizes: Iterable[Size]) -> None:
        self._waits.short(
            {size: "memory" if self._cores.lacks_only_memory(size) else "cores" for size in sizes}
        )

    def wait_of(self, number: int) -> Wait | None:
        """Return what an instance has waited for; None if it is not ready yet."""
        return self._waits.of(number, self._cores.size_of(number))

    def why_idle(self, held_back: int) -> Idle:
        """Return the reason why `pop` has returned None, given `held_back`."""
        if line := self._line():
            return "memory" if self._cores.lacks_only_memory(line[0]) else "cores"
        if held_back:
            return "order"
        if self._held and len(self._left) == len(self._out) + len(self._held):
            return "retry"
        return "upstreams" if len(self._left) > len(self._out) else "nothing left"

    def book_other(self) -> bool:
        """Book a worker's share for what is not in the queue, when `pop` has returned None.

        Returns:
            Whether it may begin: not where an instance has waited long enough for its cores.
        """
        return self._cores.book([*self._line(), self._cores.share]) is not None

    def release_other(self) -> None:
        """Free what `book_other` has booked."""
        self._cores.release(self._cores.share)

    def _line(self) -> list[Size]:
        """Return the different sizes of what is ready, the one with the longest critical path first."""
        first = []
        for size, heap in self._heaps.items():
            while heap and heap[0][-1] not in self._left:  # it ended without ever having been handed out
                heapq.heappop(heap)
            if heap:
                first.append((heap[0], size))
        return [size for _, size in sorted(first)]

    def put_back(self, number: int) -> None:
        """Offer an instance again that was handed out but not run, or that was held."""
        if number in self._out:
            self._take_back(number)
            self._offer([number])
        elif number in self._held:
            self._held.remove(number)
            self._offer([number])

    def hold(self, number: int) -> None:
        """Free what an instance has booked that was handed out; it is offered again by `put_back`."""
        if number in self._out:
            self._take_back(number)
            self._held.add(number)

    def done(self, number: int) -> None:
        """Mark an instance as ended, with whatever outcome; those that waited for it may become ready."""
        if number in self._left:
            self._left.remove(number)
            if number in self._out:
                self._take_back(number)
            ready = self._frontier.end(number)
            self._waits.ready(ready, number)
            self._offer(ready)
            if self._needs is not None:
                self._free.discard(number)
                self._free.update(self._needs.end(number))

    def _take_back(self, number: int) -> None:
        self._out.remove(number)
        self._cores.release(self._cores.size_of(number))

    def _offer(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            entry = (number not in self._first, -self._remaining[number], number)
            heapq.heappush(self._heaps[self._cores.size_of(number)], entry)


def longest_ways(before: Before, weights: Mapping[int, float]) -> list[float]:
    """Return, for each node, the greatest sum of weights on a path from it (inclusive) to an end."""
    longest = [0.0] * len(before)
    for node in reversed(topological(before)):
        longest[node] += weights.get(node, 0.0)
        for earlier in before[node]:
            longest[earlier] = max(longest[earlier], longest[node])
    return longest
