"""Which state in Prefect stands for how an instance has ended."""

from __future__ import annotations

import pytest

from pytest_ductaflow.core.record import INTERRUPTED, WORKERS_LOST, Failure, Record, Status
from pytest_ductaflow.report.prefect.states import of_record


def make_record(status: Status, error: str = "", **more: object) -> Record:
    failure = Failure(error, "no") if error else None
    made = {"inputs": {}, "outputs": {}, "started": "2026-01-01T00:00:00+00:00", "duration": 2.0, **more}
    return Record(status, "fit.py", "fit", "a", "runs/fit/a", error=failure, **made)


@pytest.mark.parametrize(
    ("record", "warnings", "expected"),
    [
        (make_record(Status.SUCCESS), "xfail", ("COMPLETED", "Completed")),
        (make_record(Status.SUCCESS, unchanged=True), "xfail", ("COMPLETED", "Cached")),
        (make_record(Status.WARNING), "xfail", ("COMPLETED", "Warned")),
        (make_record(Status.WARNING, unchanged=True), "xfail", ("COMPLETED", "Warned")),
        (make_record(Status.WARNING), "pass", ("COMPLETED", "Completed")),
        (make_record(Status.WARNING), "fail", ("FAILED", "Warned")),
        (make_record(Status.ERROR, "ValueError"), "xfail", ("FAILED", "Failed")),
        (make_record(Status.ERROR, "Timeout"), "xfail", ("FAILED", "TimedOut")),
        (make_record(Status.ERROR, "KernelDied"), "xfail", ("CRASHED", "Crashed")),
        (make_record(Status.ERROR, "WorkerDied"), "xfail", ("CRASHED", "Crashed")),
        (make_record(Status.ERROR, WORKERS_LOST), "xfail", ("CRASHED", "Crashed")),
        (make_record(Status.ERROR, INTERRUPTED), "xfail", ("CANCELLED", "Interrupted")),
        (make_record(Status.BLOCKED), "xfail", ("CANCELLED", "Blocked")),
    ],
)
def test_a_state_says_how_an_instance_has_ended(record, warnings, expected):
    state = of_record(record, warnings)
    assert (state.type, state.name) == expected
    assert state.is_final


def test_a_state_has_the_times_of_the_run():
    state = of_record(make_record(Status.SUCCESS, attempts=3, failed_attempts=("E: a", "E: b")), "xfail")
    assert state.started is not None
    assert (state.at - state.started).total_seconds() == state.seconds == 2
    assert state.runs == 3
    assert state.message.splitlines()[1:] == ["attempt 1: E: a", "attempt 2: E: b"]


def test_what_is_unchanged_has_not_run():
    state = of_record(make_record(Status.SUCCESS, unchanged=True), "xfail")
    assert (state.started, state.seconds, state.runs) == (state.at, 0, 0)
    assert state.message == "unchanged since it ran at 2026-01-01T00:00:00+00:00"
