"""The outcome of an instance in a session, as pytest and dependent instances see it, and what makes it."""

from __future__ import annotations

from typing import Literal, assert_never

from .record import Status
from .settings import WarningsMode

Outcome = Literal["passed", "warned", "failed", "blocked", "skipped"]
GOOD: tuple[Outcome, ...] = ("passed", "warned")  # what depends on the instance may run


def outcome_of(status: Status, warnings: WarningsMode = "xfail") -> Outcome:
    """Return the outcome that follows from the status in a record.

    Args:
        status: The status of the run.
        warnings: What a warning makes of an instance (`--ductaflow-warnings`).
    """
    match status:
        case Status.SUCCESS:
            return "passed"
        case Status.WARNING:
            outcomes: dict[WarningsMode, Outcome] = {"xfail": "warned", "pass": "passed", "fail": "failed"}
            return outcomes[warnings]
        case Status.ERROR | Status.RUNNING:
            return "failed"
        case Status.BLOCKED:
            return "blocked"
        case _:
            assert_never(status)
