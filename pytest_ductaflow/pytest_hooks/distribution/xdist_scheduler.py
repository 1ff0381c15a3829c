"""Decide which xdist worker gets which items, and when.

An xdist worker requests its next item before it runs the one it has. So a worker never gets an instance
alone, but with a pause after it, an item without work: it runs the instance at once, and waits for more
in the pause. What comes next can then depend on how the instance ended.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest

from ...core.run_directory.atomic import write_json
from ...graph.core_pool import CorePool
from ...graph.expected_durations import expected_durations
from ...graph.ready_queue import ReadyQueue
from ..items import EXCHANGE, MAY_RUN, PLAN, PRECONDITIONS, SERVERS, SETTINGS, PlannedItem, write_now
from ..ordering import begin_canaries
from ..outcomes import record_of
from .alarm import Alarm, alarm_of
from .idle_workers import IdleWorkers
from .worker_times import TIMES, WorkerTimes
from .workload import Work, Workload, chunks_of

_EARLY = 0.05  # seconds that a worker can wait
_SERVER = "ductaflow_server"  # in what a worker is given


class Node(Protocol):
    """An xdist worker, as schedulers in the controller see it."""

    gateway: Any

    @property
    def shutting_down(self) -> bool: ...

    def send_runtest_some(self, indices: Sequence[int]) -> None: ...


class InstanceScheduling:
    """An xdist scheduler that gives each worker one instance at a time, and only one that is ready.

    Args:
        config: pytest's config, unused here; pytest-rerunfailures expects it, as xdist's schedulers have it.
        workers: Number of workers at the beginning.
        workload_of: Function from a collection and the worker that sent it to the workload.
        is_stopping: Test whether `-x` or `--maxfail` ends the session.
        difference: Function from two collections and their workers' names to a message, None if equal.
        on_difference: Function that gets this message, with the name of the worker.
        has_ended: Test whether an instance has an outcome, and all of its reports have been sent.
        on_crash: Function that gets the instance of a crashed worker, before more work is sent.
        idle: Takes notice of workers without work.
        times: Takes notice of which worker runs what, for the report.
    """

    def __init__(
        self,
        config: pytest.Config | None = None,
        *,
        workers: int,
        workload_of: Callable[[list[str], Node], Workload],
        is_stopping: Callable[[], bool],
        difference: Callable[[Sequence[str], Sequence[str], str, str], str | None],
        on_difference: Callable[[str, str], None],
        has_ended: Callable[[int], bool],
        on_crash: Callable[[int], None],
        idle: IdleWorkers,
        times: WorkerTimes | None = None,
    ) -> None:
        self.config = config
        self._workers = workers
        self._workload_of = workload_of
        self._is_stopping = is_stopping
        self._difference = difference
        self._on_difference = on_difference
        self._has_ended = has_ended
        self._on_crash = on_crash
        self._idle = idle
        self._times = times if times is not None else WorkerTimes()
        self._collections: dict[Node, list[str] | None] = {}  # of the present workers
        self._collection: list[str] | None = None  # the common one, once all have sent theirs
        self._workload: Workload | None = None
        self._busy: dict[Node, Work] = {}
        self._strangers: set[Node] = set()  # workers that came later, and collected something else
        self._crashed: dict[str, Work] = {}  # by node id, until the item is queued again or given up
        self._retry_at: dict[str, float] = {}  # by node id, of instances that have failed but not ended
        self._held: list[tuple[float, Work]] = []  # those that no worker has, and when they are due
        self.alarm: Alarm | None = None  # calls `wake`
        self._is_refused = False

    @property
    def nodes(self) -> list[Node]:
        return list(self._collections)

    @property
    def collection_is_completed(self) -> bool:
        """Whether each worker has sent its collection; once True, it stays True."""
        told = sum(collection is not None for collection in self._collections.values())
        return self._collection is not None or told >= self._workers

    @property
    def tests_finished(self) -> bool:
        """Whether the workers may be shut down after their current work."""
        if self._is_refused or self._is_stopping():
            return True
        if self._workload is None or self._busy or self._crashed:
            return False
        return self._workload.is_empty or (
            bool(self._strangers) and self._strangers >= set(self._collections)
        )

    @property
    def has_pending(self) -> bool:
        return self._workload is not None and not self.tests_finished

    def add_node(self, node: Node) -> None:
        self._collections[node] = None

    def add_node_collection(self, node: Node, collection: Sequence[str]) -> None:
        """Take the collection that a worker has sent."""
        if self._collection is None or self._is_same(self._collection, collection, "the others", node):
            self._collections[node] = list(collection)
        else:
            self._strangers.add(node)

    def schedule(self) -> None:
        """Send work, for the first time or because a worker has replaced another."""
        if self._workload is None:
            (first, collection), *others = [(n, c) for n, c in self._collections.items() if c is not None]
            same = [self._is_same(collection, other, first.gateway.id, node) for node, other in others]
            if not all(same):
                self._is_refused = True
                return
            self._collection = collection
            self._workload = self._workload_of(collection, first)
        self._give_out()

    def _is_same(self, expected: Sequence[str], told: Sequence[str], whose: str, node: Node) -> bool:
        """Return whether positions mean the same items to two workers; report it if not."""
        message = self._difference(expected, told, whose, node.gateway.id)
        if message is not None:
            self._on_difference(message, node.gateway.id)
        return message is None

    def mark_test_complete(self, node: Node, item_index: int, duration: float = 0) -> None:  # noqa: ARG002
        """Note that an item has ended; the end of a pause is ignored."""
        work = self._busy.get(node)
        if work is None or item_index not in work.items or self._workload is None:
            return
        due = self._retry_at.pop(self._collection[item_index] if self._collection else "", None)
        if due is not None and work.number in self._workload.singles:
            del self._busy[node]
            self._hold(work, due, self._workload)
        else:
            self._workload.ended(work, item_index)
            if not work.items:
                del self._busy[node]
        self._give_out()

    def retry_later(self, item: str, due: float) -> None:
        """Note, before it is marked as complete, that an item is to be run again, and when."""
        self._retry_at[item] = due

    def _hold(self, work: Work, due: float, workload: Workload) -> None:
        if self.alarm is None:  # a worker has to wait
            workload.put_back(work)
            return
        workload.hold(work)
        self._held.append((due, work))
        self.alarm.set(due)

    def wake(self) -> None:
        """Queue what is due to be tried again."""
        if self._workload is None:
            return
        now = time.time()
        for due, work in [held for held in self._held if held[0] <= now + _EARLY]:
            self._held.remove((due, work))
            self._workload.put_back(work)
        self._give_out()

    def remove_node(self, node: Node) -> str | None:
        """Remove a worker that has ended, or crashed.

        Returns:
            The item that it was running when it crashed, if any.
        """
        if self._workload is None and self._collections[node] is not None:
            self._workers -= 1  # it has told what it collected, and is not waited for
        del self._collections[node]
        self._strangers.discard(node)
        work = self._busy.pop(node, None)
        if work is None or self._collection is None or self._workload is None:
            return None
        if work.number in self._workload.singles and self._has_ended(work.number):
            self._workload.ended(work, work.items[0])  # it crashed just before it could report that
            self._give_out()
            return None
        name = self._collection[work.items[0]]
        self._crashed[name] = work
        return name

    def mark_test_pending(self, item: str) -> None:
        """Queue an item whose worker crashed to be run again."""
        work = self._crashed.pop(item, None)
        if work is not None and self._workload is not None:
            self._workload.put_back(work)
            self._give_out()

    def give_up(self, item: str) -> None:
        """Treat an item whose worker crashed as failed, unless it is to be run again."""
        work = self._crashed.pop(item, None)
        if work is None or self._workload is None:
            return
        if work.number is not None:
            self._on_crash(work.number)
        self._workload.ended(work, work.items[0])
        self._workload.put_back(work)
        self._give_out()

    def remove_pending_tests_from_node(self, node: Node, indices: Sequence[int]) -> None:
        raise NotImplementedError  # xdist calls it only for a scheduler that takes work away from a worker

    def _give_out(self) -> None:
        """Send work to all idle workers, as far as there is any."""
        if self._workload is None or self._collection is None or self.tests_finished:
            return
        self._send_work(self._workload, pause=len(self._collection))
        held_back = self._workload.held_back
        self._idle.note(
            workers=len(self._collections),
            busy=len(self._busy),
            held_back=held_back,
            left=self._workload.instances_left,
        )
        idle = [node.gateway.id for node in self._collections if node not in self._busy]
        self._times.idle.note(idle, self._workload.why_idle(held_back))

    def _send_work(self, workload: Workload, pause: int) -> None:
        for node, collection in list(self._collections.items()):
            if collection is None or node in self._busy or node.shutting_down:
                continue
            work = workload.take()
            if work is None:
                return
            try:
                node.send_runtest_some([*work.items, pause])
            except OSError:  # it has just crashed, and xdist will report that
                self._collections[node] = None
                workload.put_back(work)
            else:
                self._busy[node] = work
                if work.number is not None:
                    self._times.begun[work.number] = (node.gateway.id, workload.wait_of(work))


class ControllerHooks:
    """The controller's hooks, which replace xdist's scheduler by ours if there are instances."""

    def __init__(self) -> None:
        self._session: pytest.Session | None = None
        self._scheduler: InstanceScheduling | None = None
        self._workers = 0
        self._configured = 0

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[object]) -> None:
        self._workers = len(specs)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Start a server of kernels for a worker, or tell it which one takes its requests, too."""
        if node.config.stash.get(MAY_RUN, False):
            from ...running.run_instance import start_server_for

            number, self._configured = self._configured, self._configured + 1
            node.workerinput[_SERVER] = start_server_for(number, node.config.stash[SETTINGS])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Have the servers end that workers have used, which have ended."""
        if (pool := sys.modules.get(SERVERS)) is not None:
            pool.servers.end_for_others()

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> InstanceScheduling | None:
        if not config.stash[PLAN].all:
            return None
        from xdist.report import report_collection_diff  # type: ignore[import-untyped]

        workers = self._workers
        outcomes = config.stash[PRECONDITIONS].outcomes
        self._scheduler = InstanceScheduling(
            config,
            workers=workers,
            workload_of=lambda collection, node: _workload(config, collection, node, workers),
            is_stopping=self._is_stopping,
            difference=report_collection_diff,
            on_difference=lambda message, worker: _report_difference(config, message, worker),
            has_ended=lambda number: number in outcomes.read(),
            on_crash=lambda number: outcomes.write(number, "failed"),
            idle=IdleWorkers(partial(write_now, config)),
            times=config.stash.setdefault(TIMES, WorkerTimes()),
        )
        self._scheduler.alarm = alarm_of(config, self._scheduler.wake)
        return self._scheduler

    def _is_stopping(self) -> bool:
        """Return whether the session is to stop, also for a crash, which only pytest counts as a failure."""
        session = self._session
        return session is not None and bool(session.shouldfail or session.shouldstop)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Give up a crashed worker's item, after others could request another run or stop the session."""
        if self._scheduler is None:
            return
        self._scheduler.give_up(report.nodeid)
        record = record_of(report)
        if record is not None and record.retry_at is not None:
            self._scheduler.retry_later(report.nodeid, record.retry_at)


