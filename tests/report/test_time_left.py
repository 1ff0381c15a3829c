"""How long a session still takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.report.time_left import TimeLeft


def time_left(
    durations: dict[int, float], count: int = 4, workers: int = 1, before: Any = None, flows: str = "aaaaaaaa"
) -> TimeLeft:
    instances = [
        Instance(f"/p/{flows[n]}.py", "s", f"i{n}", {}, f"/p/runs/s/i{n}", "/p") for n in range(count)
    ]
    numbers = {f"i{n}": n for n in range(count)}
    return TimeLeft(instances, before or ((),) * count, durations, numbers, workers)


def rows(*statuses: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {f"i{n}": {"status": status, "duration": None, **more} for n, status in enumerate(statuses)}


def test_known_durations_are_shared_by_the_workers():
    known = {0: 10.0, 1: 20.0, 2: 30.0, 3: 40.0}
    waiting = rows(*["waiting"] * 4)
    assert time_left(known).seconds(waiting) == pytest.approx(100)
    assert time_left(known, workers=2).seconds(waiting) == pytest.approx(50)
    assert time_left(known, workers=9).seconds(waiting) == pytest.approx(40)


def test_a_chain_takes_as_long_as_its_instances_one_after_the_other():
    chain = ((), (0,), (1,), ())
    known = dict.fromkeys(range(4), 10.0)
    assert time_left(known, workers=4, before=chain).seconds(rows(*["waiting"] * 4)) == pytest.approx(30)


def test_what_runs_counts_for_the_rest_of_its_time():
    began = (datetime.now(UTC) - timedelta(seconds=4)).isoformat()
    state = rows("running", started=began)
    assert time_left({0: 10.0}, count=1).seconds(state) == pytest.approx(6, abs=0.5)
    assert time_left({0: 1.0}, count=1).seconds(state) == 0


def test_without_earlier_runs_those_of_the_session_tell():
    assert time_left({}).seconds(rows(*["waiting"] * 4)) is None
    state = rows("success", "waiting", "waiting", "waiting")
    state["i0"]["duration"] = 5.0
    assert time_left({}).seconds(state) == pytest.approx(15)


def test_unchanged_instances_let_expect_more_of_them():
    known = dict.fromkeys(range(8), 10.0)
    state = rows(*["success"] * 4, *["waiting"] * 4, unchanged=True, duration=10.0)
    left = time_left(known, count=8).seconds(state)
    assert left == pytest.approx(40 / 5)


def test_instances_of_other_sessions_and_strangers_do_not_count():
    state = rows("waiting", "waiting")
    state["i1"]["earlier"] = True
    state["x"] = {"status": "waiting"}
    assert time_left({0: 10.0, 1: 99.0}, count=2).seconds(state) == pytest.approx(10)


def test_nothing_is_left_when_all_have_ended():
    state = rows("success", "error", "blocked", "success", duration=3.0)
    assert time_left({0: 3.0}).seconds(state) == 0
