"""Build the dependency graph of a plan from what configs and code refer to, before anything runs.

Instances are numbers: their positions in the plan, all sources one after the other. Higher numbers are
*barriers*, nodes without work. With a barrier, 1,000 instances wait for 1,000 others through 2,000 edges
instead of 1,000,000.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Self

from ..core.instance import JSON, Instance
from ..core.problem import Problem
from ..sources.instance_names import declared_at, path_key
from .digraph import (
    Frontier,
    add_unless_circular,
    cyclic_components,
    first_to_need,
    shortest_cycle,
    topological,
)
from .edge_reasons import MANY, Cause, Reasons, Shared, all_upstreams, causes_of
from .references import References, references

LEARNED = "found to read it earlier"
_CIRCLE_SHOWN = 10


@dataclass(frozen=True)
class Graph:
    """The order among the instances of a plan.

    Attributes:
        labels: `step/name` of each instance.
        upstreams: For each instance, the sorted instances that must end well before it.
        before: For each node (instances, then barriers), the nodes that must end before it, well or not.
            An upstream is either listed directly or comes before a barrier that is. There is no cycle.
        reasons: Reason why an instance (second) depends on an upstream (first).
        externals: For instances that have any, the run directories outside of the plan that they need.
        orphans: For instances that have any, config key and path, as written, of paths in `runs/` that
            lie in no instance's run directory.
        learned: Edges (upstream, instance) known only from an earlier run.
        order_only: The barriers that stand for the order in which flows were declared, and nothing else.
    """

    labels: tuple[str, ...] = ()
    upstreams: tuple[tuple[int, ...], ...] = ()
    before: tuple[tuple[int, ...], ...] = ()
    reasons: Mapping[tuple[int, int], str] = field(default_factory=dict)
    externals: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    orphans: Mapping[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    learned: frozenset[tuple[int, int]] = frozenset()
    order_only: range = range(0)

    def order(self, sequence: Sequence[int]) -> list[int]:
        """Return the numbers of a sequence, each after those it waits for.

        A number that stands too late is moved forward to where it is first needed. A sequence in a valid
        order is unchanged. Order holds through instances that are not in the sequence.
        """
        rank = {number: declared_at for declared_at, number in enumerate(sequence)}
        needed = first_to_need(self.before, ([number] for number in sequence))
        frontier = Frontier(self.before, rank)
        ready = [(needed[number], rank[number], number) for number in frontier.ready]
        heapq.heapify(ready)
        ordered = []
        while ready:
            ordered.append(heapq.heappop(ready)[2])
            for number in frontier.end(ordered[-1]):
                heapq.heappush(ready, (needed[number], rank[number], number))
        return ordered

    @cached_property
    def needed(self) -> tuple[tuple[int, ...], ...]:
        """The nodes that must end before each node, without those of the order of flows alone."""
        return tuple(
            tuple(other for other in earlier if other not in self.order_only) for earlier in self.before
        )

    def to_json(self) -> dict[str, JSON]:
        """Return plain JSON in which long shared tuples of numbers are stored once."""
        shared = Shared()
        return {
            "labels": self.labels,
            "upstreams": [shared.packed(numbers) for numbers in self.upstreams],
            "before": self.before,
            "causes": [
                [(reason, shared.packed(numbers)) for reason, numbers in causes]
                for causes in causes_of(self.reasons, len(self.labels))
            ],
            "externals": list(self.externals.items()),
            "orphans": list(self.orphans.items()),
            "learned": sorted(self.learned),
            "order_only": [self.order_only.start, self.order_only.stop],
            "shared": shared.all,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, JSON]) -> Self:
        shared = [tuple(numbers) for numbers in data["shared"]]

        def unpacked(numbers: list[int] | int) -> tuple[int, ...]:
            return shared[numbers] if isinstance(numbers, int) else tuple(numbers)

        return cls(
            labels=tuple(data["labels"]),
            upstreams=tuple(map(unpacked, data["upstreams"])),
            before=tuple(map(tuple, data["before"])),
            reasons=Reasons([[(why, unpacked(who)) for why, who in causes] for causes in data["causes"]]),
            externals={number: tuple(paths) for number, paths in data["externals"]},
            orphans={number: tuple(map(tuple, found)) for number, found in data["orphans"]},
            learned=frozenset(map(tuple, data["learned"])),
            order_only=range(*data["order_only"]),
        )


def make_graph(
    groups: Sequence[Sequence[Instance]],
    learned: Mapping[int, Sequence[str]] | None = None,
    is_settled: Callable[[int], bool] = lambda _: False,
) -> tuple[Graph, list[Problem]]:
    """Build the graph of dependencies among instances.

    Args:
        groups: The instances of each source, in the order of declaration.
        learned: By instance number, the labels of those whose files an earlier run of it has read.
        is_settled: Function that returns whether an earlier run has shown what an instance needs.

    Returns:
        The graph and its problems: names that match nothing, and cycles. The nodes of such a cycle do not
        wait for each other in the graph.
    """
    instances = [instance for group in groups for instance in group]
    found = references(instances)
    problems = [problem for mine in found for problem in mine.problems]
    causes = [list(mine.upstreams) for mine in found]
    before = _edges(causes)
    for tangle in cyclic_components(before):
        problems.append(_circle_problem(tangle, before, instances, Reasons(causes)))
        for node in tangle:
            before[node] -= tangle
    add_unless_circular(before, _mentioned_again(instances))
    _add_unless_they_wait(before, causes, [mine.in_folders for mine in found])
    _add_unless_they_wait(before, causes, [mine.in_code for mine in found])
    # What code only mentions may not be needed, but goes first all the same.
    _add_unless_they_wait(before, [[] for _ in causes], [mine.mentioned for mine in found])
    seen = add_unless_circular(before, _undeclared(learned or {}, instances, causes))
    for upstream, number in seen:
        causes[number].append((LEARNED, (upstream,)))
    needed = len(before)
    # With problems nothing is going to run, and edges that show what is needed are missing.
    _keep_order_of_flows(before, groups, found, (lambda _: True) if problems else is_settled)
    graph = Graph(
        labels=tuple(_label(instance) for instance in instances),
        upstreams=tuple(map(all_upstreams, causes)),
        before=tuple(tuple(sorted(earlier)) for earlier in before),
        reasons=Reasons(causes),
        externals={n: tuple(dict.fromkeys(m.externals)) for n, m in enumerate(found) if m.externals},
        orphans={n: tuple(dict.fromkeys(m.orphans)) for n, m in enumerate(found) if m.orphans},
        learned=frozenset(seen),
        order_only=range(needed, len(before)),
    )
    return graph, problems


def _label(instance: Instance) -> str:
    return f"{instance.step}/{instance.name}"


def _edges(causes: Sequence[Sequence[Cause]]) -> list[set[int]]:
    """Return the nodes that each node waits for, with a barrier in place of many upstreams."""
    before: list[set[int]] = [set() for _ in causes]
    barriers: dict[int, int] = {}
    for number, mine in enumerate(causes):
        for _, upstreams in mine:
            if len(upstreams) < MANY:
                before[number].update(upstreams)
                continue
            if id(upstreams) not in barriers:
                barriers[id(upstreams)] = len(before)
                before.append(set(upstreams))
            before[number].add(barriers[id(upstreams)])
    return before


def _circle_problem(
    tangle: set[int], before: Sequence[set[int]], instances: Sequence[Instance], reasons: Reasons
) -> Problem:
    first = instances[min(tangle)]
    circle = [node for node in shortest_cycle(before, min(tangle), tangle) if node < len(instances)]
    labels = [_label(instances[node]) for node in circle]
    closed = [*circle, circle[0]]
    why = [
        f"{label}: {reasons[edge]}"
        for label, edge in zip(labels[1:] + labels[:1], pairwise(closed), strict=True)
    ]
    way = _shortened([*labels, labels[0]], " -> ")
    what = f"{way} wait for each other ({_shortened(why, ', ')})"
    return Problem(declared_at(first, first.project_root), what, "let one of them go first")


def _shortened(parts: Sequence[str], separator: str) -> str:
    more = len(parts) - _CIRCLE_SHOWN
    end = [f"… {more} more"] if more > 0 else []
    return separator.join([*parts[:_CIRCLE_SHOWN], *end])


def _mentioned_again(instances: Sequence[Instance]) -> Iterator[tuple[int, int]]:
    """Yield pairs (earlier, later) of mentions of one instance, as by conductor and past run directory."""
    last: dict[tuple[str, str], int] = {}
    for number, instance in enumerate(instances):
        key = path_key(instance.run_dir), instance.stem
        if key in last:
            yield last[key], number
        last[key] = number


def _undeclared(
    learned: Mapping[int, Sequence[str]], instances: Sequence[Instance], causes: Sequence[Sequence[Cause]]
) -> Iterator[tuple[int, int]]:
    """Yield learned edges (upstream, instance), except those that the instance declares itself."""
    if not any(learned.values()):
        return
    numbers: dict[tuple[str, str], list[int]] = {}
    for number, instance in enumerate(instances):
        numbers.setdefault((instance.project_root, _label(instance)), []).append(number)
    for number, labels in sorted(learned.items()):
        instance = instances[number]
        for label in labels:
            for upstream in numbers.get((instance.project_root, label), ()):
                declared = any(upstream in upstreams for _, upstreams in causes[number])
                if not declared and instances[upstream].key != instance.key:
                    yield upstream, number


def _add_unless_they_wait(
    before: list[set[int]], causes: Sequence[list[Cause]], found: Sequence[Sequence[Cause]]
) -> None:
    """Make instances wait for all that further causes name, except those that wait for them."""
    barriers: dict[int, int] = {}  # by the tuple of members
    for number, mine in enumerate(found):
        for _, members in mine:
            if id(members) not in barriers:
                barriers[id(members)] = len(before)
                before.append(set(members))
            before[number].add(barriers[id(members)])
    tangle_of = {node: tangle for tangle in cyclic_components(before) for node in tangle} if barriers else {}
    without: dict[tuple[int, int], tuple[int, ...]] = {}  # by members and tangle
    for number, mine in enumerate(found):
        for reason, members in mine:
            kept = members
            if (tangle := tangle_of.get(number)) is not None:
                before[number].discard(barriers[id(members)])
                key = id(members), id(tangle)
                if key not in without:
                    without[key] = tuple(member for member in members if member not in tangle)
                kept = without[key]
                before[number].update(kept)
            if kept:
                causes[number].append((reason, kept))


def _keep_order_of_flows(
    before: list[set[int]],
    groups: Sequence[Sequence[Instance]],
    found: Sequence[References],
    is_settled: Callable[[int], bool],
) -> None:
    """Make instances wait for the flows that their source introduced earlier.

    Flows introduced in the same table are excepted: its rows are peers. An instance that refers to others
    does not wait for their flows, nor for flows these depend on: there it is known which instances it needs.
    That is not known of code, where there may be more than can be read off.

    An instance does not wait for a flow if an instance of that flow comes after it, nor for flows introduced
    later. So there is no cycle: of two nodes waiting for each other, each would need a flow introduced
    before the other's. Sources are processed one by one, so that this holds across sources, too.
    """
    first = 0
    for group in groups:
        flows = _introduced(group, first)
        if len(flows.members) > 1:
            needed = first_to_need(before, flows.members)
            counts = {
                number: min(needed[number], flows.earlier[number])
                for number, instance in enumerate(group, first)
                if instance.after is None and not found[number].externals
            }
            referring = {n for n in counts if found[n].upstreams or found[n].in_folders}
            doubtful = {number for number in referring if counts[number] and not is_settled(number)}
            reached = _flows_reached(before, flows.members) if doubtful else []
            barriers = _Barriers(before, flows.members)
            for number, count in counts.items():
                if number in doubtful:
                    before[number].update(barriers.after(count, without=reached[number]))
                elif number not in referring:
                    before[number].update(barriers.after(count))
        first += len(group)


@dataclass(frozen=True)
class _Flows:
    """The flows of a source, in the order in which they were introduced.

    Attributes:
        members: Instances by position of introduction: those of a call or table, and of further calls for
            the same flow and step.
        earlier: For each instance, the number of positions introduced before its flow.
    """

    members: Sequence[list[int]]
    earlier: Mapping[int, int]


def _introduced(group: Sequence[Instance], first: int) -> _Flows:
    members: list[list[int]] = []
    places: dict[tuple[str, str], int] = {}  # a flow in two steps is introduced twice
    earlier: dict[int, int] = {}
    for rows in _declarations(group):
        flows = {(group[row].flow, group[row].step) for row in rows}
        known = [places[flow] for flow in flows if flow in places]
        if len(flows) == 1 and known:
            at = known[0]
        else:  # a table of several flows has its own position
            at = len(members)
            members.append([])
        for row in rows:
            members[at].append(first + row)
            earlier[first + row] = places.setdefault((group[row].flow, group[row].step), at)
    return _Flows(members, earlier)


def _declarations(group: Sequence[Instance]) -> Iterator[list[int]]:
    """Yield, per declaration (rows of one table), the positions of its instances in the source."""
    rows: list[int] = []
    for number, instance in enumerate(group):
        last = group[rows[-1]] if rows else None
        goes_on = (
            last is not None
            and instance.row is not None
            and last.row is not None
            and (instance.source, instance.line) == (last.source, last.line)
            and instance.row > last.row
        )
        if rows and not goes_on:
            yield rows
            rows = []
        rows.append(number)
    if rows:
        yield rows


def _flows_reached(before: Sequence[set[int]], members: Sequence[Sequence[int]]) -> list[int]:
    """Return, for each node, a bit mask of the flows before it, directly or indirectly."""
    own = [0] * len(before)
    for bit, numbers in enumerate(members):
        for number in numbers:
            own[number] = 1 << bit
    reached = [0] * len(before)
    for node in topological(before):
        for earlier in before[node]:
            reached[node] |= reached[earlier] | own[earlier]
    return reached


class _Barriers:
    """Barriers that come after all members of a run of consecutively introduced flows."""

    def __init__(self, before: list[set[int]], members: Sequence[Sequence[int]]) -> None:
        self._before = before
        self._members = members
        self._stretches: dict[int, list[int]] = {}  # by first flow, barriers after one, two, … flows
        self._known: dict[tuple[int, int], list[int]] = {}

    def after(self, count: int, without: int = 0) -> list[int]:
        """Return barriers after the first `count` flows, except those in the bit mask `without`."""
        key = count, without & ((1 << count) - 1)
        if key not in self._known:
            ends = (
                [declared_at for declared_at in range(count) if without >> declared_at & 1] if without else []
            )
            stretches = zip([0, *(end + 1 for end in ends)], [*ends, count], strict=True)
            self._known[key] = [self._behind(begin, end) for begin, end in stretches if begin < end]
        return self._known[key]

    def _behind(self, begin: int, end: int) -> int:
        """Return the barrier after a range of flows, and make it if needed."""
        made = self._stretches.setdefault(begin, [])
        for members in self._members[begin + len(made) : end]:
            self._before.append({*members, *made[-1:]})
            made.append(len(self._before) - 1)
        return made[end - begin - 1]
