"""How many instances a call runs at a time, and what is said of other values."""

from __future__ import annotations

import json

import pytest

from pytest_ductaflow.api.workers import number_of_workers
from pytest_ductaflow.core.system.machine import core_in_use, has_idle_core, is_shared, number_of_cores


@pytest.mark.parametrize(
    ("given", "told", "expected"),
    [
        (None, None, 1),
        (None, "", 1),
        (None, "3", 3),
        (None, "auto", number_of_cores()),
        (2, "3", 2),
        ("2", None, 2),
        ("auto", "3", number_of_cores()),
    ],
)
def test_the_argument_goes_before_the_environment(monkeypatch, given, told, expected):
    monkeypatch.delenv("DUCTAFLOW_WORKERS", raising=False)
    if told is not None:
        monkeypatch.setenv("DUCTAFLOW_WORKERS", told)
    assert number_of_workers(given) == expected


EXPECTED = "expected a whole number above 0, or 'auto' for one for each core"


@pytest.mark.parametrize("given", [0, -1, "two", 1.5, True, "0", "", [2]])
def test_other_values_are_told_with_what_is_expected(given):
    with pytest.raises(ValueError, match="workers=") as caught:
        number_of_workers(given)
    assert str(caught.value) == f"workers={given!r}: {EXPECTED}"


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("DUCTAFLOW_WORKERS", "x")
    with pytest.raises(ValueError, match="environment") as caught:
        number_of_workers(None)
    assert str(caught.value) == f"environment variable DUCTAFLOW_WORKERS='x': {EXPECTED}"


def test_the_environment_does_not_speak_of_the_instances_of_a_build(monkeypatch):
    monkeypatch.setenv("DUCTAFLOW_WORKERS", "3")
    build = {"journal": "j", "settings": "", "around": ["j"], "began_in": "", "variables": {}}
    monkeypatch.setenv("_DUCTAFLOW_BUILD", json.dumps(build))
    assert number_of_workers(None) == 1
    assert number_of_workers(2) == 2


def test_instances_in_threads_take_the_idle_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    with core_in_use():
        assert (has_idle_core(), is_shared()) == (True, False)
        with core_in_use():
            assert (has_idle_core(), is_shared()) == (False, True)
    assert has_idle_core()
