"""Run some instances of each step first, and block the others if all of these fail for one reason.

The *canaries* of a step are one instance for each value of one column: of those with two values or more, the
one with the fewest, so that each of its values stands for many instances. A column with more than half as
many values as the step has instances does not count; a step without such a column has one canary, its first
instance.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from ..core.instance import Instance
from ..core.number_text import listed
from ..core.outcome import Outcome
from ..core.record import Record
from ..core.run_directory.layout import RunFiles
from ..core.run_directory.record_files import read_record
from ..core.scalars import flattened
from ..core.system.lineage import session_id
from ..graph.dependencies import Graph
from ..graph.digraph import add_unless_circular
from ..graph.preconditions import Obstacle
from ..report.analysis.causes import LEFT_OUT, without_details
from ..report.failure_text import failed_first

_NAMED = 3  # canaries in a message
Cause = tuple[str, str, str]  # the flow that failed first, type of the error, message without details


@dataclass(frozen=True)
class Group:
    """The instances of a step.

    Attributes:
        step: The step.
        column: The column that tells the canaries apart; empty if there is only one.
        canaries: Their numbers, in the order of declaration.
        others: The numbers of the others.
    """

    step: str
    column: str
    canaries: tuple[int, ...]
    others: tuple[int, ...]


class Canaries:
    """The canaries of a session, and what has become of them.

    Args:
        instances: The instances of the plan, by number.
        selected: The numbers of those that this session runs.
    """

    def __init__(self, instances: Sequence[Instance], selected: Collection[int]) -> None:
        self._instances = instances
        steps: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number in sorted(selected):
            steps[instances[number].project_root, instances[number].step].append(number)
        groups = [_group(step, numbers, instances) for (_, step), numbers in steps.items()]
        self._groups = [group for group in groups if group.others]
        self._group_of = {number: group for group in self._groups for number in group.others}
        # By canaries, once all of these have ended.
        self._verdicts: dict[tuple[int, ...], Obstacle | None] = {}

    @property
    def numbers(self) -> set[int]:
        """The numbers of all canaries of steps that have other instances, too."""
        return set(chain.from_iterable(group.canaries for group in self._groups))

    def headlines(self) -> Iterator[str]:
        """Yield a line for each step."""
        for group in self._groups:
            many = len(group.canaries) > 1
            number = f"{len(group.canaries)} canaries" if many else "1 canary"
            why = f", one for each value of {group.column}" if many else ""
            yield f"ductaflow: step {group.step}: {number} before {len(group.others)} more{why}"

    def ordered(self, graph: Graph) -> Graph:
        """Return a graph in which all instances of a step wait for its canaries, unless these need them."""
        barriers = range(len(graph.before), len(graph.before) + len(self._groups))
        before = [set(earlier) for earlier in graph.before] + [set(group.canaries) for group in self._groups]
        edges = (
            (barrier, n) for barrier, group in zip(barriers, self._groups, strict=True) for n in group.others
        )
        new: dict[int, list[int]] = defaultdict(list)
        for barrier, number in add_unless_circular(before, edges):
            new[number].append(barrier)
        kept = (
            (*earlier, *new[number]) if number in new else earlier
            for number, earlier in enumerate(graph.before)
        )
        return replace(graph, before=(*kept, *(group.canaries for group in self._groups)))

    def obstacle(self, number: int, outcomes: Mapping[int, Outcome]) -> Obstacle | None:
        """Return what blocks an instance: that all canaries of its step have failed with one cause."""
        group = self._group_of.get(number)
        if group is None or any(each not in outcomes for each in group.canaries):
            return None
        if group.canaries not in self._verdicts:
            self._verdicts[group.canaries] = self._verdict(group, outcomes)
        return self._verdicts[group.canaries]

    def _verdict(self, group: Group, outcomes: Mapping[int, Outcome]) -> Obstacle | None:
        if any(outcomes[number] != "failed" for number in group.canaries):
            return None
        records = [self._record(number) for number in group.canaries]
        causes = {
            _cause(record, self._instances[number], group.column) if record is not None else None
            for number, record in zip(group.canaries, records, strict=True)
        }
        cause = causes.pop()
        if causes or cause is None:
            return None
        names = [f"{each.step}/{each.name}" for each in map(self._instances.__getitem__, group.canaries)]
        messages = {_summary(record) for record in records if record is not None}
        said = messages.pop() if len(messages) == 1 else ": ".join(filter(None, cause[1:]))
        if len(names) == 1:
            return Obstacle(
                "blocked", f"blocked by its canary {names[0]}, which failed: {said}", of_failure=True
            )
        reason = f"blocked by its canaries {listed(names, _NAMED)}, which all failed alike: {said}"
        return Obstacle("blocked", reason, of_failure=True)

    def _record(self, number: int) -> Record | None:
        """Return the record of an instance that has run in this session; None if it was not started."""
        record, _ = read_record(RunFiles.of(self._instances[number]).record)
        is_new = record is not None and record.lineage.get("session") == session_id()
        return failed_first(record) if record is not None and is_new else None


def _summary(record: Record) -> str:
    """Return why a run has failed, in a line."""
    return record.error.summary if record.error is not None else record.message or str(record.status)


def _cause(record: Record, instance: Instance, column: str) -> Cause:
    """Return why an instance has failed, without what differs between the canaries of a step.

    Args:
        record: The record of what failed first in it.
        instance: The instance.
        column: The column that tells the canaries apart.
    """
    kind = record.error.type if record.error is not None else str(record.status)
    message = _summary(record).removeprefix(f"{kind}: ")
    value = dict(flattened(instance.config)).get(column)
    if isinstance(value, str) and len(value) > 1:
        message = message.replace(value, LEFT_OUT)
    return record.flow, kind, without_details(message, instance.name)


def _group(step: str, numbers: Sequence[int], instances: Sequence[Instance]) -> Group:
    """Return the instances of a step, divided into canaries and others."""
    configs = [dict(flattened(instances[number].config)) for number in numbers]
    best, firsts = "", [numbers[0]]
    for column in dict.fromkeys(chain.from_iterable(configs)):
        seen: dict[str, int] = {}
        for number, config in zip(numbers, configs, strict=True):
            text = json.dumps(config[column], sort_keys=True, default=str) if column in config else ""
            seen.setdefault(text, number)
        is_better = not best or len(seen) < len(firsts)
        if 2 <= len(seen) <= len(numbers) / 2 and is_better:
            best, firsts = column, list(seen.values())
    chosen = frozenset(firsts)
    others = tuple(number for number in numbers if number not in chosen)
    return Group(step, best, tuple(sorted(chosen)), others)
