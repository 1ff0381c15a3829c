"""A conductor's calls, recorded in a file instead of executed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.problem import Problem
from pytest_ductaflow.planning import recorded_calls


def an_instance(name: str) -> Instance:
    config = {"größe": [1, None, "a\nb\u2028c"], "deep": {"x": 0.1}}
    return Instance(
        "/p/flows/x.py", "x", name, config, f"/p/runs/x/{name}", "/p", after=("y/B",), marks=("slow",)
    )


@pytest.fixture
def calls(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "calls"
    monkeypatch.setenv(recorded_calls.VARIABLE, str(path))
    return path


def test_a_conductor_knows_whether_it_is_collected(calls, monkeypatch):
    assert recorded_calls.is_collecting()
    monkeypatch.delenv(recorded_calls.VARIABLE)
    assert not recorded_calls.is_collecting()


def test_what_was_noted_is_read_in_the_order_of_the_calls(calls):
    recorded_calls.record([an_instance("A"), an_instance("B")])
    recorded_calls.record(
        [an_instance("C")], [Problem("c.py:3", "is ä", "do\nthis"), Problem("c.py:4", "is b")]
    )
    recorded_calls.record([])
    instances, problems = recorded_calls.read(calls)
    assert instances == [an_instance(name) for name in "ABC"]
    assert problems == [Problem("c.py:3", "is ä", "do\nthis"), Problem("c.py:4", "is b")]


def test_a_conductor_without_any_call_has_noted_nothing(calls):
    assert recorded_calls.read(calls) == ([], [])


def test_calls_from_many_threads_are_noted_whole(calls):
    names = [str(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: recorded_calls.record([an_instance(name)]), names))
    instances, problems = recorded_calls.read(calls)
    assert sorted(instance.name for instance in instances) == sorted(names)
    assert problems == []
