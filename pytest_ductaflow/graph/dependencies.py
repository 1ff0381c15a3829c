"""Which instance has to wait for which others: made from what the configs refer to, before anything runs.

Instances are numbers: their places in the plan, all sources one after the other. Numbers from there on are
*barriers*, nodes without work. By a barrier, 1,000 instances wait for 1,000 others with 2,000 edges in
place of 1,000,000.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from ..core.errors import Problem
from ..core.model import JSON, Instance
from ..sources.names import path_key, place
from .digraph import Frontier, add_unless_circular, circle_through, first_to_need, tangles, topological
from .reasons import MANY, Cause, Reasons, Shared, all_upstreams, causes_of
from .references import References, references

LEARNED = "found to read it earlier"
_CIRCLE_SHOWN = 10


@dataclass(frozen=True)
class Graph:
    """Order among the instances of a plan.

    Attributes:
        labels: `step/name` of each instance.
        upstreams: For each instance those that must have ended well before it, sorted.
        before: For each node, instances and then barriers, what must have ended before it, well or not.
            An upstream stands here itself, or before a barrier that does. There is no circle.
        reasons: What makes an instance (second) depend on an upstream (first).
        externals: For instances that have any, the run directories outside of the plan that they need.
        orphans: For instances that have any, config key and path, as written, of what should lie in `runs/`
            but in no instance's run directory.
        learned: The edges (upstream, instance) that only an earlier run has shown.
    """

    labels: tuple[str, ...] = ()
    upstreams: tuple[tuple[int, ...], ...] = ()
    before: tuple[tuple[int, ...], ...] = ()
    reasons: Mapping[tuple[int, int], str] = field(default_factory=dict)
    externals: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    orphans: Mapping[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    learned: frozenset[tuple[int, int]] = frozenset()

    def order(self, sequence: Sequence[int]) -> list[int]:
        """The numbers of a sequence, none before what it waits for.

        What stands too late is moved forward, to where it is first needed. A sequence in a right order
        stays as it is. Order holds through instances that are not in the sequence.
        """
        rank = {number: place for place, number in enumerate(sequence)}
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

    def to_json(self) -> dict[str, JSON]:
        """Plain JSON, in which tuples of many numbers that are shared stand once."""
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
        )


def make_graph(
    groups: Sequence[Sequence[Instance]],
    learned: Mapping[int, Sequence[str]] | None = None,
    is_settled: Callable[[int], bool] = lambda _: False,
) -> tuple[Graph, list[Problem]]:
    """Find out who depends on whom.

    Args:
        groups: The instances of each source, in the order of declaration.
        learned: By number of an instance, labels of those whose files an earlier run of it has read.
        is_settled: Whether it is known, for an earlier run has shown it, what an instance needs.

    Returns:
        The graph, and what is wrong: names that nothing has, circles. The nodes of such a circle do not
        wait for each other in the graph.
    """
    instances = [instance for group in groups for instance in group]
    found = references(instances)
    problems = [problem for mine in found for problem in mine.problems]
    causes = [list(mine.upstreams) for mine in found]
    before = _edges(causes)
    for tangle in tangles(before):
        problems.append(_circle_problem(tangle, before, instances, Reasons(causes)))
        for node in tangle:
            before[node] -= tangle
    add_unless_circular(before, _mentioned_again(instances))
    seen = add_unless_circular(before, _undeclared(learned or {}, instances, causes))
    for upstream, number in seen:
        causes[number].append((LEARNED, (upstream,)))
    _add_folders(before, causes, found)
    # Where something is wrong nothing is going to run, and edges are missing that tell what is needed.
    _keep_order_of_flows(before, groups, found, (lambda _: True) if problems else is_settled)
    graph = Graph(
        labels=tuple(_label(instance) for instance in instances),
        upstreams=tuple(map(all_upstreams, causes)),
        before=tuple(tuple(sorted(earlier)) for earlier in before),
        reasons=Reasons(causes),
        externals={n: tuple(dict.fromkeys(m.externals)) for n, m in enumerate(found) if m.externals},
        orphans={n: tuple(dict.fromkeys(m.orphans)) for n, m in enumerate(found) if m.orphans},
        learned=frozenset(seen),
    )
    return graph, problems


def _label(instance: Instance) -> str:
    return f"{instance.step}/{instance.name}"


def _edges(causes: Sequence[Sequence[Cause]]) -> list[set[int]]:
    """What each node waits for; barriers stand for many upstreams."""
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
    circle = [node for node in circle_through(before, min(tangle), tangle) if node < len(instances)]
    labels = [_label(instances[node]) for node in circle]
    closed = [*circle, circle[0]]
    why = [
        f"{label}: {reasons[edge]}"
        for label, edge in zip(labels[1:] + labels[:1], pairwise(closed), strict=True)
    ]
    way = _shortened([*labels, labels[0]], " -> ")
    what = f"{way} wait for each other ({_shortened(why, ', ')})"
    return Problem(place(first, first.project_root), what, "let one of them go first")


def _shortened(parts: Sequence[str], separator: str) -> str:
    more = len(parts) - _CIRCLE_SHOWN
    end = [f"… {more} more"] if more > 0 else []
    return separator.join([*parts[:_CIRCLE_SHOWN], *end])


def _mentioned_again(instances: Sequence[Instance]) -> Iterator[tuple[int, int]]:
    """Two mentions (first, again) of one instance, as by its past run directory beside its conductor."""
    last: dict[tuple[str, str], int] = {}
    for number, instance in enumerate(instances):
        key = path_key(instance.run_dir), instance.stem
        if key in last:
            yield last[key], number
        last[key] = number


def _undeclared(
    learned: Mapping[int, Sequence[str]], instances: Sequence[Instance], causes: Sequence[Sequence[Cause]]
) -> Iterator[tuple[int, int]]:
    """What was learned, as edges (upstream, instance), less what the instance says itself."""
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


def _add_folders(before: list[set[int]], causes: Sequence[list[Cause]], found: Sequence[References]) -> None:
    """Let instances wait for all that are in the folders that they name, less those that wait for them."""
    barriers: dict[int, int] = {}  # by the tuple of members
    for number, mine in enumerate(found):
        for _, members in mine.in_folders:
            if id(members) not in barriers:
                barriers[id(members)] = len(before)
                before.append(set(members))
            before[number].add(barriers[id(members)])
    tangle_of = {node: tangle for tangle in tangles(before) for node in tangle} if barriers else {}
    without: dict[tuple[int, int], tuple[int, ...]] = {}  # by members and tangle
    for number, mine in enumerate(found):
        for reason, members in mine.in_folders:
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
    """Let instances wait for the flows that their source introduced earlier.

    Not for those introduced in the same table, whose rows are peers. What refers to other instances does not
    wait for their flows, nor for those that these depend on: of them it is known which instances it needs.

    An instance waits for no flow of which an instance comes after it, nor for those introduced after such a
    flow: of two nodes that waited for each other, each would need a flow introduced before the other's.
    Sources are taken one by one, so that this holds among several, too.
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
        members: Instances, by the place of what introduced them: a call, or a table, and then those of
            further calls for the same flow and step.
        earlier: For each instance, how many of these were introduced before its flow.
    """

    members: Sequence[list[int]]
    earlier: Mapping[int, int]


def _introduced(group: Sequence[Instance], first: int) -> _Flows:
    members: list[list[int]] = []
    places: dict[tuple[str, str], int] = {}  # in two steps, a flow is introduced twice
    earlier: dict[int, int] = {}
    for rows in _declarations(group):
        flows = {(group[row].flow, group[row].step) for row in rows}
        known = [places[flow] for flow in flows if flow in places]
        if len(flows) == 1 and known:
            at = known[0]
        else:  # a table of several flows is a place of its own
            at = len(members)
            members.append([])
        for row in rows:
            members[at].append(first + row)
            earlier[first + row] = places.setdefault((group[row].flow, group[row].step), at)
    return _Flows(members, earlier)


def _declarations(group: Sequence[Instance]) -> Iterator[list[int]]:
    """The places of those instances of a source that were declared at once: rows of one table."""
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
    """For each node the flows of those before it, directly or not: a bit for each place of a flow."""
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
    """Nodes that come after all members of flows that were introduced one after the other."""

    def __init__(self, before: list[set[int]], members: Sequence[Sequence[int]]) -> None:
        self._before = before
        self._members = members
        self._stretches: dict[int, list[int]] = {}  # by first flow, barriers after one, two, … of them
        self._known: dict[tuple[int, int], list[int]] = {}

    def after(self, count: int, without: int = 0) -> list[int]:
        """Barriers after the first flows, as many as is said, without some (a bit for each)."""
        key = count, without & ((1 << count) - 1)
        if key not in self._known:
            ends = [place for place in range(count) if without >> place & 1] if without else []
            stretches = zip([0, *(end + 1 for end in ends)], [*ends, count], strict=True)
            self._known[key] = [self._behind(begin, end) for begin, end in stretches if begin < end]
        return self._known[key]

    def _behind(self, begin: int, end: int) -> int:
        """The barrier after a stretch of flows."""
        made = self._stretches.setdefault(begin, [])
        for members in self._members[begin + len(made) : end]:
            self._before.append({*members, *made[-1:]})
            made.append(len(self._before) - 1)
        return made[end - begin - 1]
