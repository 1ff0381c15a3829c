"""Find upstreams that are out of date but not run by a session: their dependents are stale."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ...core.run_directory.layout import RunFiles
from ...core.run_directory.record_files import read_record
from ...core.settings import Settings
from ...tracking.up_to_date import check
from ...tracking.upstreams import records_of
from ..plan import Plan


@dataclass(frozen=True)
class OutOfDate:
    """An upstream that would run if it were selected.

    Attributes:
        number: Its number in the plan.
        label: `step/name`.
        reasons: Reasons why it would run.
        has_good_record: Whether its record is good, so that its dependents run all the same.
    """

    number: int
    label: str
    reasons: tuple[str, ...]
    has_good_record: bool

    def line(self, command: str) -> str:
        """Return the line that reports it.

        Args:
            command: Command that runs it.
        """
        why = "; ".join(self.reasons)
        return f"upstream {self.label} is out of date ({why}) and was not selected; {command}"


def out_of_date(plan: Plan, selected: Collection[int], settings: Settings) -> Iterator[OutOfDate]:
    """Yield direct and indirect upstreams of selected instances that are neither selected nor up to date."""
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
    """Return direct and indirect upstreams of selected instances, without these, in the plan's order."""
    if len(selected) == len(plan.all):
        return []
    seen, left = set(selected), list(selected)
    while left:
        new = set(plan.graph.upstreams[left.pop()]) - seen
        seen |= new
        left += new
    return sorted(seen.difference(selected))