def _workload(config: pytest.Config, collection: list[str], node: Node, workers: int) -> Workload:
    plan = config.stash[PLAN]
    text = _numbers_file(config, node.gateway.id).read_text(encoding="utf-8")
    numbers: list[int | None] = json.loads(text)
    canaries = begin_canaries(config, {number for number in numbers if number is not None})
    for line in canaries.headlines():
        write_now(config, line)
    ordinary = [position for position, number in enumerate(numbers) if number is None]
    queue = ReadyQueue(
        canaries.ordered(plan.order),
        {number for number in numbers if number is not None},
        dict(enumerate(expected_durations(plan.all, plan.durations))),
        CorePool.of_machine(plan.all, config.stash[SETTINGS], workers),
        canaries.numbers,
    )
    mode, largest = config.getoption("dist"), config.getoption("maxschedchunk", None)
    return Workload(numbers, queue, chunks_of(collection, ordinary, mode, workers, largest))


def _report_difference(config: pytest.Config, message: str, worker: str) -> None:
    report = pytest.CollectReport(nodeid=worker, outcome="failed", longrepr=message, result=[])
    config.hook.pytest_collectreport(report=report)


def _numbers_file(config: pytest.Config, worker: str) -> Path:
    """Return the file in which a worker maps its items to instances: ids alone may be ambiguous."""
    return config.stash[EXCHANGE] / f"{worker}.json"


