"""What has changed since the session before."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.browser import make_row

from pytest_ductaflow.report.analysis.changes import Changes, before_of, changes_of
from pytest_ductaflow.report.analysis.sweep import sweep_of
from pytest_ductaflow.report.packed_rows import PackedRows


def compared(*rows: dict[str, Any]) -> Changes:
    packed = PackedRows()
    sweep = sweep_of([(row, packed.pack(row)) for row in rows], packed)
    return changes_of(sweep.rows, sweep.results, packed.places)


def was(status: str = "success", duration: float = 2.0, **results: Any) -> dict[str, Any]:
    return {"status": status, "duration": duration, "results": {"r": results}}


@pytest.mark.parametrize(
    ("now", "before", "kind"),
    [
        ("error", "success", "newly red"),
        ("error", "warning", "newly red"),
        ("warning", "success", "newly orange"),
        ("success", "error", "newly green"),
        ("success", "warning", "newly green"),
        ("blocked", "success", "newly blocked"),
    ],
)
def test_a_light_that_has_changed(now, before, kind):
    assert compared(make_row("a"), make_row("b", now, before=was(before))).rows == {"new": [0], kind: [1]}


def test_what_is_as_before_is_no_change():
    row = make_row("a", duration=2.5, results={"r": {"x": 1.0}}, before=was(x=1.0))
    assert (compared(row).rows, compared(row).moved, compared(row).compared) == ({}, [], 1)


@pytest.mark.parametrize(("took", "kind"), [(3.5, "slower"), (0.9, "faster"), (2.5, None)])
def test_durations(took, kind):
    row = make_row("a", duration=took, before=was())
    assert list(compared(row).rows) == ([kind] if kind else [])
    assert compared({**row, "unchanged": True}).rows == {}


def test_results_that_have_moved_are_told_with_the_largest_relative_change():
    rows = [
        make_row("a", results={"r": {"x": 1.1, "y": 5, "z": "new"}}, before=was(x=1.0, y=5, z="old")),
        make_row("b", results={"r": {"x": 3.0, "y": 5}}, before=was(x=2.0, y=5)),
        make_row("c", results={"r": {"x": 3.0}}),
    ]
    found = [(moved.name, moved.rows, moved.largest) for moved in compared(*rows).moved]
    assert found == [("x", (1, 0), pytest.approx(0.5)), ("z", (0,), None)]


def test_a_result_that_was_0_has_moved_by_no_share():
    """By how much the others have moved at most would be less than the whole truth."""
    rows = [
        make_row("a", results={"r": {"x": 101, "y": 2.0}}, before=was(x=100, y=1.0)),
        make_row("b", results={"r": {"x": 5}}, before=was(x=0)),
    ]
    found = [(moved.name, moved.rows, moved.largest) for moved in compared(*rows).moved]
    assert found == [("x", (1, 0), None), ("y", (0,), pytest.approx(1.0))]


def test_results_that_are_gone_or_new_are_told():
    rows = [
        make_row("a", results={"r": {"x": 1}}, before=was(x=1, y=2)),
        make_row("b", results={"r": {"x": 1, "z": 3}}, before=was(x=1)),
        make_row("c", "error", results={}, before=was(x=1)),
        make_row("d", results={"r": {"x": 1}}, before=was("error")),
    ]
    rows_of = compared(*rows).rows
    assert (rows_of["with fewer results"], rows_of["with more results"]) == ([0], [1])


def test_a_number_that_json_lacks_is_equal_to_itself():
    row = make_row("a", results={"r": {"x": float("nan")}}, before=was(x="nan"))
    assert compared(row).moved == []


def test_rows_that_were_not_run_are_not_compared():
    rows = [make_row(status, status, before=was("error")) for status in ("waiting", "running")]
    assert compared(*rows, make_row("e", earlier=True, before=was("error"))).compared == 0


def test_in_a_first_session_nothing_is_new():
    assert compared(make_row("a")).rows == {}


def test_after_a_session_that_was_killed_what_was_before_it_counts():
    assert before_of(make_row("a", "running", before=was("warning"))) == was("warning")
    assert before_of(make_row("a", "waiting")) is None
    row = make_row("a", "error", duration=1.0, results={"r": {"x": 1}}, before=was())
    assert before_of(row) == {"status": "error", "duration": 1.0, "results": {"r": {"x": 1}}}
