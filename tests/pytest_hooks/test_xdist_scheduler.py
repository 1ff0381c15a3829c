"""Which worker gets what: the scheduler alone, with simulated workers, in every order of events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.graph.core_pool import CorePool
from pytest_ductaflow.graph.dependencies import Graph, make_graph
from pytest_ductaflow.graph.ready_queue import ReadyQueue
from pytest_ductaflow.pytest_hooks.distribution.idle_workers import IdleWorkers
from pytest_ductaflow.pytest_hooks.distribution.workload import Workload, chunks_of
from pytest_ductaflow.pytest_hooks.distribution.xdist_scheduler import InstanceScheduling


class Worker:
    """A worker like xdist's: it takes the next item before it runs the one that it has."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.shutting_down = False
        self.is_gone = False
        self.queue: list[int] = []
        self.sent: list[list[int]] = []

    def send_runtest_some(self, indices) -> None:
        assert not self.shutting_down
        if self.is_gone:
            raise OSError("cannot send (already closed?)")
        self.sent.append(list(indices))
        self.queue += indices


@dataclass
class Told:
    """What a scheduler reports."""

    crashes: list[int] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)


class Session:
    """A controller that starts workers, and makes them run items or die."""

    def __init__(
        self,
        graph: Graph,
        ordinary: int,
        workers: int,
        *,
        chunk: int = 3,
        cores: int = 100,
        wanted: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.graph = graph
        self.cores = cores
        self.pool = CorePool(cores, workers, wanted)
        count = len(graph.labels)
        self.numbers: list[int | None] = [*range(count), *[None] * ordinary]
        self.collection = [f"item{position}" for position in range(len(self.numbers))]
        self.chunk = chunk
        self.told = Told()
        self.verdicts: set[int] = set()  # of instances not yet reported by their workers as ended
        self.is_stopping = False
        self.now = 0.0
        self.scheduler = InstanceScheduling(
            workers=workers,
            workload_of=self._workload,
            is_stopping=lambda: self.is_stopping,
            difference=lambda one, two, *_: None if list(one) == list(two) else "they differ",
            on_difference=lambda message, worker: self.told.differences.append(f"{worker}: {message}"),
            has_ended=lambda number: number in self.verdicts,
            on_crash=self.told.crashes.append,
            idle=IdleWorkers(self.told.idle.append, lambda: self.now),
        )
        self.alarms: list[float] = []
        self.scheduler.alarm = SimpleNamespace(set=self.alarms.append)
        self.failed_once: set[int] = set()
        self.workers: list[Worker] = []
        self.ended: Counter[int] = Counter()
        self.failed_by_crash: list[int] = []
        self.names = iter(range(1_000_000))

    def _workload(self, collection, node) -> Workload:
        assert node in self.workers
        count = len(self.graph.labels)
        positions = list(range(count, len(collection)))
        chunks = [positions[start : start + self.chunk] for start in range(0, len(positions), self.chunk)]
        return Workload(self.numbers, ReadyQueue(self.graph, range(count), {}, self.pool), chunks)

    def begin(self, *, collection: list[str] | None = None) -> Worker:
        worker = Worker(f"gw{next(self.names)}")
        self.workers.append(worker)
        self.scheduler.add_node(worker)
        self.tell(worker, collection)
        return worker

    def tell(self, worker: Worker, collection: list[str] | None = None) -> None:
        self.scheduler.add_node_collection(worker, self.collection if collection is None else collection)
        if self.scheduler.collection_is_completed:
            self.scheduler.schedule()

    @property
    def pause(self) -> int:
        return len(self.collection)

    def can_run(self) -> list[Worker]:
        """Return the workers with an item to run and another one after it."""
        return [worker for worker in self.workers if len(worker.queue) > 1]

    def run_one(self, worker: Worker) -> None:
        item = worker.queue.pop(0)
        if item != self.pause:
            self.check_ready(item)
            self.ended[item] += 1
        self.scheduler.mark_test_complete(worker, item)

    def fail_once(self, worker: Worker) -> None:
        """Have a worker's item fail in a way that lets it be tried again, now and not later."""
        item = worker.queue.pop(0)
        self.check_ready(item)
        self.failed_once.add(item)
        self.scheduler.retry_later(self.collection[item], 0.0)
        self.scheduler.mark_test_complete(worker, item)

    def is_instance(self, worker: Worker) -> bool:
        return worker.queue[0] != self.pause and self.numbers[worker.queue[0]] is not None

    def check_ready(self, item: int) -> None:
        """Check that everything before an instance has ended when it runs, well or not."""
        if self.numbers[item] is not None:
            assert all(self.ended[earlier] for earlier in self._earlier(item)), item

    def _earlier(self, node: int) -> set[int]:
        """Return the instances before a node, also through barriers."""
        before, count = self.graph.before[node], len(self.graph.labels)
        behind = [self._earlier(barrier) for barrier in before if barrier >= count]
        return {earlier for earlier in before if earlier < count}.union(*behind)

    def check_cores(self) -> None:
        """Check that what workers have been sent does not use more cores than there are."""
        first = [next((item for item in w.queue if item != self.pause), None) for w in self.workers]
        numbers = [self.numbers[item] for item in first if item is not None]
        sizes = [self.pool.share if n is None else self.pool.size_of(n) for n in numbers]
        assert sum(size.cores for size in sizes) <= self.cores

    def die(self, worker: Worker, *, again: bool = False, replaced: bool = True) -> None:
        running = next((item for item in worker.queue if item != self.pause), self.pause)
        worker.queue.clear()
        self.workers.remove(worker)
        crashed = self.scheduler.remove_node(worker)
        if running == self.pause:
            assert crashed is None
        else:
            assert crashed == self.collection[running]
            self.check_ready(running)
            if again:
                self.scheduler.mark_test_pending(crashed)
            else:
                self.ended[running] += 1
                self.failed_by_crash.append(running)
            self.scheduler.give_up(crashed)
        if replaced:
            self.begin()


def graph_of(before: list[tuple[int, ...]]) -> Graph:
    return Graph(
        labels=tuple(f"step/{number}" for number in range(len(before))),
        upstreams=tuple(before),
        before=tuple(before),
    )


@st.composite
def graphs(draw) -> Graph:
    """Draw random graphs without circles."""
    count = draw(st.integers(0, 14))
    before = []
    for number in range(count):
        earlier = st.integers(0, number - 1) if number else st.nothing()
        before.append(tuple(sorted(draw(st.sets(earlier, max_size=3))) if number else ()))
    return graph_of(before)


@settings(max_examples=300, deadline=None)
@given(
    graph=graphs(),
    ordinary=st.integers(0, 9),
    workers=st.integers(1, 4),
    cores=st.integers(1, 4),
    wanted=st.dictionaries(st.integers(0, 13), st.integers(1, 5)),
    data=st.data(),
)
def test_everything_ends_once_and_in_order_whatever_happens(graph, ordinary, workers, cores, wanted, data):
    """In any order of events, with workers that die and retries that wait, all end once, upstreams first."""
    session = Session(graph, ordinary, workers, cores=cores, wanted=wanted)
    for _ in range(workers):
        session.begin()
    deaths, again = 0, 0
    while not session.scheduler.tests_finished:
        session.check_cores()
        if session.alarms and (data.draw(st.booleans()) or not session.can_run()):
            session.alarms.clear()
            session.scheduler.wake()
            continue
        able = session.can_run()
        assert able, "nobody has anything to do, and something is left"
        if deaths < 6 and data.draw(st.integers(0, 4)) == 0:
            deaths += 1
            second = data.draw(st.booleans())
            again += second
            session.die(data.draw(st.sampled_from(session.workers)), again=second)
            continue
        worker = data.draw(st.sampled_from(able))
        if (
            session.is_instance(worker)
            and worker.queue[0] not in session.failed_once
            and data.draw(st.booleans())
        ):
            session.fail_once(worker)
        else:
            session.run_one(worker)
    assert session.ended == Counter(dict.fromkeys(range(len(session.numbers)), 1))
    assert session.told.crashes == [i for i in session.failed_by_crash if session.numbers[i] is not None]
    assert not session.scheduler.has_pending
    assert session.told.differences == []


@settings(max_examples=100, deadline=None)
@given(graph=graphs(), ordinary=st.integers(0, 9), workers=st.integers(1, 4), data=st.data())
def test_without_deaths_everything_is_sent_once(graph, ordinary, workers, data):
    """Each item is sent to one worker, in its order and followed by a pause."""
    session = Session(graph, ordinary, workers)
    for _ in range(workers):
        session.begin()
    while not session.scheduler.tests_finished:
        session.run_one(data.draw(st.sampled_from(session.can_run())))
    orders = [order for worker in session.workers for order in worker.sent]
    assert all(order[-1] == session.pause for order in orders)
    sent = [item for order in orders for item in order[:-1]]
    assert sorted(sent) == list(range(len(session.numbers)))
    assert all(len(order) == 2 for order in orders if order[0] < len(graph.labels))


DIAMOND = graph_of([(), (0,), (0,), (1, 2)])


def in_order_of_flows(first: int, second: int) -> Graph:
    """Return the graph of a conductor with two flows that do not name each other."""
    instances = [
        Instance(f"/p/flows/{step}.py", step, f"i{n}", {}, f"/p/runs/{step}/i{n}", "/p", "/p/c.py", line, n)
        for step, count, line in (("first", first, 1), ("second", second, 2))
        for n in range(count)
    ]
    return make_graph([instances])[0]


def test_workers_that_are_idle_for_the_order_of_flows_alone_are_told_once():
    session = Session(in_order_of_flows(1, 3), 0, workers=2)
    one, two = session.begin(), session.begin()
    assert (len(session.can_run()), session.told.idle) == (1, [])
    session.now = 5.0
    session.run_one(session.can_run()[0])
    line = "order only: 3 of the 4 instances left wait for flows that the conductor introduces earlier; "
    line += "2 workers, 1 busy. `after=[]` (or a column `_after`) frees them"
    assert (session.told.idle, session.can_run()) == ([line], [one, two])
    while able := session.can_run():
        session.now += 5.0
        session.run_one(able[0])
    assert session.told.idle == [line]


def test_workers_that_are_idle_for_a_moment_or_for_what_is_needed_are_not_told():
    for graph, seconds in (
        (in_order_of_flows(1, 3), 1.9),
        (in_order_of_flows(2, 3), 5.0),  # two workers, and work for both
        (graph_of([(), (0,), (0,), (0,)]), 5.0),
    ):
        session = Session(graph, 0, workers=2)
        session.begin(), session.begin()
        busy = session.can_run()
        session.now = seconds
        for worker in busy:
            session.run_one(worker)
        assert session.told.idle == []


def test_nothing_is_sent_before_all_workers_have_told_what_they_collected():
    """The first worker waits for the others."""
    session = Session(DIAMOND, 2, workers=2)
    first = session.begin()
    assert first.sent == []
    assert not session.scheduler.collection_is_completed
    assert not session.scheduler.tests_finished
    session.begin()
    assert session.scheduler.collection_is_completed
    assert first.sent == [[0, 6]]


def test_worker_gets_ordinary_tests_only_while_no_instance_is_ready():
    """Instances go first, because others wait for them."""
    session = Session(DIAMOND, 5, workers=2)
    first, second = session.begin(), session.begin()
    assert (first.sent, second.sent) == ([[0, 9]], [[4, 5, 6, 9]])
    session.run_one(first)
    assert first.sent[1:] == [[1, 9]]
    for _ in range(3):
        session.run_one(second)
    assert second.sent[1:] == [[2, 9]]


def test_worker_that_dies_before_it_has_told_anything_is_replaced():
    """The replacement takes its place in the count."""
    session = Session(DIAMOND, 0, workers=2)
    session.begin()
    mute = Worker("mute")
    session.workers.append(mute)
    session.scheduler.add_node(mute)
    session.die(mute, replaced=False)
    assert not session.scheduler.collection_is_completed
    session.begin()
    assert session.workers[0].sent == [[0, 4]]


def test_worker_that_has_ended_after_it_told_what_it_collected_is_not_waited_for():
    """As each worker ends that cannot find what it is asked for."""
    session = Session(DIAMOND, 0, workers=2)
    session.die(session.begin(), replaced=False)
    assert not session.scheduler.collection_is_completed
    second = session.begin()
    assert session.scheduler.collection_is_completed
    assert second.sent == [[0, 4]]


def test_rest_of_a_chunk_goes_to_others_when_its_worker_dies():
    """Only the test that was running has failed."""
    session = Session(graph_of([]), 3, workers=2)
    first, second = session.begin(), session.begin()
    assert (first.sent, second.sent) == ([[0, 1, 2, 3]], [])
    session.run_one(first)
    session.die(first, replaced=False)
    assert session.failed_by_crash == [1]
    assert second.sent == [[2, 3]]


def test_worker_that_is_gone_before_it_is_missed_loses_nothing():
    """Sending to it fails, and another worker gets what it should have got."""
    session = Session(graph_of([(), ()]), 0, workers=2)
    first = session.begin()
    first.is_gone = True
    second = session.begin()
    assert second.sent == [[0, 2]]
    assert not session.scheduler.tests_finished
    session.die(first, replaced=False)
    session.run_one(second)
    assert second.sent == [[0, 2], [1, 2]]


def test_nothing_is_sent_any_more_once_the_session_stops():
    """-x: running items may end, and nothing else begins."""
    session = Session(DIAMOND, 5, workers=1)
    worker = session.begin()
    session.is_stopping = True
    assert session.scheduler.tests_finished
    session.run_one(worker)
    session.die(worker)
    assert all(other.sent == [] for other in session.workers)
    assert worker.sent == [[0, 9]]


def test_workers_that_collect_different_things_get_no_work():
    """It is reported once for each worker that differs, and the session ends."""
    session = Session(DIAMOND, 0, workers=3)
    session.begin()
    session.begin(collection=["other"])
    session.begin()
    assert session.told.differences == ["gw1: they differ"]
    assert session.scheduler.tests_finished
    assert all(worker.sent == [] for worker in session.workers)


def test_replacement_that_collects_different_things_gets_no_work():
    """The others continue without it."""
    session = Session(DIAMOND, 0, workers=2)
    first, second = session.begin(), session.begin()
    session.die(second, replaced=False)
    stranger = session.begin(collection=["other"])
    assert session.told.differences == ["gw2: they differ"]
    while first.queue != [session.pause]:
        session.run_one(first)
    assert sorted(session.ended) == [0, 1, 2, 3]
    assert stranger.sent == []
    assert session.scheduler.tests_finished


def test_session_ends_if_only_workers_are_left_that_collect_different_things():
    """There is work, and no worker that could do it: the session must not last for ever."""
    session = Session(DIAMOND, 0, workers=1)
    session.die(session.begin(), replaced=False)
    assert not session.scheduler.tests_finished
    session.begin(collection=["other"])
    assert session.scheduler.tests_finished


def test_session_without_items_ends():
    """Nothing collected is nothing to do."""
    session = Session(graph_of([]), 0, workers=2)
    session.begin()
    session.begin()
    assert session.scheduler.tests_finished


def test_item_that_is_collected_twice_runs_twice_before_what_waits_for_it():
    """--keep-duplicates: both must end; if the worker dies with the first, the second still runs."""
    session = Session(graph_of([(), (0,)]), 0, workers=1)
    session.numbers = [0, 0, 1]
    session.collection = ["item", "item", "after"]
    worker = session.begin()
    assert worker.sent == [[0, 1, 3]]
    session.die(worker)
    (worker,) = session.workers
    assert worker.sent == [[1, 3]]
    session.run_one(worker)
    assert worker.sent == [[1, 3], [2, 3]]


def test_worker_that_dies_between_two_items_has_failed_none():
    """Its instance had its verdict, and everything was reported: it does not count again as a crash."""
    session = Session(DIAMOND, 0, workers=1)
    worker = session.begin()
    session.verdicts.add(0)
    session.workers.remove(worker)
    assert session.scheduler.remove_node(worker) is None
    session.ended[0] += 1
    replacement = session.begin()
    while replacement.queue != [session.pause]:
        session.run_one(replacement)
    assert sorted(session.ended.elements()) == [0, 1, 2, 3]
    assert session.told.crashes == []


IDS = ["a.py::T::one", "a.py::T::two", "a.py::three", "b.py::four", "b.py::five[x@y]", "c.py::six@g"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("load", [[0], [1], [2], [3], [4], [5]]),
        ("worksteal", [[0], [1], [2], [3], [4], [5]]),
        ("loadfile", [[0, 1, 2], [3, 4], [5]]),
        ("loadscope", [[0, 1], [3, 4], [2], [5]]),
        ("loadgroup", [[5], [0], [1], [2], [3], [4]]),
    ],
)
def test_ordinary_tests_are_kept_together_as_dist_says(mode, expected):
    """Files, scopes and groups are not divided."""
    assert chunks_of(IDS, range(6), mode, workers=2) == expected


@pytest.mark.parametrize(
    ("count", "workers", "largest", "size"),
    [(80, 2, None, 10), (10_000, 2, None, 50), (3, 4, None, 1), (80, 2, 4, 4), (0, 2, None, None)],
)
def test_ordinary_tests_go_out_in_a_few_chunks_for_each_worker(count, workers, largest, size):
    """About four chunks per worker, none larger than 50 or --maxschedchunk, all in order."""
    chunks = chunks_of([f"t.py::{n}" for n in range(count)], range(count), "load", workers, largest)
    assert [position for chunk in chunks for position in chunk] == list(range(count))
    assert (max(map(len, chunks)) if chunks else None) == size
