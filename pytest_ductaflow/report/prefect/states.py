"""The state of a task run in Prefect that stands for how an instance is, or has ended."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from ...core.outcome import outcome_of
from ...core.record import INTERRUPTED, WORKERS_LOST, Failure, Record, Status
from ...core.settings import WarningsMode

StateType = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED"]
_CRASHES = ("KernelDied", "WorkerDied", WORKERS_LOST)
_LONGEST = 2_000  # characters of a message


@dataclass(frozen=True)
class State:
    """A state, and what it says of the whole task run.

    Attributes:
        type: One of Prefect's types, which give it its colour.
        name: The name that Prefect shows.
        message: A line or two.
        at: When it began.
        started: When the instance began, if it has run.
        seconds: How long it ran.
        runs: How often it has been tried.
    """

    type: StateType
    name: str
    message: str
    at: datetime.datetime
    started: datetime.datetime | None = None
    seconds: float = 0.0
    runs: int = 0

    @property
    def is_final(self) -> bool:
        return self.type not in ("PENDING", "RUNNING")


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def pending(at: datetime.datetime) -> State:
    return State("PENDING", "Pending", "", at)


def running(worker: str = "", *, again: bool = False) -> State:
    """Return the state of an instance that begins now, or is tried again."""
    at = now()
    where = f"worker {worker}" if worker else ""
    return State("RUNNING", "Retrying" if again else "Running", where, at, at, runs=1 + again)


def without_record(kind: StateType, name: str, message: str) -> State:
    """Return the state of an instance that ended now without a record: blocked, skipped, refused, crashed."""
    at = now()
    return State(kind, name, message[:_LONGEST], at, at)


def of_record(record: Record, warnings: WarningsMode) -> State:
    """Return the state of an instance that has ended.

    Args:
        record: Its record.
        warnings: What a warning makes of an instance.
    """
    kind, name = _kind(record, warnings)
    message = record.message or ""
    if record.unchanged:
        before = f"unchanged since it ran at {record.started or 'an earlier time'}"
        return without_record(kind, name, "\n".join(filter(None, (message, before))))
    ended, seconds = now(), record.duration or 0.0
    started = _time(record.started) or ended - datetime.timedelta(seconds=seconds)
    lines = (message, f"run directory: {record.run_dir}", *_attempts(record))
    text = "\n".join(filter(None, lines))[:_LONGEST]
    # Its end is when it ended, not when the page was written; nothing is after the moment of being told.
    at = min(ended, started + datetime.timedelta(seconds=seconds))
    return State(kind, name, text, at, min(started, at), seconds, record.attempts)


def _kind(record: Record, warnings: WarningsMode) -> tuple[StateType, str]:
    outcome = outcome_of(record.status, warnings)
    if record.error is not None and outcome == "failed":
        return _kind_of_failure(record.error)
    if record.status is Status.WARNING and outcome != "passed":
        return ("FAILED" if outcome == "failed" else "COMPLETED"), "Warned"
    if outcome in ("passed", "warned"):
        return "COMPLETED", "Cached" if record.unchanged else "Completed"
    return ("CANCELLED", "Blocked") if outcome == "blocked" else ("FAILED", "Failed")


def _kind_of_failure(error: Failure) -> tuple[StateType, str]:
    if error.type in _CRASHES:
        return "CRASHED", "Crashed"
    if error.type == INTERRUPTED:
        return "CANCELLED", "Interrupted"
    return "FAILED", "TimedOut" if error.type == "Timeout" else "Failed"


def _attempts(record: Record) -> list[str]:
    return [f"attempt {number}: {why}" for number, why in enumerate(record.failed_attempts, 1)]


def _time(text: str) -> datetime.datetime | None:
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)
