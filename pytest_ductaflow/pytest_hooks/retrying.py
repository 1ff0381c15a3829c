"""Let other items run while an instance waits to be tried again (`_retry_delay`).

An attempt that fails ends the item's protocol with a report `rerun`, as pytest-rerunfailures has it, and
the item is put among those that are left. Without xdist that is a change of the list that pytest walks along;
with it, the controller sends the item again. Where pytest-rerunfailures runs an item, it waits in its place.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from itertools import chain

import pytest
from _pytest.runner import call_and_report

from ..graph.digraph import followers
from ..running.retries import pause, retry_time
from .items import InstanceItem, PlannedItem
from .ordering import ORDER


def arranged(
    left: Sequence[pytest.Item],
    due: Mapping[pytest.Item, float],
    after: Mapping[int, Collection[int]],
    now: float,
) -> list[pytest.Item]:
    """Return items in an order in which nothing waits for a retry that could run.

    Args:
        left: The items, each after what it depends on.
        due: When items that have failed are to be tried again.
        after: For the numbers of these, the numbers of all that waits for them.
        now: The present time.
    """
    waiting = sorted((item for item in left if item in due), key=lambda item: due[item])
    ordered = [item for item in waiting if due[item] <= now]
    waiting = waiting[len(ordered) :]
    rest = [item for item in left if item not in due]
    while rest or waiting:
        held = set(chain.from_iterable(after[_number(item)] for item in waiting))
        ordered += [item for item in rest if _number(item) not in held]
        rest = [item for item in rest if _number(item) in held]
        ordered += waiting[:1]
        del waiting[:1]
    return ordered


def is_rerun_by_plugin(item: pytest.Item) -> bool:
    """Return whether pytest-rerunfailures runs an item."""
    config = item.config
    return config.pluginmanager.hasplugin("rerunfailures") and (
        config.getoption("reruns", None) is not None
        or config.getoption("force_reruns", None) is not None
        or config.getini("reruns") not in (None, "")
        or item.get_closest_marker("flaky") is not None
    )


def _number(item: pytest.Item) -> int:
    return item.number if isinstance(item, PlannedItem) else -1


class RetryHooks:
    """The hooks that try instances again.

    Args:
        is_distributed: Whether xdist's controller decides what runs when.
    """

    def __init__(self, *, is_distributed: bool) -> None:
        self._is_distributed = is_distributed
        self._due: dict[pytest.Item, float] = {}
        self._after: dict[int, set[int]] = {}  # by number: all that waits for it
        self._place = -1  # in the session's items, of the one that runs

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run an instance that may have to wait for a retry; let what is due come soon."""
        self._place += 1
        if self._due and not self._is_distributed:
            self._arrange(item.session, self._place + 2)  # the next one has been announced
        if not isinstance(item, InstanceItem) or not self._may_leave(item):
            return None
        self._run(item, nextitem)
        return True

    def _may_leave(self, item: InstanceItem) -> bool:
        instance, config = item.instance, item.config
        if not (instance.retries and instance.retry_delay) or config.getoption("usepdb", False):
            return False
        if is_rerun_by_plugin(item):
            return False
        same = [
            each
            for each in item.session.items
            if isinstance(each, PlannedItem) and each.number == item.number
        ]
        return all(each is item for each in same)  # not collected twice

    def _run(self, item: InstanceItem, nextitem: pytest.Item | None) -> None:
        """Run an instance once, as pytest does."""
        self._due.pop(item, None)
        if (due := retry_time(item.instance)) is not None:
            pause(due)
        item.leaves_retries = True
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if call_and_report(item, "setup").passed and not item.config.getoption("setuponly", False):
            call_and_report(item, "call")
        if item.retry_at is not None and not self._is_distributed:
            nextitem = self._put_back(item, item.retry_at)
        if item.session.shouldfail or item.session.shouldstop:
            nextitem = None
        call_and_report(item, "teardown", log=item.retry_at is None, nextitem=nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _put_back(self, item: InstanceItem, due: float) -> pytest.Item:
        """Put an instance among the items that are left, and return the one that comes next."""
        session = item.session
        if item.number not in self._after:
            self._after[item.number] = _all_after(item)
        self._due[item] = due
        session.items.insert(self._place + 1, item)
        self._arrange(session, self._place + 1)
        return session.items[self._place + 1]

    def _arrange(self, session: pytest.Session, place: int) -> None:
        session.items[place:] = arranged(session.items[place:], self._due, self._after, time.time())


def _all_after(item: InstanceItem) -> set[int]:
    """Return the numbers of all that waits for an instance, directly or not."""
    after = followers(item.config.stash[ORDER].before)
    found, reached = {item.number}, [item.number]
    while reached:
        new = set(after[reached.pop()]) - found
        found |= new
        reached += new
    return found - {item.number}
