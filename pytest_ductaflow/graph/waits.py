"""Note when instances became ready, what they had waited for, and why workers had nothing to do."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .core_pool import Size
from .dependencies import Graph

Idle = Literal["upstreams", "order", "cores", "memory", "retry", "nothing left"]
HeldBy = Literal["worker", "cores", "memory"]
Span = tuple[str, float, float, Idle]  # worker, begin and end in seconds since the epoch, reason

SHORTEST = 0.05  # seconds of a worker without work that are worth a note
MOST_SPANS = 4_000  # of all workers; where there are more, the longer half is kept


@dataclass(frozen=True)
class Wait:
    """What an instance has waited for before it began.

    Attributes:
        ready: When all that it waited for had ended, in seconds since the epoch.
        last: Label of the instance that ended last of what it waited for; "" if it was ready at once.
        is_upstream: Whether that is an upstream; else only the order of flows held it back.
        held_by: What was not free when it was ready: a worker, as many cores as it books, or as much memory.
    """

    ready: float
    last: str = ""
    is_upstream: bool = False
    held_by: HeldBy = "worker"

    @property
    def waited_for(self) -> str | None:
        """The instance that ended last, as rows of the report name it: `upstream etl/A` or `order etl/A`."""
        return f"{'upstream' if self.is_upstream else 'order'} {self.last}" if self.last else None


class Waits:
    """The waiting of the instances in a queue.

    Args:
        graph: The order.
        clock: Returns the time in seconds since the epoch.
    """

    def __init__(self, graph: Graph, clock: Callable[[], float] = time.time) -> None:
        self._graph = graph
        self._clock = clock
        self._ready: dict[int, tuple[float, int | None]] = {}  # time, and number of what ended last
        self._short: dict[Size, tuple[float, HeldBy]] = {}  # when a worker could not begin one, by its size

    def ready(self, numbers: Iterable[int], last: int | None = None) -> None:
        """Note that instances are ready, as the one with the number `last` has ended."""
        now = self._clock()
        for number in numbers:
            self._ready.setdefault(number, (now, last))

    def short(self, sizes: Mapping[Size, HeldBy]) -> None:
        """Note that instances of these sizes could not begin, and what each lacks."""
        if sizes:
            now = self._clock()
            self._short |= {size: (now, lacking) for size, lacking in sizes.items()}

    def of(self, number: int, size: Size) -> Wait | None:
        """Return the waiting of an instance that books so much; None if it is not ready."""
        if (found := self._ready.get(number)) is None:
            return None
        since, last = found
        when, lacking = self._short.get(size, (0.0, "worker"))
        held_by: HeldBy = lacking if when >= since else "worker"
        if last is None or last >= len(self._graph.labels):  # a conductor's work after its instances
            return Wait(since, held_by=held_by)
        return Wait(since, self._graph.labels[last], self._is_upstream(last, number), held_by)

    def _is_upstream(self, other: int, number: int) -> bool:
        """Return whether another instance is an upstream; these are sorted."""
        if number >= len(self._graph.upstreams):
            return True
        upstreams = self._graph.upstreams[number]
        place = bisect_left(upstreams, other)
        return place < len(upstreams) and upstreams[place] == other


class IdleTimes:
    """The times in which workers had nothing to do, each with its reason.

    Args:
        clock: Returns the time in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open: dict[str, tuple[float, Idle]] = {}
        self._spans: list[Span] = []
        self._shortest = SHORTEST

    def note(self, idle: Collection[str], reason: Idle) -> None:
        """Note which workers are idle from now on, and why; all others have work."""
        now = self._clock()
        for worker, (since, why) in list(self._open.items()):
            if worker not in idle or why != reason:
                del self._open[worker]
                self._keep((worker, since, now, why))
        for worker in idle:
            self._open.setdefault(worker, (now, reason))

    def spans(self) -> list[Span]:
        """Return all of these times, those that go on until now included."""
        now = self._clock()
        going_on = [(worker, since, now, why) for worker, (since, why) in list(self._open.items())]
        return [*self._spans, *(span for span in going_on if span[2] - span[1] >= self._shortest)]

    def _keep(self, span: Span) -> None:
        if span[2] - span[1] < self._shortest:
            return
        self._spans.append(span)
        if len(self._spans) > MOST_SPANS:
            longest = sorted(self._spans, key=lambda each: each[1] - each[2])[: MOST_SPANS // 2]
            self._shortest = longest[-1][2] - longest[-1][1]
            self._spans = sorted(longest, key=lambda each: each[1])
