"""When an instance is tried again."""

from __future__ import annotations

import threading
import time

import hypothesis.strategies as st
from hypothesis import given

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.core.system.lineage import session_id
from pytest_ductaflow.running.retries import LONGEST, Attempts, attempts_before, pause, pause_after


def an_instance(delay: float, name: str = "a") -> Instance:
    return Instance("/p/flows/x.py", "x", name, {}, f"/p/runs/x/{name}", "/p", retry_delay=delay)


@given(st.floats(0.001, 1e5), st.integers(1, 2000), st.text(max_size=5))
def test_pauses_double_up_to_a_maximum_and_are_the_same_each_time(delay, attempt, name):
    instance = an_instance(delay, name)
    seconds = pause_after(instance, attempt)
    steady = min(delay * 2.0 ** min(attempt - 1, 1000), max(LONGEST, delay))
    assert steady <= seconds <= 1.1 * steady * (1 + 1e-9)
    assert pause_after(instance, attempt) == seconds


def test_instances_that_failed_together_are_not_tried_again_together():
    assert len({pause_after(an_instance(10.0, f"i{number}"), 1) for number in range(50)}) == 50
    assert pause_after(an_instance(0.0), 3) == 0.0


def test_only_an_attempt_of_this_session_is_continued():
    failed = Record(Status.ERROR, "flows/x.py", "x", "a", "runs/x/a", error=Failure("E", "no", file_line=3))
    waits = failed.with_(failed_attempts=("E: first",), waited=(1.0, 2.0), retry_at=time.time() - 5)
    assert attempts_before(waits) == Attempts()
    mine = waits.with_(lineage={"session": session_id()})
    found = attempts_before(Record.from_json(mine.to_json()))
    assert found.failed == ("E: first", "E: no (line 3)")
    assert found.waited[0] == 1.0
    assert 7.0 <= found.waited[1] < 60.0
    assert attempts_before(failed.with_(lineage=mine.lineage)) == attempts_before(None) == Attempts()


def test_a_pause_ends_when_its_time_has_come():
    until = time.time() + 0.05
    waiting = threading.Thread(target=pause, args=[until])
    waiting.start()
    waiting.join()
    assert until <= time.time()
