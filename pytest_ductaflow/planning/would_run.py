"""Decide, without running anything, which instances of a plan would run, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..core.instance import Instance, Neighbours
from ..core.run_directory.layout import RunFiles
from ..core.run_directory.record_files import read_record
from ..core.settings import Settings
from ..tracking.paths_in_config import output_files
from ..tracking.up_to_date import check
from ..tracking.upstreams import records_of
from .plan import Plan

UNCHANGED = ""
MAY_RUN = "runs if "


@dataclass
class Forecast:
    """A forecast of what a session would do, made one instance after the other in the order of the plan.

    Attributes:
        plan: The plan.
        settings: Settings with the default kernel, and whether runs are forced.
        reasons: By number of the instance, why it would run; `UNCHANGED` if it would not.
    """

    plan: Plan
    settings: Settings
    reasons: dict[int, str] = field(default_factory=dict)
    _written: dict[str, str] = field(default_factory=dict)  # by file, the instance that may change it

    def add(self, number: int) -> str:
        """Add an instance whose upstreams have been added, if they are to run, and return its reason."""
        graph, instance = self.plan.graph, self.plan.all[number]
        ups = [graph.labels[u] for u in graph.upstreams[number] if self.reasons.get(u, UNCHANGED)]
        reason = _reason(instance, self.plan.neighbours(number), self.settings, ups, self._written)
        self.reasons[number] = reason
        if reason != UNCHANGED:
            self._written |= dict.fromkeys(_outputs_of(instance), graph.labels[number])
        return reason


def with_upstreams(plan: Plan, number: int) -> list[int]:
    """Return an instance and all its direct and indirect upstreams, in an order in which they could run."""
    seen, left = {number}, [number]
    while left:
        new = set(plan.graph.upstreams[left.pop()]) - seen
        seen |= new
        left += new
    ordered: list[int] = []
    while waiting := sorted(seen.difference(ordered)):
        ready = [n for n in waiting if seen.intersection(plan.graph.upstreams[n]).issubset(ordered)]
        ordered += ready or waiting
    return ordered


def _outputs_of(instance: Instance) -> Iterable[str]:
    """Return the absolute paths of the files that an instance has written before."""
    record, _ = read_record(RunFiles.of(instance).record)
    return set(output_files(record, instance.project_root)) if record is not None else set()


def _reason(
    instance: Instance,
    neighbours: Neighbours,
    settings: Settings,
    upstreams: list[str],
    written: Mapping[str, str],
) -> str:
    """Return why an instance would run; `UNCHANGED` if it would not.

    Args:
        instance: The instance.
        neighbours: The other instances that concern it.
        settings: Settings with the default kernel, and whether runs are forced.
        upstreams: Labels of its upstreams that run, or may run.
        written: Files that instances running before it may change, with these instances' labels.
    """
    record, problem = read_record(RunFiles.of(instance).record)
    if record is not None and (settings.force or instance.always_run):
        always = "a stored instance always runs" if instance.stored_in else "named by its run directory"
        return "forced" if settings.force else always
    kernel, trusts = settings.kernel_of(instance), settings.unseen == "trust"
    reasons = check(
        instance, record, records_of(neighbours), kernel, neighbours, trusts_unseen=trusts
    ).reasons
    if reasons:
        return "; ".join((*reasons, *((problem,) if problem else ())))
    root, inputs = instance.project_root, record.inputs if record is not None else {}
    read_from = (written.get(os.path.join(root, name)) for name in inputs)
    others = dict.fromkeys([*upstreams, *(label for label in read_from if label is not None)])
    return f"{MAY_RUN}{' or '.join(others)} writes something else" if others else UNCHANGED
