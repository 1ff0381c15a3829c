"""In which order items run while others wait to be tried again."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pytest_ductaflow.pytest_hooks import retrying
from pytest_ductaflow.pytest_hooks.retrying import arranged


class Item:
    """An item as `arranged` sees it: something with a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"item {self.number}"


@pytest.fixture(autouse=True)
def any_item_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PlannedItem", Item)


def order(count: int, due: dict[int, float], after: dict[int, set[int]], now: float = 0.0) -> list[int]:
    items: list[Any] = [Item(number) for number in range(count)]
    found: list[Any] = arranged(items, {items[number]: when for number, when in due.items()}, after, now)
    return [item.number for item in found]


@pytest.mark.parametrize(
    ("due", "after", "expected"),
    [
        ({}, {}, [0, 1, 2, 3]),
        ({0: 9.0}, {0: set()}, [1, 2, 3, 0]),
        ({0: 9.0}, {0: {2}}, [1, 3, 0, 2]),
        ({0: 9.0, 1: 5.0}, {0: {2}, 1: {3}}, [1, 3, 0, 2]),
        ({0: 9.0, 1: 5.0}, {0: {2, 3}, 1: {3}}, [1, 0, 2, 3]),
        ({3: 0.0}, {3: set()}, [3, 0, 1, 2]),
    ],
)
def test_what_waits_for_a_retry_comes_after_it_and_all_else_before(due, after, expected):
    assert order(4, due, after) == expected


@given(st.data())
def test_nothing_is_lost_and_nothing_comes_before_what_it_waits_for(data):
    count = data.draw(st.integers(1, 8))
    before = [data.draw(st.sets(st.integers(0, number - 1))) if number else set() for number in range(count)]
    for number, earlier in enumerate(before):
        before[number] = earlier.union(*(before[each] for each in earlier))
    after = {number: {n for n in range(count) if number in before[n]} for number in range(count)}
    # Only what depends on nothing that is left has run, and can wait for a retry.
    roots = [number for number in range(count) if not before[number]]
    due = data.draw(st.dictionaries(st.sampled_from(roots), st.floats(-5, 5)))
    found = order(count, due, after)
    assert sorted(found) == list(range(count))
    assert all(found.index(each) < found.index(number) for number in found for each in before[number])
