"""Failures are grouped by cause."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.browser import make_row

from pytest_ductaflow.report.analysis.causes import causes_of, without_details


def failed(name: str, message: str, status: str = "error", **more: Any) -> dict[str, Any]:
    cause = {"flow": "fit", "cell": 3, "type": "ValueError", "message": message, **more}
    return make_row(name, status, message=f"ValueError: {message}", cause=cause)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("zone 12 has no trips", "zone 7 has no trips"),
        ("rate is -0.5", "rate is 1e-7"),
        ("cannot read runs/a/x/od.csv", "cannot read runs/b/y/od.csv"),
        (r"cannot read C:\data\a.csv", r"cannot read D:\other\b.csv"),
        ("<object at 0x7f3a>", "<object at 0x12bc>"),
        (
            "job 123e4567-e89b-42d3-a456-426614174000 died",
            "job 00000000-e89b-42d3-a456-42661417400f died",
        ),
        ("commit 3f2a9c1b is missing", "commit 77ab09de is missing"),
    ],
)
def test_messages_that_differ_in_details_are_alike(one, other):
    assert without_details(one) == without_details(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no trips", "no zones"),
        ("and/or is missing", "either/or is missing"),
        ("column year2 is missing", "column yeah2 is missing"),
    ],
)
def test_messages_that_say_something_else_differ(one, other):
    assert without_details(one) != without_details(other)


def test_the_name_of_the_instance_is_no_cause():
    assert without_details("year=A: no trips", "year=A") == without_details("year=B: no trips", "year=B")


def test_causes_are_those_of_most_rows_first_and_red_before_orange():
    rows = [
        failed("a", "thin", "warning"),
        failed("b", "zone 1 has no trips"),
        failed("c", "out of memory"),
        failed("d", "zone 2 has no trips"),
        make_row("e"),
        make_row("f", "blocked", message="upstream fit/d failed"),
    ]
    found = [(cause.status, cause.message, cause.rows) for cause in causes_of(rows)]
    assert found == [
        ("error", "zone … has no trips", (1, 3)),
        ("error", "out of memory", (2,)),
        ("blocked", "upstream fit/d failed", (5,)),
        ("warning", "thin", (0,)),
    ]


@pytest.mark.parametrize("more", [{"cell": 4}, {"type": "KeyError"}, {"flow": "prepare"}])
def test_the_same_message_from_another_place_is_another_cause(more):
    assert len(causes_of([failed("a", "no trips"), failed("b", "no trips", **more)])) == 2


def test_a_message_that_all_share_keeps_its_numbers():
    (cause,) = causes_of([failed("a", "needs 3 zones"), failed("b", "needs 3 zones")])
    assert cause.message == "needs 3 zones"


def test_a_failure_without_a_record_has_its_message():
    (cause,) = causes_of([make_row("a", "error", message="worker 'gw0' crashed")])
    assert (cause.message, cause.type, cause.cell) == ("worker 'gw0' crashed", "", None)
