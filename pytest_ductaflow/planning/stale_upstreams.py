"""Upstreams that are not up to date and that a session does not run: what depends on them is stale."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ..core.run_files import RunFiles, read_record
from ..core.settings import Settings
from ..tracking.up_to_date import check
from ..tracking.upstreams import records_of
from .plan import Plan


@dataclass(frozen=True)
class OutOfDate:
    """An upstream that would run, had it been selected.

    Attributes:
        number: Its place in the plan.
        label: `step/name`.
        reasons: Why it would run.
        has_good_record: Whether what depends on it runs all the same.
    """

    number: int
    label: str
    reasons: tuple[str, ...]
    has_good_record: bool

    def line(self, command: str) -> str:
        """What to tell of it.

        Args:
            command: What runs it.
        """
        why = "; ".join(self.reasons)
        return f"upstream {self.label} is out of date ({why}) and was not selected; {command}"


def out_of_date(plan: Plan, selected: Collection[int], settings: Settings) -> Iterator[OutOfDate]:
    """The upstreams of selected instances, near and far, that are neither selected nor up to date."""
    keys = {plan.all[number].key for number in selected} if len(selected) < len(plan.all) else set()
    for number in _not_selected(plan, selected):
        instance = plan.all[number]
        if instance.key in keys or instance.always_run:
            continue
        record, _ = read_record(RunFiles.of(instance).record)
        kernel = settings.kernel_of(instance)
        neighbours = plan.neighbours(number)
        reasons = check(instance, record, records_of(neighbours), kernel, neighbours).reasons
        if reasons:
            good = record is not None and record.status.good
            yield OutOfDate(number, plan.graph.labels[number], reasons, good)


def _not_selected(plan: Plan, selected: Collection[int]) -> list[int]:
    """All on whom selected instances depend, directly or not, less themselves; in the plan's order."""
    if len(selected) == len(plan.all):
        return []
    seen, left = set(selected), list(selected)
    while left:
        new = set(plan.graph.upstreams[left.pop()]) - seen
        seen |= new
        left += new
    return sorted(seen.difference(selected))
