"""Which instance starts next."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ductaflow.graph.core_pool import CorePool
from pytest_ductaflow.graph.dependencies import Graph
from pytest_ductaflow.graph.ready_queue import ReadyQueue


def a_graph(*before: tuple[int, ...], barriers: tuple[tuple[int, ...], ...] = ()) -> Graph:
    labels = tuple(f"s/{number}" for number in range(len(before)))
    return Graph(labels, upstreams=((),) * len(before), before=before + barriers)


def a_queue(
    graph: Graph, selected: Iterable[int], weights: Mapping[int, float], cores: CorePool | None = None
) -> ReadyQueue:
    return ReadyQueue(graph, selected, weights, cores or CorePool(100, 100, {}))


def carried_out(queue: ReadyQueue) -> list[int]:
    """Return the order in which a single worker runs the instances."""
    found = []
    while (number := queue.pop()) is not None:
        found.append(number)
        queue.done(number)
    assert len(queue) == 0
    return found


def test_what_only_the_order_of_flows_holds_back_is_counted():
    order = Graph(
        ("a/1", "b/1", "b/2", "c/1"), ((),) * 4, ((), (4,), (4,), (1, 4), (0,)), order_only=range(4, 5)
    )
    queue = ReadyQueue(order, range(4), {}, CorePool(4, 4, {}))
    assert (queue.pop(), queue.pop(), queue.held_back) == (0, None, 2)  # c/1 needs b/1 as well
    queue.done(0)
    assert queue.held_back == 0  # ready, but not taken
    assert (queue.pop(), queue.pop(), queue.held_back) == (1, 2, 0)


def test_what_waits_for_cores_is_not_held_back_by_the_order():
    order = Graph(("a/1", "a/2", "b/1"), ((),) * 3, ((), (), (3,), (0, 1)), order_only=range(3, 4))
    queue = ReadyQueue(order, range(3), {}, CorePool(2, 2, {0: 2, 1: 2}))
    assert (queue.pop(), queue.pop(), queue.held_back) == (0, None, 0)
    queue = ReadyQueue(order, range(3), {}, CorePool(3, 3, {0: 2, 1: 2}))
    assert (queue.pop(), queue.pop(), queue.held_back) == (0, None, 1)


DIAMOND = a_graph((), (0,), (0,), (1, 2))


def test_only_what_is_ready_is_handed_out():
    queue = a_queue(DIAMOND, range(4), {})
    assert (queue.pop(), queue.pop(), len(queue)) == (0, None, 4)
    queue.done(0)
    assert (queue.pop(), queue.pop(), queue.pop()) == (1, 2, None)
    queue.done(2)
    assert queue.pop() is None
    queue.done(1)
    assert (queue.pop(), len(queue)) == (3, 1)
    queue.done(3)
    assert (queue.pop(), len(queue)) == (None, 0)


@pytest.mark.parametrize(
    ("graph", "weights", "expected"),
    [
        (a_graph((), (), ()), {}, [0, 1, 2]),
        (a_graph((), (), ()), {0: 1, 1: 3, 2: 2}, [1, 2, 0]),
        (a_graph((), (), (0,), (2,)), {}, [0, 2, 1, 3]),
        (a_graph((), (), (1,)), {0: 10, 1: 1, 2: 1}, [0, 1, 2]),
        (a_graph((), (), (1,)), {0: 10, 1: 1, 2: 11}, [1, 2, 0]),
        (a_graph((), (), (1,)), {0: 10, 1: 5}, [1, 0, 2]),  # the mean is assumed for the third
        (a_graph((), (), (3,), barriers=((1,),)), {}, [1, 0, 2]),
    ],
)
def test_the_longest_remaining_way_goes_first(graph, weights, expected):
    assert carried_out(a_queue(graph, range(len(graph.labels)), weights)) == expected


@pytest.mark.parametrize(
    ("graph", "selected", "expected"),
    [
        (DIAMOND, [3, 0], [0, 3]),
        (DIAMOND, [3], [3]),
        (DIAMOND, [], []),
        (a_graph((), (3,), (4,), barriers=((0,), (3, 1))), [2, 1, 0], [0, 1, 2]),
        (a_graph((), (3,), (4,), barriers=((0,), (3, 1))), [2, 0], [0, 2]),
    ],
)
def test_order_holds_through_what_is_not_selected_and_through_barriers(graph, selected, expected):
    assert carried_out(a_queue(graph, selected, {})) == expected


def test_what_is_not_selected_weighs_nothing():
    graph = a_graph((), (), (0,))
    assert carried_out(a_queue(graph, [0, 1], {0: 1, 1: 2, 2: 100})) == [1, 0]


def test_what_was_put_back_comes_again():
    queue = a_queue(DIAMOND, range(4), {})
    assert queue.pop() == 0
    queue.put_back(0)
    assert len(queue) == 4
    assert carried_out(queue) == [0, 1, 2, 3]


def test_putting_back_what_was_not_handed_out_changes_nothing():
    queue = a_queue(DIAMOND, range(4), {})
    queue.put_back(0)
    queue.put_back(3)
    assert (queue.pop(), queue.pop()) == (0, None)
    queue.done(0)
    queue.put_back(0)
    assert carried_out(queue) == [1, 2, 3]


def test_an_end_is_counted_once():
    queue = a_queue(a_graph((), (), (0, 1)), range(3), {})
    queue.done(0)
    queue.done(0)
    assert (queue.pop(), queue.pop(), len(queue)) == (1, None, 2)


def test_the_end_of_what_is_not_selected_changes_nothing():
    queue = a_queue(DIAMOND, [0, 3], {})
    queue.done(1)
    assert (queue.pop(), queue.pop()) == (0, None)


def test_an_end_out_of_turn_does_not_let_others_start_too_early():
    queue = a_queue(a_graph((), (0,), (1,)), range(3), {})
    queue.done(1)
    assert (queue.pop(), queue.pop(), len(queue)) == (0, None, 2)
    assert carried_out_after(queue, 0) == [2]


def carried_out_after(queue: ReadyQueue, number: int) -> list[int]:
    queue.done(number)
    return carried_out(queue)


def test_a_chain_of_ten_thousand():
    graph = a_graph((), *((number,) for number in range(9999)))
    assert carried_out(a_queue(graph, range(10_000), {})) == list(range(10_000))


def test_a_thousand_wait_for_a_thousand():
    graph = a_graph(*[()] * 1000, *[(2000,)] * 1000, barriers=(tuple(range(1000)),))
    assert carried_out(a_queue(graph, range(2000), {})) == list(range(2000))


@st.composite
def graphs(draw) -> Graph:
    """Draw instances and barriers, in any order of their numbers."""
    count, barriers = draw(st.integers(1, 12)), draw(st.integers(0, 3))
    nodes = draw(st.permutations(range(count + barriers)))
    before = {
        node: tuple(sorted(draw(st.sets(st.sampled_from(nodes[:place]), max_size=3)))) if place else ()
        for place, node in enumerate(nodes)
    }
    return a_graph(
        *(before[node] for node in range(count)),
        barriers=tuple(before[node] for node in range(count, count + barriers)),
    )


def selected_before(graph: Graph, number: int, selected: set[int]) -> set[int]:
    found: set[int] = set()
    todo = list(graph.before[number])
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += graph.before[node]
    return found & selected


@settings(deadline=None)
@given(graphs(), st.integers(1, 4), st.data())
def test_any_pool_of_workers_gets_everything_done_in_order(graph, workers, data):
    numbers = range(len(graph.labels))
    selected = data.draw(st.sets(st.sampled_from(numbers)), label="selected")
    weights = data.draw(st.dictionaries(st.sampled_from(numbers), st.floats(0, 1e6)), label="weights")
    queue = a_queue(graph, selected, weights)
    running: list[int] = []
    ended: set[int] = set()
    put_back = 0
    while len(queue):
        assert len(queue) == len(selected) - len(ended)
        while len(running) < workers and (number := queue.pop()) is not None:
            assert number in selected - ended
            assert number not in running
            assert selected_before(graph, number, selected) <= ended
            running.append(number)
        assert running, "nothing runs and nothing is ready"
        number = running.pop(data.draw(st.integers(0, len(running) - 1), label="next"))
        if put_back < 5 and data.draw(st.booleans(), label="put back"):
            put_back += 1
            queue.put_back(number)
        else:
            ended.add(number)
            queue.done(number)
    assert ended == selected
    assert queue.pop() is None


def started(queue: ReadyQueue) -> list[int]:
    """Return what begins at once if nothing ends."""
    return list(iter(queue.pop, None))


APART = a_graph(*[()] * 6)
EARLIER_FIRST = {number: 10.0 - number for number in range(6)}


@pytest.mark.parametrize(
    ("cores", "workers", "wanted", "expected"),
    [
        (2, 2, {}, [0, 1]),
        (2, 2, {0: 2}, [0]),
        (2, 2, {0: 99}, [0]),
        (2, 2, {1: 2}, [0, 2]),
        (2, 4, {}, [0, 1, 2, 3]),
        (2, 4, {0: 1}, [0, 1, 2]),
        (8, 2, {0: 6}, [0]),
        (8, 2, {0: 4}, [0, 1]),
        (7, 2, {0: 4}, [0, 1]),
        (1, 1, {0: 3}, [0]),
    ],
)
def test_as_many_begin_as_have_cores(cores, workers, wanted, expected):
    queue = a_queue(APART, range(6), EARLIER_FIRST, CorePool(cores, workers, wanted))
    assert started(queue) == expected


def test_what_needs_more_cores_is_overtaken_as_often_as_there_are_workers():
    queue = a_queue(APART, range(6), EARLIER_FIRST, CorePool(2, 2, {1: 2}))
    assert started(queue) == [0, 2]
    queue.done(0)
    assert started(queue) == [3]
    queue.done(2)
    assert started(queue) == []
    assert not queue.book_other()
    queue.done(3)
    assert started(queue) == [1]
    queue.done(1)
    assert started(queue) == [4, 5]


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_beside_one_that_runs_long_only_so_many_begin_before_a_larger_one(workers):
    weights = {number: 100.0 - number for number in range(20)}
    queue = a_queue(a_graph(*[()] * 20), range(20), weights, CorePool(workers, workers, {1: workers}))
    assert queue.pop() == 0
    begun = 0
    while (number := queue.pop()) is not None:
        begun += 1
        queue.done(number)
    assert begun == workers
    queue.done(0)
    assert queue.pop() == 1


def test_what_is_put_back_gives_its_cores_back():
    queue = a_queue(APART, range(3), EARLIER_FIRST, CorePool(2, 2, {0: 2}))
    assert started(queue) == [0]
    queue.put_back(0)
    assert started(queue) == [0]
    queue.done(0)
    assert started(queue) == [1, 2]


def test_what_is_not_in_the_queue_books_a_share():
    queue = a_queue(APART, range(2), EARLIER_FIRST, CorePool(2, 2, {1: 2}))
    assert queue.pop() == 0
    assert queue.pop() is None
    assert queue.book_other()
    queue.done(0)
    assert queue.pop() is None
    queue.release_other()
    assert queue.pop() == 1


def test_what_has_a_limit_of_memory_begins_only_where_as_much_is_free():
    pool = CorePool(8, 4, dict.fromkeys(range(6), 1), memory=10, limits={0: 6, 1: 6, 2: 4, 3: 99})
    queue = a_queue(APART, range(6), EARLIER_FIRST, pool)
    assert started(queue) == [0, 2, 4, 5]
    assert queue.why_idle(0) == "memory"
    for number in (0, 2, 4, 5):
        queue.done(number)
    assert queue.pop() == 1
    queue.done(1)
    assert queue.pop() == 3  # it has all of it
    assert queue.wait_of(1).held_by == "memory"


def test_what_is_held_gives_its_cores_back_and_is_offered_later():
    queue = a_queue(a_graph((), (0,), ()), range(3), {}, CorePool(2, 2, {0: 2}))
    queue_of_two = [queue.pop(), queue.pop()]
    assert queue_of_two == [0, None]
    queue.hold(0)
    assert queue.pop() == 2
    queue.done(2)
    assert queue.pop() is None
    assert (len(queue), queue.held_back, queue.why_idle(0)) == (2, 0, "upstreams")
    queue.put_back(0)
    assert queue.pop() == 0
    queue.done(0)
    assert queue.pop() == 1
    queue.hold(1)
    assert queue.why_idle(0) == "retry"


def test_what_is_to_come_first_does_so_if_it_is_ready():
    queue = ReadyQueue(a_graph((), (), (1,), ()), range(4), EARLIER_FIRST, CorePool(9, 9, {}), {2, 3})
    assert started(queue) == [3, 1, 0]
    queue.done(1)
    assert started(queue) == [2]


@settings(deadline=None)
@given(
    st.one_of(graphs(), st.integers(1, 20).map(lambda count: a_graph(*[()] * count))),
    st.integers(1, 4),
    st.integers(1, 4),
    st.data(),
)
def test_nothing_is_overbooked_and_nothing_starves(graph, workers, cores, data):
    """Everything ends; of each size the first in line is overtaken only as often as the rule allows."""
    numbers = range(len(graph.labels))
    wanted = data.draw(st.dictionaries(st.sampled_from(numbers), st.integers(1, 5)), label="cores")
    weights = data.draw(st.dictionaries(st.sampled_from(numbers), st.floats(0, 1e6)), label="weights")
    limits = data.draw(st.dictionaries(st.sampled_from(numbers), st.integers(1, 12)), label="memory")
    pool = CorePool(cores, workers, wanted, 10, limits)
    queue = a_queue(graph, numbers, weights, pool)
    running: list[int] = []
    overtaken: Counter[object] = Counter()
    # One size may begin while others have waited as long.
    limit = workers + max(len({*map(pool.size_of, numbers)}) - 2, 0)
    ended: set[int] = set()
    while len(queue):
        while len(running) < workers:
            sizes = [pool.size_of(number) for number in running]
            free = cores - sum(size.cores for size in sizes), 10 - sum(size.memory for size in sizes)
            assert min(free) >= 0
            waiting = [
                number
                for number in set(numbers) - ended - {*running}
                if selected_before(graph, number, {*numbers}) <= ended
            ]
            if (number := queue.pop()) is None:
                break
            passed = {
                pool.size_of(other)
                for other in waiting
                if any(map(operator.gt, pool.size_of(other), free))
                and queue._remaining[other] > queue._remaining[number]
            }
            overtaken.update(passed)
            del overtaken[pool.size_of(number)]
            assert max(overtaken.values(), default=0) <= limit
            running.append(number)
        assert running, "nothing runs and nothing may begin"
        number = running.pop(data.draw(st.integers(0, len(running) - 1), label="next"))
        ended.add(number)
        queue.done(number)
    assert ended == {*numbers}
