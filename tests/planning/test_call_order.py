"""The order of the instances of one call, and what blocks them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import write_record
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.planning.call_order import CallOrder


@pytest.fixture
def order(tmp_path: Path):
    """Return a function that makes the order of instances of one table, by name and what they wait for."""

    def make(**after: str) -> CallOrder:
        return CallOrder(
            [an_instance(tmp_path, name, up, row) for row, (name, up) in enumerate(after.items())], Settings()
        )

    return make


def an_instance(root: Path, name: str, after: str = "", row: int = 0) -> Instance:
    labels = tuple(f"x/{up}" for up in after.split())
    place = {"source": str(root / "conductor.py"), "line": 1, "row": row + 1, "after": labels or None}
    return Instance(str(root / "flows/x.py"), "x", name, {}, str(root / f"runs/x/{name}"), str(root), **place)


def a_record(status: Status) -> Record:
    return Record(status, "flows/x.py", "x", "i", "runs/x/i")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"a": "", "b": "", "c": ""}, [0, 1, 2]),
        ({"a": "", "b": "a", "c": ""}, [0, 1, 2]),
        ({"a": "c", "b": "", "c": ""}, [2, 0, 1]),
        ({"a": "b", "b": "a", "c": ""}, [0, 1, 2]),
        ({"a": "earlier_call", "b": ""}, [0, 1]),
    ],
)
def test_one_after_the_other_the_order_of_the_table_is_kept_as_far_as_possible(order, after, expected):
    assert order(**after).sequence == expected


def test_what_waits_for_a_failed_one_is_blocked_and_what_waits_for_that_as_well(order):
    order = order(good="", bad="", orange="", child="bad", grandchild="child", fine="good orange")
    statuses = [Status.SUCCESS, Status.ERROR, Status.WARNING]
    for number, status in enumerate(statuses):
        assert order.obstacle(number) is None
        order.ended(number, a_record(status))
    assert order.obstacle(3) == "upstream x/bad failed"
    order.ended(3, a_record(Status.BLOCKED))
    assert order.obstacle(4) == "upstream x/child is blocked: upstream x/bad failed"
    assert order.obstacle(5) is None


def test_those_that_wait_for_each_other_are_not_blocked(order):
    order = order(a="b", b="a")
    assert order.obstacle(0) is None
    order.ended(0, a_record(Status.SUCCESS))
    assert order.obstacle(1) is None


def test_side_by_side_what_took_longest_comes_first(tmp_path):
    instances = [an_instance(tmp_path, name, row=row) for row, name in enumerate("abc")]
    for instance, seconds in zip(instances, (1.0, 5.0, 2.0), strict=True):
        files = RunFiles.of(instance)
        files.directory.mkdir(parents=True)
        write_record(files, a_record(Status.SUCCESS).with_(duration=seconds))
    queue = CallOrder(instances, Settings()).queue(3)
    assert [queue.pop(), queue.pop(), queue.pop()] == [1, 2, 0]
