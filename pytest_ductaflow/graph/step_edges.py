"""Find between which steps of a plan dependencies lead, without naming each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from .dependencies import Graph

Step = TypeVar("Step", bound=Hashable)


@dataclass(frozen=True)
class StepEdge(Generic[Step]):
    """What the instances of one step wait for in another one.

    Attributes:
        earlier: The step that they wait for.
        later: Their step.
        dependents: How many of them wait for it.
        is_order_only: Whether they need nothing of it, and only the order of flows is kept.
    """

    earlier: Step
    later: Step
    dependents: int
    is_order_only: bool = False


def step_edges(graph: Graph, steps: Sequence[Step]) -> list[StepEdge[Step]]:
    """Return the dependencies between the steps of a plan, and then where only the order of flows is kept.

    Args:
        graph: The order.
        steps: The step of each instance, in the order of the plan.
    """
    needed: Counter[tuple[Step, Step]] = Counter()
    ordered: Counter[tuple[Step, Step]] = Counter()
    steps_of: dict[int, frozenset[Step]] = {}  # by the id of a tuple, which whole steps share
    behind = _StepsBehind(graph, steps)
    for number, step in enumerate(steps):
        upstreams = graph.upstreams[number]
        if (mine := steps_of.get(id(upstreams))) is None:
            mine = steps_of[id(upstreams)] = frozenset(steps[upstream] for upstream in upstreams)
        needed.update((other, step) for other in mine)
        barriers = (node for node in graph.before[number] if node in graph.order_only)
        waits = frozenset[Step]().union(*map(behind.of, barriers))
        ordered.update((other, step) for other in waits - {step})
    edges = [StepEdge(*pair, count) for pair, count in needed.items()]
    only = ((pair, count) for pair, count in ordered.items() if pair not in needed)
    return [*edges, *(StepEdge(*pair, count, is_order_only=True) for pair, count in only)]


class _StepsBehind(Generic[Step]):
    """The steps that a barrier stands for, without those of the barriers before it."""

    def __init__(self, graph: Graph, steps: Sequence[Step]) -> None:
        self._graph = graph
        self._steps = steps
        self._known: dict[int, frozenset[Step]] = {}

    def of(self, barrier: int) -> frozenset[Step]:
        if barrier not in self._known:
            earlier = self._graph.before[barrier]
            found = frozenset(self._steps[node] for node in earlier if node < len(self._steps))
            self._known[barrier] = found or self._of_those_before(earlier)
        return self._known[barrier]

    def _of_those_before(self, earlier: Sequence[int]) -> frozenset[Step]:
        barriers = (node for node in earlier if node in self._graph.order_only)
        return frozenset[Step]().union(*map(self.of, barriers))
