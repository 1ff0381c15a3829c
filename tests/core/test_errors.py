"""Problems as lines: each mistake once, however many rows have it."""

from __future__ import annotations

import pytest

from pytest_ductaflow.core.errors import TableError
from pytest_ductaflow.core.problem import Problem, merged_lines


def of_rows(rows, what="no such flow", column=""):
    return [Problem(f"c.py:4, row {row}{column}", what, "write it") for row in rows]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([7], "row 7"),
        (range(1, 301), "rows 1 to 300"),
        ([1, 2, 3, 7, 9, 10], "rows 1 to 3, 7, 9 to 10"),
        (range(1, 100, 2), "rows 1, 3, 5, 7, 9 and 45 more"),
    ],
)
def test_what_many_rows_have_in_common_is_one_line(rows, said):
    assert merged_lines(of_rows(rows)) == [f"c.py:4, {said}: no such flow (write it)"]
    in_column = merged_lines(of_rows(rows, column=", column 'flow'"))
    assert in_column == [f"c.py:4, {said}, column 'flow': no such flow (write it)"]


def test_lines_come_in_the_order_of_the_first_of_their_problems():
    """Other places, columns and messages have lines of their own, and so does a table's error."""
    problems = [*of_rows([1], "b"), *of_rows([1, 2], "a"), Problem("c.py:9", "x"), *of_rows([3], "b")]
    lines = ["c.py:4, rows 1, 3: b (write it)", "c.py:4, rows 1 to 2: a (write it)", "c.py:9: x"]
    assert merged_lines(problems) == lines
    assert str(TableError(problems)) == "\n".join(lines)


def test_the_same_call_in_a_loop_is_told_once():
    assert merged_lines([Problem("c.py:9", "x")] * 300) == ["c.py:9: x"]


def test_of_problems_that_differ_in_every_row_the_first_are_told():
    problems = [problem for row in range(1, 301) for problem in of_rows([row], f"{row} is no date")]
    lines = merged_lines(problems)
    assert lines[:2] == [f"c.py:4, row {row}: {row} is no date (write it)" for row in (1, 2)]
    assert lines[20:] == ["c.py:4: and 280 more like those above, in other rows"]


def test_of_problems_without_rows_none_is_left_out():
    assert len(merged_lines([Problem("c.py:9", str(number)) for number in range(50)])) == 50
