"""Give an engine the instances that are ready, and run pytest's protocol for each that has ended.

What needs no run (unchanged, blocked, skipped by a mark) never reaches the engine. When an instance has
ended there, its item goes through all hooks as in any session, in this process: what it does in its call is
to complete, or raise, what has come back.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import pytest
from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks

from ...core.errors import EngineError, EngineLost, InUse, PreconditionsUnmet
from ...core.record import STOPPED, Record
from ...core.system.lineage import session_id
from ...core.system.machine import usable_memory
from ...graph.core_pool import CorePool, limits_of_memory, wanted_cores
from ...graph.expected_durations import expected_durations
from ...graph.ready_queue import ReadyQueue
from ...planning.plan import Plan
from ...planning.processes.shared_plan import MadeBeside, share
from ...running.engines.elsewhere import Elsewhere, prepared
from ...running.engines.protocol import Briefing, Ended, Engine, Started
from ..items import SETTINGS, InstanceItem, PlannedItem, write_now
from ..ordering import begin_canaries
from .worker_times import TIMES, WorkerTimes

_NO_LIMIT = 10**9  # cores, where the engine itself books them
_WAIT = 5.0  # seconds; news end it
_AGAIN = 0.5  # seconds until an instance that another process is running is tried again
_SHORT = 2.0  # seconds of an instance; above, what Dask and others take for each does not matter
_WEIGHT = 0.3  # of an instance in the mean of those that have ended
_EARLY = "stopped, as the session ended early"


class EngineLoop:
    """All items of a session that have not ended.

    Args:
        session: pytest's session.
        plan: Its plan.
        engine: The engine, which is started once an instance has to run.
        look_ahead: An item that stands for the next one while that is not known.
    """

    def __init__(self, session: pytest.Session, plan: Plan, engine: Engine, look_ahead: pytest.Item) -> None:
        self._session, self._plan, self._engine = session, plan, engine
        self._look_ahead = look_ahead
        self._ordinary: deque[pytest.Item] = deque()
        self._items: dict[int, deque[PlannedItem]] = {}  # several of one number, if duplicates are kept
        for item in session.items:
            if isinstance(item, PlannedItem):
                self._items.setdefault(item.number, deque()).append(item)
            else:
                self._ordinary.append(item)
        settings = session.config.stash[SETTINGS]
        wanted, self._limits = wanted_cores(plan.all), limits_of_memory(plan.all, settings)
        self._ids = {number: items[0].nodeid for number, items in self._items.items()}
        cores, slots = engine.cores, engine.slots
        self._books = cores is not None and bool(wanted or self._limits)
        pool = CorePool(_NO_LIMIT, _NO_LIMIT, {})
        if self._books and cores is not None:
            pool = CorePool(cores, slots, wanted, usable_memory() if self._limits else 0, self._limits)
        weights = dict(enumerate(expected_durations(plan.all, plan.durations)))
        canaries = begin_canaries(session.config, set(self._items))
        order = canaries.ordered(plan.order)
        self._queue = ReadyQueue(order, set(self._items), weights, pool, canaries.numbers)
        self._wanted = wanted
        self._typical = _SHORT  # seconds that instances took, the last ones above all
        self._times = session.config.stash.setdefault(TIMES, WorkerTimes())
        self._plan_file: Path | None = None
        self._is_started = False
        self._under_way: dict[int, Elsewhere] = {}
        self._held: int | None = None  # an instance that is to go to the engine once that takes more
        self._results: dict[int, tuple[Elsewhere, Ended] | Record] = {}  # until the item's call asks for them
        self._due: deque[int] = deque()  # numbers of items whose protocol is to run
        self._in_use: dict[int, float] = {}  # when to try again what another process is running

    def run(self) -> None:
        """Run everything.

        Raises:
            EngineError: If the engine cannot run what there is.
            EngineLost: If it has gone.
            pytest.Session.Failed, pytest.Session.Interrupted: If the session is to stop.
        """
        try:
            while self._items or self._ordinary:
                self._fill()
                if self._due:
                    self._report(self._due.popleft())
                elif self._ordinary:
                    self._run_item(self._ordinary.popleft())
                else:
                    self._wait()
        except EngineLost as error:
            self._end(str(error))
            raise
        except KeyboardInterrupt:
            self._end(STOPPED)
            raise
        except BaseException:
            self._end(_EARLY)
            raise
        self._end(_EARLY)

    def _fill(self) -> None:
        """Give the engine what is ready, until it takes no more or something is to be reported first."""
        self._try_again()
        while not self._due:
            if self._held is not None:
                if self._is_started and len(self._under_way) > self._most_under_way:
                    return
                self._submit(self._held)
                self._held = None
            number = self._queue.pop()
            if number is None:
                return
            self._decide(number)

    @property
    def _most_under_way(self) -> int:
        """How many instances the engine may have: where they are short, a next one for each worker as well.

        A longer one waits here, and not behind another on a worker while others have nothing to do.
        """
        slots = self._engine.slots
        return slots if self._books or self._typical >= _SHORT else 2 * slots

    def _decide(self, number: int) -> None:
        """Find out whether an instance has to run."""
        item = self._items[number][0]
        if not isinstance(item, InstanceItem) or _is_decided(item):
            self._due.append(number)
            return
        try:
            found = prepared(item.instance, item.settings_here, item.neighbours, item.say)
        except InUse as error:
            if number not in self._in_use:
                item.say(f"{error}: waiting")
            self._in_use[number] = time.monotonic() + _AGAIN
            return
        self._in_use.pop(number, None)
        if isinstance(found, Record):
            self._results[number] = found
            self._due.append(number)
        else:
            self._under_way[number] = found
            self._held = number

    def _try_again(self) -> None:
        """Look again at instances that another process was running."""
        now = time.monotonic()
        for number in [number for number, due in self._in_use.items() if due <= now]:
            if self._held is None and not self._due:
                self._decide(number)

    def _submit(self, number: int) -> None:
        if not self._is_started:
            self._start()
        run = self._under_way[number]
        try:
            work = run.work(
                number,
                MadeBeside(self._plan_file or Path(), number),
                priority=self._queue.longest_way(number),
                cores=self._wanted.get(number, 1),
                memory=self._limits.get(number),
                resources=self._plan.all[number].resources,
            )
        except (EngineError, OSError) as error:  # what it needs cannot be sent
            del self._under_way[number]
            self._results[number] = run, Ended(number, error=(type(error).__name__, str(error)))
            self._due.append(number)
        else:
            self._engine.submit(work)

    def _start(self) -> None:
        """Start the engine, before the first instance."""
        config, every = self._session.config, self._plan.all
        first = next(iter(self._under_way.values()))
        if first.task.settings.sync and not self._engine.syncs:
            raise EngineError("--ductaflow-sync: this engine sends no files; leave it out")
        self._is_started = True  # what has begun to start has to be stopped as well
        self._plan_file = share(self._plan, Path(first.task.instance.project_root))
        instances = [every[number] for number in self._items if number < len(every)]
        self._engine.start(
            Briefing(
                session_id(),
                list(dict.fromkeys(each.project_root for each in instances)),
                first.task.settings,
                instances,
                self._wanted,
                lambda line: write_now(config, line),
            )
        )

    def _wait(self) -> None:
        """Wait for news of the engine, or of another process that runs an instance."""
        if not self._under_way:
            time.sleep(_AGAIN)
            return
        self._take(_AGAIN if self._in_use else _WAIT)

    def _take(self, seconds: float) -> None:
        """Take news of the engine."""
        for news in self._engine.wait(seconds):
            if isinstance(news, Started):
                self._begun(news)
            elif (run := self._under_way.pop(news.number, None)) is not None:
                self._results[news.number] = run, news
                self._due.append(news.number)
                self._note_duration(news)

    def _note_duration(self, news: Ended) -> None:
        record = news.outcome.record if news.outcome is not None else None
        if record is not None and record.duration is not None:
            self._typical += _WEIGHT * (record.duration - self._typical)

    def _begun(self, news: Started) -> None:
        """Have the report show an instance as running, of which pytest hears when it has ended."""
        self._times.begun[news.number] = news.worker, self._queue.wait_of(news.number)
        reporting = self._session.config.pluginmanager.get_plugin("ductaflow-reporting")
        if reporting is not None and news.number in self._under_way:
            reporting.begun_elsewhere(self._ids[news.number], self._engine.slots)

    def _report(self, number: int) -> None:
        """Run the protocol of an item that has ended, or that needs no engine."""
        items = self._items[number]
        item = items.popleft()
        if not items:
            del self._items[number]
        try:
            self._run_item(item)
        finally:
            self._complete_unasked(number)
        if items:
            self._due.append(number)
        else:
            self._queue.done(number)

    def _complete_unasked(self, number: int, why: str = STOPPED) -> None:
        """Complete what has ended though its item has not asked for it, as its setup has failed, say."""
        found = self._results.pop(number, None)
        if found is not None and not isinstance(found, Record):
            run, ended = found
            with contextlib.suppress(KeyboardInterrupt, PreconditionsUnmet):  # its record says so
                run.completed(ended, None, why)

    def _run_item(self, item: pytest.Item) -> None:
        """Run an item through all plugins.

        Raises:
            pytest.Session.Failed, pytest.Session.Interrupted: If the session is to stop after it.
        """
        session = self._session
        is_last = not (self._items or self._ordinary)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None if is_last else self._look_ahead)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def record_of(self, item: InstanceItem) -> Record:
        """Return the record of an instance whose protocol runs; if it is to run again, wait for that."""
        number = item.number
        if number not in self._results:
            self._run_again(item)
        found = self._results.pop(number)
        if isinstance(found, Record):
            return found
        run, ended = found
        return run.completed(ended, item.judge)

    def _run_again(self, item: InstanceItem) -> None:
        """Have the engine run an instance whose protocol runs, for a plugin that repeats items."""
        number, found = item.number, None
        while found is None:
            try:
                found = prepared(item.instance, item.settings_here, item.neighbours, item.say)
            except InUse as error:
                if number not in self._in_use:
                    item.say(f"{error}: waiting")
                self._in_use[number] = time.monotonic()
                time.sleep(_AGAIN)
        self._in_use.pop(number, None)
        if isinstance(found, Record):
            self._results[number] = found
            return
        self._under_way[number] = found
        self._submit(number)
        while number in self._under_way:
            self._take(_WAIT)
        self._due.remove(number)

    def _end(self, why: str) -> None:
        """End the engine; complete what has ended there, and close the records of all else."""
        ended: dict[int, Ended] = {}
        try:
            if self._is_started:
                ended = {each.number: each for each in self._engine.stop()}
        finally:  # also after a second Ctrl-C
            self._close(ended, why)

    def _close(self, ended: Mapping[int, Ended], why: str) -> None:
        """Complete what the engine has ended, and close the records of what it has not."""
        for number, run in self._under_way.items():
            if (news := ended.get(number)) is not None:
                self._results[number] = run, news
            else:
                run.abandon(why)
        self._under_way.clear()
        for number in list(self._results):
            self._complete_unasked(number, why)
        if self._plan_file is not None:
            self._plan_file.unlink(missing_ok=True)


def _is_decided(item: InstanceItem) -> bool:
    """Return whether an item will not run, by what pytest's marks and its upstreams say."""
    try:
        if evaluate_skip_marks(item) is not None:
            return True
        expected = evaluate_xfail_marks(item)
    except (Exception, pytest.fail.Exception):  # a mark is wrong, as its protocol is going to tell
        return True
    if expected is not None and not expected.run and not item.config.option.runxfail:
        return True
    return item.find_obstacle() is not None
