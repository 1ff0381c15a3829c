"""Graph algorithms on numbered nodes with their predecessors: topological order, cycles, readiness.

All of them take time linear in the edges, and none recurses: a chain may be as long as a plan.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence

Before = Sequence[Collection[int]]


def followers(before: Before) -> list[list[int]]:
    """Return the successors of each node: the same edges reversed."""
    after: list[list[int]] = [[] for _ in before]
    for node, earlier in enumerate(before):
        for other in earlier:
            after[other].append(node)
    return after


def topological(before: Before) -> list[int]:
    """Return all nodes in topological order; in a cycle, one edge is ignored."""
    seen = [False] * len(before)
    ordered = []
    for first in range(len(before)):
        if seen[first]:
            continue
        seen[first] = True
        path = [(first, iter(before[first]))]
        while path:
            node, rest = path[-1]
            for earlier in rest:
                if not seen[earlier]:
                    seen[earlier] = True
                    path.append((earlier, iter(before[earlier])))
                    break
            else:
                path.pop()
                ordered.append(node)
    return ordered


def first_to_need(before: Before, groups: Iterable[Iterable[int]]) -> dict[int, int]:
    """Return, for each node in or before a node of a group, the number of the first such group."""
    found: dict[int, int] = {}
    for number, group in enumerate(groups):
        reached = [node for node in group if node not in found]
        found.update(dict.fromkeys(reached, number))
        while reached:
            for node in before[reached.pop()]:
                if node not in found:
                    found[node] = number
                    reached.append(node)
    return found


def cyclic_components(before: Before) -> list[set[int]]:
    """Return the strongly connected components of two or more nodes, that is, all nodes on cycles."""
    ordered = topological(before)
    place = {node: number for number, node in enumerate(ordered)}
    if all(place[earlier] < place[node] for node in ordered for earlier in before[node]):
        return []
    # Kosaraju's second pass: from the last node backwards, along the reversed edges.
    component_of = first_to_need(followers(before), ([node] for node in reversed(ordered)))
    components: dict[int, set[int]] = {}
    for node, component in component_of.items():
        components.setdefault(component, set()).add(node)
    return sorted((nodes for nodes in components.values() if len(nodes) > 1), key=min)


def shortest_cycle(before: Before, start: int, within: Collection[int]) -> list[int]:
    """Return a shortest cycle from a node back to itself, each node before the next one.

    Args:
        before: The edges.
        start: First node of the cycle; it is not repeated at the end.
        within: Nodes that the cycle may pass, a strongly connected component that holds `start`.
    """
    next_on_the_way = {start: start}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for earlier in sorted(other for other in before[node] if other in within):
            if earlier == start:
                circle = [start]
                while node != start:
                    circle.append(node)
                    node = next_on_the_way[node]
                return circle
            if earlier not in next_on_the_way:
                next_on_the_way[earlier] = node
                queue.append(earlier)
    raise ValueError(f"there is no circle through {start}")


def add_unless_circular(before: list[set[int]], edges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Add edges (earlier, later) one by one, except those that would close a cycle.

    Args:
        before: The edges so far, without cycles; new edges are added in place.
        edges: Edges to add.

    Returns:
        The edges that were added and had not been there.
    """
    new = list(dict.fromkeys(edge for edge in edges if edge[0] != edge[1] and edge[0] not in before[edge[1]]))
    for earlier, later in new:
        before[later].add(earlier)
    tangle_of = {node: number for number, nodes in enumerate(cyclic_components(before)) for node in nodes}
    doubtful = [edge for edge in new if tangle_of.get(edge[0], -1) == tangle_of.get(edge[1], -2)]
    for earlier, later in doubtful:
        before[later].remove(earlier)
    dropped = set()
    for earlier, later in doubtful:
        if _is_before(before, later, earlier):
            dropped.add((earlier, later))
        else:
            before[later].add(earlier)
    return [edge for edge in new if edge not in dropped]


def _is_before(before: Sequence[set[int]], wanted: int, node: int) -> bool:
    """Return whether the node `wanted` comes before `node`, directly or indirectly."""
    seen = {node}
    reached = [node]
    while reached:
        earlier = before[reached.pop()]
        if wanted in earlier:
            return True
        new = earlier - seen
        seen |= new
        reached += new
    return False


class Frontier:
    """The nodes whose predecessors have all ended.

    A node without work ends as soon as all its predecessors have: order holds through it.

    Attributes:
        ready: Nodes that were ready at the start.
    """

    def __init__(self, before: Before, with_work: Iterable[int]) -> None:
        self._waits_for = [len(earlier) for earlier in before]
        self._followers = followers(before)
        self._with_work = set(with_work)
        self.ready = self._come_to([node for node, count in enumerate(self._waits_for) if count == 0])

    def end(self, node: int) -> list[int]:
        """Mark a node as ended, once per node, and return the nodes that become ready by it."""
        if self._waits_for[node]:  # out of turn: its successors still wait for its predecessors
            self._with_work.discard(node)
            return []
        return self._come_to(self._released_by(node))

    def _come_to(self, nodes: list[int]) -> list[int]:
        ready = []
        while nodes:
            node = nodes.pop()
            if node in self._with_work:
                ready.append(node)
            else:
                nodes += self._released_by(node)
        return ready

    def _released_by(self, node: int) -> list[int]:
        released = []
        for follower in self._followers[node]:
            self._waits_for[follower] -= 1
            if self._waits_for[follower] == 0:
                released.append(follower)
        return released
