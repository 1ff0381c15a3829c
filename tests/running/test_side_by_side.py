"""Instances in threads: in the order of the graph, no more at a time than asked for, however they end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ductaflow.core.system.machine import workers_of_session
from pytest_ductaflow.graph.core_pool import CorePool
from pytest_ductaflow.graph.dependencies import Graph
from pytest_ductaflow.graph.ready_queue import ReadyQueue
from pytest_ductaflow.running.side_by_side import run_side_by_side

PATIENCE = 30.0  # seconds; only a bug waits that long


def a_queue(*before: tuple[int, ...]) -> ReadyQueue:
    graph = Graph(tuple(f"s/{number}" for number in range(len(before))), before=before)
    return ReadyQueue(graph, range(len(before)), {}, CorePool(100, 100, {}))


@st.composite
def orders(draw: st.DrawFn) -> tuple[tuple[int, ...], ...]:
    """Draw a graph without circles, in which an instance may stand before what it waits for."""
    count = draw(st.integers(1, 12))
    rank = draw(st.permutations(range(count)))
    earlier = st.sampled_from(range(count))
    return tuple(
        tuple({up for up in draw(st.lists(earlier, max_size=4)) if rank[up] < rank[number]})
        for number in range(count)
    )


@settings(max_examples=100, deadline=None)
@given(before=orders(), workers=st.integers(1, 4))
def test_nothing_starts_before_what_it_waits_for_has_ended(before, workers):
    events: list[tuple[str, int]] = []
    at_once: list[int] = []
    running: set[int] = set()

    def run(number: int) -> str:
        events.append(("start", number))
        running.add(number)
        at_once.append(len(running))
        running.remove(number)
        return f"ran {number}"

    ended = []
    for number, result in run_side_by_side(a_queue(*before), workers, run):
        assert result == f"ran {number}"
        events.append(("end", number))
        ended.append(number)
    assert sorted(ended) == list(range(len(before)))
    assert max(at_once) <= workers
    for number, upstreams in enumerate(before):
        for upstream in upstreams:
            assert events.index(("end", upstream)) < events.index(("start", number))


def test_instances_run_at_the_same_time():
    both = threading.Barrier(2, timeout=PATIENCE)
    assert len(list(run_side_by_side(a_queue((), ()), 2, lambda _: both.wait()))) == 2


def test_the_longest_way_goes_first():
    ended = run_side_by_side(a_queue((), (), (), (1,), (3,)), 1, lambda _: None)
    assert [number for number, _ in ended] == [1, 3, 0, 2, 4]


def test_an_error_comes_after_the_others_have_ended_and_nothing_more_starts():
    failed, ended, started = threading.Event(), [], []

    def run(number: int) -> None:
        started.append(number)
        if number == 0:
            failed.set()
            raise OSError("no room")
        failed.wait(PATIENCE)
        ended.append(number)

    with pytest.raises(OSError, match="no room"):
        list(run_side_by_side(a_queue((), (), (), ()), 2, run))
    assert set(ended) == set(started) - {0}
    assert len(started) < 4


def test_who_stops_asking_waits_for_those_that_run():
    go, ended = threading.Event(), []

    def run(number: int) -> None:
        if number == 1:
            go.wait(PATIENCE)
        ended.append(number)

    running: Iterator[tuple[int, None]] = run_side_by_side(a_queue((), (), ()), 2, run)
    assert next(running)[0] == 0
    go.set()
    running.close()  # type: ignore[attr-defined]
    assert sorted(ended) == [0, 1]


def test_libraries_share_the_cores(monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    assert workers_of_session() is None
    assert [told for _, told in run_side_by_side(a_queue((), ()), 2, lambda _: workers_of_session())] == [
        2,
        2,
    ]
    assert workers_of_session() is None
