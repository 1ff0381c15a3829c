"""What recurs takes no more than its share of the time."""

from __future__ import annotations

import pytest

from pytest_ductaflow.report import budget
from pytest_ductaflow.report.budget import Budget


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(budget.time, "monotonic", lambda: self.now)


@pytest.fixture(name="clock")
def make_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_first_use_is_due_at_once(clock):
    assert Budget(0.02).due <= clock.now


def test_uses_that_become_dearer_stay_within_the_share(clock):
    """Each use waits for as long as all so far, and one more like the last, may take."""
    one, spent = Budget(0.02), 0.0
    for seconds in (0.1, 0.2, 0.4, 0.4, 0.4, 0.4):
        clock.now = max(clock.now, one.due)
        one.spend(seconds)
        spent += seconds
    assert spent / (clock.now - 1000) < 0.025


def test_a_long_pause_is_not_made_up_for(clock):
    one = Budget(0.02)
    one.spend(0.5)
    clock.now += 10_000
    one.spend(0.5)
    assert one.due == pytest.approx(clock.now + 25)
