"""Dask as an engine: instances are tasks of a scheduler, one for each that is ready."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ....core.errors import EngineError, EngineLost
from ....core.instance import Instance
from ....core.masking.config import references_in
from ....core.number_text import in_bytes
from ....core.system.machine import number_of_cores, usable_cores
from ..attempt import MOST_LOST, Outcome, ended_attempt, lost_workers
from ..needed import needed_distributions
from ..protocol import Briefing, Ended, Started, Work
from ..sync import pack_project
from . import on_worker
from .admission import Admission
from .cluster import LocalCluster

_LOOK = 1.0  # seconds between looks at the workers
_CONNECT = 10.0  # seconds to reach a scheduler
_STOP = 10.0  # seconds for instances that are stopped to end
_UNSEEN = 2.0  # seconds after which work that no worker has begun is looked for
_SILENCE = 1.0  # seconds after which the worker that has a result may have died
_NO_PATIENCE = 0.1


@dataclass
class _Task:
    """Work as it is known to Dask.

    Attributes:
        work: The work.
        future: Its future; None while no worker has what it asks for.
        since: When it was submitted, or when it turned out that no worker has that.
        has_begun: Whether a worker has said that it runs it.
        is_missed: Whether no worker knew it when that was last asked.
        killed: How often Dask has given it up, as the workers died that had it.
    """

    work: Work
    future: Any = None
    since: float = 0.0
    has_begun: bool = False
    is_missed: bool = False
    killed: int = 0


class DaskEngine:
    """An engine with the workers of a Dask scheduler.

    Args:
        address: Address of the scheduler; "" for a local cluster.
        workers: Number of workers of a local one.
    """

    def __init__(self, address: str, workers: int) -> None:
        self._address = address
        self._workers = workers
        self._cluster: LocalCluster | None = None
        self._client: Any = None
        self._admission: Admission | None = None
        self._briefing: Briefing | None = None
        self._tasks: dict[str, _Task] = {}  # by token
        self._news: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._looked = 0.0
        self._is_lost = False

    @property
    def cores(self) -> int | None:
        """Cores of this machine, for a local cluster; else workers offer theirs, and Dask books them."""
        return None if self._address else usable_cores()

    @property
    def syncs(self) -> bool:
        """Workers of a scheduler can get a copy; those of a local cluster have the project."""
        return bool(self._address)

    @property
    def slots(self) -> int:
        """One for each thread of a worker."""
        if not self._address:
            return self._workers
        offers = self._admission.offers.values() if self._admission is not None else ()
        return max(sum(each.threads for each in offers), 1)

    def start(self, briefing: Briefing) -> None:
        """Connect to the scheduler, and look at its workers.

        Raises:
            EngineError: If there is no scheduler, no worker comes in time, or a worker differs.
        """
        self._briefing, settings = briefing, briefing.settings
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is lost is told by the session
        _check_that_dask_is_installed()
        if not self._address:
            self._cluster = LocalCluster(self._workers)
        self._client = self._connected(self._cluster.address if self._cluster is not None else self._address)
        self._client.subscribe_topic(on_worker.topic_of(briefing.session), self._has_begun)
        self._admission = Admission(
            self._client,
            briefing.session,
            briefing.roots,
            needed_distributions(briefing.instances),
            _variables(briefing.instances),
            {root: pack_project(root, settings.sync_limit) for root in briefing.roots}
            if settings.sync
            else None,
        )
        self._wait_for_workers(self._admission, settings.engine_wait)

    def _connected(self, address: str) -> Any:
        from distributed import Client

        try:
            return Client(address, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise EngineError(
                f"there is no Dask scheduler at {address}: {reason}; start one (`dask scheduler`) and give "
                "its address"
            ) from None

    def _wait_for_workers(self, admission: Admission, seconds: float) -> None:
        """Wait for a first worker.

        Raises:
            EngineError: If none comes in time, or one differs from this process.
        """
        end = time.monotonic() + seconds
        while True:
            if wrong := admission.look():
                raise EngineError("\n".join(wrong))
            missing = self._workers - len(admission.offers) if not self._address else not admission.offers
            if not missing:
                return
            if time.monotonic() > end:
                raise EngineError(
                    f"no worker of {self._address or 'the local cluster'} has come within {seconds:g} s "
                    "(--ductaflow-engine-wait)"
                )
            time.sleep(_NO_PATIENCE)

    def submit(self, work: Work) -> None:
        """Hand work to the scheduler, as soon as a worker has what it asks for."""
        task = self._tasks[work.token] = _Task(work, since=time.monotonic())
        self._hand_over(task)

    def _hand_over(self, task: _Task) -> None:
        work, admission = task.work, self._admission
        if admission is None or not any(
            offer.has(self._cores_of(work), self._memory_of(work), work.resources)
            for offer in admission.offers.values()
        ):
            return
        memory = self._memory_of(work)
        task.since, task.is_missed, task.has_begun = time.monotonic(), False, False
        task.future = self._client.submit(
            on_worker.run_work,
            work,
            admission.ticket.removeprefix("ductaflow-"),
            key=(work.task.instance.step, f"{work.task.instance.name}-{secrets.token_hex(8)}"),
            pure=False,
            priority=work.priority,
            resources={
                admission.ticket: self._cores_of(work),
                **({on_worker.memory_of(admission.ticket): memory} if memory else {}),
                **work.resources,
            },
            retries=0,
        )
        task.future.add_done_callback(partial(self._done, work.token))

    def _cores_of(self, work: Work) -> int:
        return work.cores if self._address else 1  # the session books those of this machine

    def _memory_of(self, work: Work) -> int | None:
        return work.memory if self._address else None

    def _has_begun(self, event: tuple[float, Mapping[str, Any]]) -> None:
        _, told = event
        self._news.put((told["token"], Started(told["number"], told["worker"])))

    def _done(self, token: str, future: Any) -> None:
        """Have a result fetched; in the thread of the client in which all of them are told."""
        self._client.loop.add_callback(self._fetch, token, future)

    async def _fetch(self, token: str, future: Any) -> None:
        """Fetch a result; if its worker is silent, as it has died since, take what it has left on disk."""
        fetching = asyncio.ensure_future(self._client.gather(future, asynchronous=True))
        while (task := self._tasks.get(token)) is not None and not fetching.done():
            await asyncio.wait({fetching}, timeout=_SILENCE)
            if not fetching.done() and (left := ended_attempt(task.work.task, token)) is not None:
                self._news.put((token, (future, left)))
                break
        try:
            result = await fetching
        except BaseException as error:
            result = error
        self._news.put((token, (future, result)))

    def wait(self, seconds: float) -> Sequence[Started | Ended]:
        """Return what has begun and ended.

        Raises:
            EngineLost: If the scheduler does not answer any more.
        """
        if self._is_lost:
            raise self._lost()
        found: list[Started | Ended] = []
        if time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            found += self._look_after_workers()
        with contextlib.suppress(queue.Empty):
            news = self._news.get(timeout=0 if found else min(seconds, _LOOK))
            while True:
                found += self._read(*news)
                news = self._news.get_nowait()
        if self._is_lost and not found:
            raise self._lost()
        return found

    def _lost(self) -> EngineLost:
        where = self._address or "the local cluster"
        return EngineLost(
            f"the Dask scheduler of {where} has gone" if self._address else f"{where} of Dask has gone"
        )

    def _read(self, token: str, news: Any) -> list[Started | Ended]:
        """Return what news says, unless it is about work that has ended already."""
        task = self._tasks.get(token)
        if task is None:
            return []
        if isinstance(news, Started):
            task.has_begun = True
            return [news]
        future, result = news
        if future is not task.future:
            return []
        ended = self._ended(task, result)
        if ended is None:
            return []
        del self._tasks[token]
        return [ended]

    def _ended(self, task: _Task, result: Any) -> Ended | None:
        """Return how work has ended, None if it has not."""
        from concurrent.futures import CancelledError as OfFutures

        from distributed import CancelledError, KilledWorker

        number = task.work.number
        if isinstance(result, CancelledError | OfFutures):
            self._is_lost = True  # nobody here has cancelled it
            return None
        if isinstance(result, KilledWorker):
            task.killed += 1
            lost = lost_workers(task.work.task, task.work.token)
            if (
                max(len(lost), task.killed) < MOST_LOST
            ):  # it was waiting on a worker that something else killed
                task.future, task.since, task.has_begun = None, time.monotonic(), False
                self._hand_over(task)
                return None
            return Ended(number, Outcome(None, lost=lost))
        if isinstance(result, BaseException):
            return Ended(number, error=(type(result).__name__, str(result)))
        return Ended(number, result)

    def _look_after_workers(self) -> list[Ended]:
        """Look who has come and gone; hand over what can run now, and give up what has waited long enough."""
        admission, briefing = self._admission, self._briefing
        if admission is None or briefing is None or self._is_lost:
            return []
        try:
            for line in admission.look():
                briefing.say(f"left out: {line}")
            self._hand_over_again()
        except (OSError, TimeoutError, KeyError):  # a worker, or the scheduler, goes while it is asked
            self._is_lost = self._client.status not in ("running", "connecting")
            return []
        late = [task for task in self._tasks.values() if self._is_late(task, briefing)]
        for task in late:
            del self._tasks[task.work.token]
        return [Ended(task.work.number, error=self._unmet(task.work, admission, briefing)) for task in late]

    def _hand_over_again(self) -> None:
        """Hand over work that a worker can do now, and what was lost with a worker that had not begun it."""
        for task in self._tasks.values():
            if task.future is None:
                self._hand_over(task)
        now = time.monotonic()
        unseen = [t for t in self._tasks.values() if t.future is not None and now - t.since > _UNSEEN]
        if not unseen or all(task.has_begun for task in unseen):
            return
        known = {key for keys in self._client.processing().values() for key in keys}
        for task in unseen:
            is_missed = task.future.key not in known and task.future.status == "pending"
            if is_missed and task.is_missed:
                future, task.future = task.future, None
                self._hand_over(task)
                task.since = now
                future.cancel()
            else:
                task.is_missed = is_missed

    def _is_late(self, task: _Task, briefing: Briefing) -> bool:
        return task.future is None and time.monotonic() - task.since > briefing.settings.engine_wait

    def _unmet(self, work: Work, admission: Admission, briefing: Briefing) -> tuple[str, str]:
        """Return the failure of work for which there is no worker."""
        offers = admission.offers.values()
        where = self._address or "the local cluster"
        waited = f"waited {briefing.settings.engine_wait:g} s (--ductaflow-engine-wait)"
        if not offers:
            return "NoWorker", f"{where} has no worker any more; {waited}"
        memory = self._memory_of(work)
        asked = {
            **({"_cores": work.cores} if self._cores_of(work) > 1 else {}),
            **({"_memory": memory} if memory else {}),
            **work.resources,
        }
        have = [{**each.resources, "_cores": each.threads, "_memory": each.memory} for each in offers]
        most = {name: max(each.get(name, 0) for each in have) for name in asked}
        return (
            "NoWorker",
            f"no worker of {where} has {_amounts(asked)} (the most that one has: {_amounts(most)}); {waited}",
        )

    def stop(self) -> Sequence[Ended]:
        """Stop what runs, and leave nothing behind."""
        ended: list[Ended] = []
        try:
            if self._client is not None and not self._is_lost:
                with contextlib.suppress(Exception):
                    ended = self._stop_all()
        finally:
            try:
                if self._client is not None:
                    with contextlib.suppress(Exception):
                        self._client.close(timeout=_NO_PATIENCE if self._is_lost else _STOP)
            finally:
                if self._cluster is not None:
                    self._cluster.close()
        return ended

    def _stop_all(self) -> list[Ended]:
        """Stop what has begun, cancel the rest, and say goodbye to the workers."""
        session = self._briefing.session if self._briefing is not None else ""
        waiting = [task for task in self._tasks.values() if not task.has_begun]
        for task in waiting:
            del self._tasks[task.work.token]
        self._client.cancel([task.future for task in waiting if task.future is not None])
        ended: list[Ended] = []
        addresses = [*self._admission.offers] if self._admission is not None else []
        if self._tasks:
            self._on_all(addresses, on_worker.end_early, session)
            end = time.monotonic() + _STOP
            while self._tasks and time.monotonic() < end and not self._is_lost:
                with contextlib.suppress(queue.Empty):
                    news = self._read(*self._news.get(timeout=_NO_PATIENCE))
                    ended += [each for each in news if isinstance(each, Ended)]
            self._client.cancel([task.future for task in self._tasks.values() if task.future is not None])
        self._on_all(addresses, on_worker.farewell, session, _STOP)
        return ended

    def _on_all(self, addresses: Sequence[str], function: Any, *arguments: object) -> None:
        """Call a function on all workers that are still there."""
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        present = [address for address in addresses if address in there]
        if present:
            self._client.run(function, *arguments, workers=present, on_error="ignore")


def _check_that_dask_is_installed() -> None:
    try:
        import cloudpickle  # noqa: F401
        import distributed  # noqa: F401
    except ImportError as error:
        raise EngineError(
            f"Dask cannot be imported: {error}; it comes with pip install 'pytest-ductaflow[dask]'"
        ) from None


def _variables(instances: Sequence[Instance]) -> dict[str, str]:
    """Return the environment variables to which configs refer, as far as this process has them."""
    names = {name for each in instances for name in references_in(each.config)}
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}


def _amounts(amounts: Mapping[str, float]) -> str:
    texts = {name: in_bytes(int(n)) if name == "_memory" else f"{n:g}" for name, n in amounts.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items())


def engine(text: str) -> DaskEngine:
    """Return the engine.

    Args:
        text: Address of a scheduler, or the number of workers of a local cluster; "" for one for each core.

    Raises:
        EngineError: If it is neither.
    """
    text = text.strip()
    if "://" in text:
        return DaskEngine(text, 0)
    if text and not (text.isdecimal() and int(text) > 0):
        raise EngineError(
            f"dask:{text}: expected a number of local workers, as in dask:4, or the address of a scheduler, "
            "as in tcp://host:8786"
        )
    return DaskEngine("", int(text) if text else number_of_cores())
