"""How many instances have ended in which way, which run, and how long the others take."""

from __future__ import annotations

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.pytest_hooks.terminal.progress import PAUSE, Progress
from pytest_ductaflow.report.time_left import TimeLeft

DURATIONS = {0: 10.0, 1: 20.0, 2: 30.0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def begun() -> Progress:
    instances = [Instance("/p/a.py", "s", f"i{n}", {}, f"/p/runs/s/i{n}", "/p") for n in DURATIONS]
    numbers = {f"c.py::s::i{n}": n for n in DURATIONS}
    progress = Progress()
    estimate = TimeLeft(instances, ((),) * 3, DURATIONS, numbers, 1)
    progress.begin({node_id: node_id[6:].replace("::", "/") for node_id in numbers}, estimate)
    return progress


def test_instances_are_counted_and_the_first_that_runs_is_the_slowest(clock: list[float]) -> None:
    progress = begun()
    assert progress.started("c.py::s::i0")
    clock[0] += 3
    assert progress.started("c.py::s::i1")
    now = progress.snapshot()
    assert (now.total, now.running, now.waiting, now.done) == (3, 2, 1, 0)
    assert now.slowest == ("s/i0", 3.0)
    progress.ended("c.py::s::i0", "failed", 3.0)
    now = progress.snapshot()
    assert (now.outcomes, now.running, now.slowest) == ({"failed": 1}, 1, ("s/i1", 0.0))


def test_what_is_no_instance_does_not_count() -> None:
    progress = begun()
    assert not progress.started("test_x.py::test_y")
    progress.ended("test_x.py::test_y", "passed")
    assert progress.snapshot().outcomes == {}


def test_an_instance_that_runs_once_more_counts_once() -> None:
    progress = begun()
    for outcome in ("failed", "passed"):
        progress.started("c.py::s::i0")
        assert progress.snapshot().done == 0
        progress.ended("c.py::s::i0", outcome, 1.0)
    assert progress.snapshot().outcomes == {"passed": 1}


def test_an_instance_that_waits_for_its_next_attempt_does_not_run(clock: list[float]) -> None:
    progress = begun()
    progress.started("c.py::s::i0")
    progress.waits("c.py::s::i0")
    progress.waits("test_x.py::test_y")
    now = progress.snapshot()
    assert (now.running, now.done, now.slowest) == (0, 0, None)
    assert now.waiting == now.total


def test_the_time_left_is_that_of_the_report_and_counts_down(clock: list[float]) -> None:
    progress = begun()
    assert progress.snapshot().left == pytest.approx(60)
    clock[0] += PAUSE / 2
    assert progress.snapshot().left == pytest.approx(60 - PAUSE / 2)
    progress.started("c.py::s::i0")
    progress.ended("c.py::s::i0", "passed", 10.0)
    clock[0] += 60
    assert progress.snapshot().left == pytest.approx(50)


def test_before_the_plan_is_known_there_is_nothing() -> None:
    now = Progress().snapshot()
    assert (now.total, now.left, now.slowest) == (0, None, None)
