"""Run upstreams first, mark instances whose dependencies are missing, and note how each has ended."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator

import pytest

from ..core.errors import PreconditionsUnmet
from ..core.outcome import Outcome, outcome_of
from ..graph.dependencies import Graph
from .canaries import Canaries
from .items import PLAN, PRECONDITIONS, SETTINGS, PlannedItem, only_instances, only_planned

BLOCKED = "ductaflow_blocked"  # in a report: whether a failed instance is the cause; runs again with --lf
REFUSED = "ductaflow_refused"  # in a report: why the instance was not started


ORDER = pytest.StashKey[Graph]()  # what waits for what in this session


def begin_canaries(config: pytest.Config, selected: Collection[int]) -> Canaries:
    """Choose the canaries of a session, by which its instances are blocked from now on."""
    plan, preconditions = config.stash[PLAN], config.stash[PRECONDITIONS]
    instances = [number for number in selected if number < len(plan.all)]  # what comes after runs is none
    canaries = Canaries(plan.all, instances if config.stash[SETTINGS].canary else ())
    preconditions.further = lambda number: canaries.obstacle(number, preconditions.outcomes.read())
    return canaries


class OrderHooks:
    """The hooks that decide last on the order, and run last for each item."""

    def __init__(self) -> None:
        self._running: PlannedItem | None = None
        self._has_failed = False
        self._canaries: Canaries | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Put upstreams first, after all other plugins have selected and shuffled."""
        result = yield
        plan = config.stash[PLAN]
        # Instances named by the user keep the given order, as far as upstreams allow.
        as_asked = any("::" in argument for argument in config.args)
        selected = frozenset(item.number for item in only_instances(items))
        config.stash[PRECONDITIONS].selected = selected
        canaries = self._canaries = begin_canaries(config, selected)
        order = canaries.ordered(plan.order_as_asked if as_asked else plan.order)
        config.stash[ORDER] = order
        _put_upstreams_first(order, items, canaries.numbers)
        return result

    def pytest_report_collectionfinish(self) -> list[str]:
        return [*self._canaries.headlines()] if self._canaries is not None else []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to a report what processes and plugins that do not have the item need to know."""
        report = yield
        if isinstance(item, PlannedItem) and call.excinfo is not None:
            if report.failed and isinstance(call.excinfo.value, PreconditionsUnmet):
                setattr(report, REFUSED, str(call.excinfo.value))
            elif report.skipped and call.when == "setup" and item.obstacle is not None:
                source, line, _ = item.reportinfo()
                reason = f"Skipped: {item.obstacle.reason}"
                report.longrepr = (os.fspath(source), 0 if line is None else line + 1, reason)
                setattr(report, BLOCKED, item.obstacle.of_failure)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Write how the instance ended, after all attempts, including those of other plugins."""
        self._running = item if isinstance(item, PlannedItem) else None
        self._has_failed = False
        result = yield
        if self._running is not None and self._running.retry_at is not None:
            self._running = None  # it is going to run again
        if self._running is not None:
            outcome = _outcome(self._running, has_failed=self._has_failed)
            item.config.stash[PRECONDITIONS].outcomes.write(self._running.number, outcome)
            self._running = None
        if isinstance(item, PlannedItem):
            item.record = None  # pytest keeps all items
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:  # False for an attempt that is followed by another
            self._has_failed = True


def _put_upstreams_first(graph: Graph, items: list[pytest.Item], first: Collection[int]) -> None:
    """Reorder instances among their own places, with some as early as it may be; all else stays in place."""
    mine = only_planned(items)
    numbers = sorted(dict.fromkeys(item.number for item in mine), key=lambda number: number not in first)
    rank = {number: place for place, number in enumerate(graph.order(numbers))}
    ordered = iter(sorted(mine, key=lambda item: rank[item.number]))
    items[:] = [next(ordered) if isinstance(item, PlannedItem) else item for item in items]


def _outcome(item: PlannedItem, *, has_failed: bool) -> Outcome:
    if has_failed:
        return "failed"
    if item.obstacle is not None:
        return item.obstacle.outcome
    if item.record is not None:
        return outcome_of(item.record.status, item.config.stash[SETTINGS].warnings)
    return "skipped"
