"""What instances have waited for, and why workers were idle."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pytest_ductaflow.graph import waits
from pytest_ductaflow.graph.core_pool import CorePool, Size
from pytest_ductaflow.graph.dependencies import Graph
from pytest_ductaflow.graph.ready_queue import ReadyQueue
from pytest_ductaflow.graph.waits import IdleTimes, Wait, Waits


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


# 1 needs 0; 2 comes after 1 for order only, by the barrier 4; 3 is the work after all.
GRAPH = Graph(
    ("a/0", "b/1", "c/2"), ((), (0,), ()), ((), (0,), (4,), (0, 1, 2), (1,)), order_only=range(4, 5)
)


def test_the_last_that_ended_is_what_an_instance_waited_for():
    clock = Clock()
    found = Waits(GRAPH, clock)
    found.ready([0])
    clock.now = 105.0
    found.ready([1], 0)
    clock.now = 109.0
    found.ready([2], 1)
    found.ready([1], 2)  # was ready before
    one = Size(Fraction(1))
    assert found.of(0, one) == Wait(100.0)
    assert found.of(0, one).waited_for is None
    assert found.of(1, one) == Wait(105.0, "a/0", is_upstream=True)
    assert found.of(1, one).waited_for == "upstream a/0"
    assert found.of(2, one).waited_for == "order b/1"
    assert found.of(3, one) is None


def test_cores_are_what_it_waited_for_if_they_were_short_since_it_was_ready():
    clock = Clock()
    found = Waits(GRAPH, clock)
    large = Size(Fraction(2))
    found.short({large: "cores"})
    clock.now = 105.0
    found.ready([0, 1])
    assert found.of(0, large).held_by == "worker"
    found.short({large: "cores"})
    assert found.of(0, large).held_by == "cores"
    assert found.of(1, Size(Fraction(1))).held_by == "worker"


def test_the_queue_knows_what_was_waited_for_and_why_nothing_begins():
    pool = CorePool(2, 2, {1: 2})
    queue = ReadyQueue(Graph(("a/0", "b/1", "c/2"), ((), (), (0,)), ((), (), (0,))), range(3), {0: 9.0}, pool)
    assert queue.pop() == 0
    assert queue.pop() is None
    assert queue.why_idle(0) == "cores"
    queue.done(0)
    assert {queue.pop(), queue.pop()} >= {1} or queue.pop() == 1
    assert queue.wait_of(1).held_by == "cores"
    assert queue.wait_of(2).waited_for == "upstream a/0"


@pytest.mark.parametrize(("held_back", "reason"), [(0, "upstreams"), (2, "order")])
def test_what_is_not_ready_waits_for_upstreams_or_for_order(held_back, reason):
    queue = ReadyQueue(Graph(("a/0", "b/1"), ((), (0,)), ((), (0,))), range(2), {}, CorePool(4, 4, {}))
    assert queue.pop() == 0
    assert queue.why_idle(held_back) == reason
    queue.done(0)
    assert queue.pop() == 1
    assert queue.why_idle(0) == "nothing left"


def test_idle_times_begin_and_end_with_their_reason():
    clock = Clock()
    times = IdleTimes(clock)
    times.note(["gw0", "gw1"], "upstreams")
    clock.now = 101.0
    times.note(["gw1"], "upstreams")
    clock.now = 103.0
    times.note(["gw1"], "cores")
    clock.now = 104.0
    assert times.spans() == [
        ("gw0", 100.0, 101.0, "upstreams"),
        ("gw1", 100.0, 103.0, "upstreams"),
        ("gw1", 103.0, 104.0, "cores"),
    ]


def test_of_very_many_idle_times_the_longer_ones_are_kept(monkeypatch):
    monkeypatch.setattr(waits, "MOST_SPANS", 50)
    clock = Clock()
    times = IdleTimes(clock)
    for n in range(400):
        times.note(["gw0"], "upstreams")
        clock.now += 0.01 + (n % 40) / 10
        times.note([], "upstreams")
    assert 25 <= len(times.spans()) <= 50
    assert min(end - begin for _, begin, end, _ in times.spans()) > 1
