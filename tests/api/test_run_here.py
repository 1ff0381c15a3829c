"""What a script is told before its instances run."""

from __future__ import annotations

import warnings

import pytest

from pytest_ductaflow.api.run_here import warn_of_machine
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.planning import reserved_columns
from pytest_ductaflow.planning.afterwards import answers


@pytest.fixture
def greedy(monkeypatch: pytest.MonkeyPatch, tmp_path) -> list[Instance]:
    monkeypatch.setattr(reserved_columns, "usable_cores", lambda: 1)
    conductor = str(tmp_path / "conductor.py")
    instance = Instance("/p/flows/a.py", "a", "A", {}, "/p/runs/a/A", str(tmp_path), conductor, 3, cores=2)
    return [instance]


def test_more_cores_than_there_are_are_told_once(greedy):
    with pytest.warns(UserWarning, match=r"_cores is up to 2 \(conductor.py\), and this machine has 1 core:"):
        warn_of_machine(greedy)
    with warnings.catch_warnings(action="error"):
        warn_of_machine(greedy)


def test_what_the_plan_has_told_is_not_told_again(greedy, monkeypatch):
    monkeypatch.setattr(answers, "current", object)
    with warnings.catch_warnings(record=True, action="always") as told:
        warn_of_machine(greedy)
    assert told == []