class Pause(pytest.Item):
    """An item without work, in which a worker waits for more."""

    def runtest(self) -> None:
        """Do nothing."""

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, "end of the session"


class WorkerHooks:
    """A worker's hooks, which add the pause where the controller expects it, after the last item."""

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Use the server of kernels that the controller has started."""
        if (server := session.config.workerinput.get(_SERVER)) is not None:  # type: ignore[attr-defined]
            from ...kernels.server_pool import servers

            servers.use(server)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Write the items' numbers before xdist sends the ids to the controller."""
        numbers = [item.number if isinstance(item, PlannedItem) else None for item in session.items]
        worker = session.config.workerinput["workerid"]  # type: ignore[attr-defined]
        write_json(_numbers_file(session.config, worker), numbers)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Add the pause after the ids have been sent, so that it is not reported."""
        if not session.config.stash[PLAN].all:
            return
        session.items.append(Pause.from_parent(session, name="pause"))
        for plugin in session.config.pluginmanager.get_plugins():
            if hasattr(plugin, "run_one_test"):  # xdist's, which runs each item through all plugins
                plugin.run_one_test = partial(_run_one, plugin, plugin.run_one_test)


class Worker(Protocol):
    """The object of xdist that runs items in a worker.

    Attributes:
        item_index: Position of the item that runs, or ran last.
        nextitem_index: Position of the one after it.
    """

    config: Any
    session: pytest.Session
    item_index: int
    nextitem_index: int


def _run_one(worker: Worker, run: Callable[[], None]) -> None:
    """Run a worker's next item; a pause, which is hidden from plugins, waits for the item after it."""
    items = worker.session.items
    if not isinstance(items[worker.nextitem_index], Pause):
        run()
        return
    last = worker.item_index

    def protocol(nextitem: pytest.Item | None, **_: object) -> None:
        if nextitem is None:
            worker.config, worker.item_index = config, last
            _tear_down(items[last])

    config = worker.config
    worker.config = SimpleNamespace(hook=SimpleNamespace(pytest_runtest_protocol=protocol))
    try:
        run()
    finally:
        worker.config = config


def _tear_down(last: pytest.Item) -> None:
    """Tear down the fixtures of the session, as pytest does with the last item that it runs."""
    state = last.session._setupstate  # noqa: SLF001
    call = pytest.CallInfo.from_call(
        lambda: state.teardown_exact(None),
        when="teardown",
        reraise=(KeyboardInterrupt, pytest.exit.Exception),
    )
    if call.excinfo is not None:
        report = pytest.TestReport.from_item_and_call(last, call)
        last.ihook.pytest_runtest_logreport(report=report)
