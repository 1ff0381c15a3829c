"""An instance that runs in an engine, from the session's side: its lock, its work, and its final record."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from ...core.errors import PreconditionsUnmet
from ...core.instance import Instance, Neighbours
from ...core.record import INTERRUPTED, STOPPED, WORKERS_LOST, Failure, Record, Status
from ...core.run_directory.record_files import read_record
from ...core.settings import Settings
from ...core.system.lineage import session_id
from ..run_instance import complete, prepare
from ..single_run import Task, publish_failure
from .attempt import MOST_LOST, Outcome, forget, give_up, want
from .protocol import Ended, Work
from .sync import bring_back, parcel_of


@dataclass(frozen=True)
class Elsewhere:
    """An instance that has to run, whose lock this process holds.

    Attributes:
        task: What is to be run.
        neighbours: The other instances that concern it.
        lock: Holds the lock until the record is written.
    """

    task: Task
    neighbours: Neighbours
    lock: contextlib.ExitStack

    def work(
        self,
        number: int,
        made_beside: Callable[[str], Collection[str]],
        *,
        priority: float,
        cores: int,
        memory: int | None,
        resources: Mapping[str, float],
    ) -> Work:
        """Return what an engine gets; for the arguments see `Work`.

        Raises:
            EngineError: If what it needs is too large to be sent.
            OSError: If nothing can be written that says that it is to run.
        """
        parcel, task, token = None, self.task, secrets.token_hex(8)
        if task.settings.sync:
            parcel, task = parcel_of(task, session_id())
        brief = tuple((label, record.brief()) for label, record in task.upstreams)
        task = replace(task, upstreams=brief, made_beside=made_beside)
        instance = task.instance
        label = f"{instance.step}/{instance.name}"
        if parcel is None:
            want(task, token)
        return Work(number, label, task, token, priority, cores, memory, resources, parcel)

    def completed(self, ended: Ended, judge: Callable[[Record], Record] | None, why: str = STOPPED) -> Record:
        """Complete the record with what came back, and write it.

        Args:
            ended: What came back.
            judge: As in `run_instance.run`.
            why: Why the instance was stopped, if it was.

        Returns:
            The record.

        Raises:
            KeyboardInterrupt: If the instance was stopped.
            PreconditionsUnmet: If it was not started.
        """
        task, outcome = self.task, ended.outcome
        try:
            if outcome is None:
                return self._failed(Failure(*ended.error))
            if outcome.record is None:
                return self._without_record(outcome, why)
            record = bring_back(task, outcome) if task.settings.sync else outcome.record
            record = _with_lost(record, outcome.lost)
            if outcome.interrupted and record.error is not None and record.error.type == INTERRUPTED:
                record = record.with_(error=replace(record.error, message=why))
            return complete(task, record, outcome.interrupted, self.neighbours, judge)
        finally:
            forget(task)
            self.lock.close()

    def _failed(self, failure: Failure) -> Record:
        """Return the record of a failure of the engine.

        Raises:
            PreconditionsUnmet: If the instance was not started; its run directory is not touched.
        """
        if self._has_begun:
            return publish_failure(self.task.files, self.task.running, failure)
        raise PreconditionsUnmet(failure.message)

    @property
    def _has_begun(self) -> bool:
        """Whether an attempt has written that it runs the instance."""
        there, _ = read_record(self.task.files.record)
        return there is not None and there.status is Status.RUNNING

    def _without_record(self, outcome: Outcome, why: str) -> Record:
        task, running = self.task, _with_lost(self.task.running, outcome.lost)
        if outcome.interrupted:
            if self._has_begun:
                publish_failure(task.files, running, Failure(INTERRUPTED, why))
            raise KeyboardInterrupt
        return publish_failure(task.files, running, workers_lost(outcome.lost))

    def abandon(self, why: str) -> None:
        """Close the record of an instance of which nothing comes any more, and have nothing run on."""
        give_up(self.task)
        if self._has_begun:
            publish_failure(self.task.files, self.task.running, Failure(INTERRUPTED, why))
        self.lock.close()


def prepared(
    instance: Instance, settings: Settings, neighbours: Neighbours, say: Callable[[str], None]
) -> Record | Elsewhere:
    """Decide whether an instance has to run, and take its lock if it has.

    Returns:
        The record, if nothing has to run or nothing can.

    Raises:
        InUse: If another process is running it, unless the settings say that it then fails.
    """
    with contextlib.ExitStack() as stack:
        task = prepare(
            stack,
            instance,
            settings,
            neighbours,
            say,
            page_may_follow=False,  # it would be lost with its worker
            refuses_to_wait=not settings.no_wait,
        )
        return task if isinstance(task, Record) else Elsewhere(task, neighbours, stack.pop_all())


def workers_lost(lost: tuple[str, ...]) -> Failure:
    """Return the failure of an instance with which workers were lost again and again."""
    names = f": {', '.join(lost)}" if lost else ""  # of those that had begun it
    return Failure(WORKERS_LOST, f"killed {max(len(lost), MOST_LOST)} workers (memory?){names}")


def _with_lost(record: Record, lost: tuple[str, ...]) -> Record:
    """Return a record that tells of the attempts that were lost with their workers."""
    if not lost:
        return record
    told = tuple(f"WorkerLost: {worker}" for worker in lost)
    return record.with_(
        attempts=record.attempts + len(lost), failed_attempts=(*told, *record.failed_attempts)
    )
