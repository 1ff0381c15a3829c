"""Rows of the report are packed, and come out of the page as they were."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.browser import HOSTILE, make_data, make_flow, make_row

from pytest_ductaflow.report.packed_rows import LISTS, PackedRows
from pytest_ductaflow.report.page import data_of, render


def through_a_page(*rows: Any) -> list[Any]:
    return data_of(render(make_data(*rows)))["rows"]


def said(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what only says that there is nothing."""
    return {key: value for key, value in row.items() if value not in (None, [], {})}


@pytest.mark.parametrize(
    "row",
    [
        make_row("one"),
        make_row("", "waiting"),
        make_row(HOSTILE, "error", message=HOSTILE, traceback=f"{HOSTILE}\n</script>"),
        make_row("a b", "error", message="a b has failed in fit/a b/x.csv", warnings=["a b"]),
        make_row("n=1", config={"n": 1, "model": {"kind": "ols", "empty": {}, "deep": {"x": [1, {"y": 2}]}}}),
        make_row("types", config={"a": True, "b": 1, "c": 1.0, "d": "1", "e": None, "dotted.key": 0}),
        make_row("results", results={"results": {"rmse": 0.25, "kind": "ols"}, "more": {"rmse": False}}),
        make_row(
            "build", kind="build", flows=[make_flow("inner", "warning", links={"log": "build/log.txt"})]
        ),
        make_row(
            "earlier", earlier=True, unchanged=True, shard=2, started="2030", peak_memory=7, duration=0.5
        ),
    ],
    ids=lambda row: row["instance"][:8],
)
def test_a_row_comes_out_as_it_was(row):
    (found,) = through_a_page(row)
    assert said(found) == said(row)
    assert type(found["earlier"]) is bool


def test_types_of_config_values_are_kept():
    values = {"a": True, "b": 1, "c": 1.0, "d": "1"}
    (found,) = through_a_page(make_row("one", config=values))
    assert {key: type(value) for key, value in found["config"].items()} == {
        key: type(value) for key, value in values.items()
    }


def test_what_a_row_does_not_say_reads_as_nothing():
    (found,) = through_a_page(make_row("one"))
    assert {key: found[key] for key in LISTS} == {key: [] for key in LISTS}


@pytest.mark.parametrize(
    "row", [3, "x", None, [], {"id": 3}, make_row("x", step=3), make_row("x", links={"log": 3})]
)
def test_what_is_no_row_is_kept_as_it_is(row):
    if row == []:
        with pytest.raises(ValueError, match="not enough values"):
            through_a_page(make_row("one"), row)
    else:
        assert through_a_page(make_row("one"), row)[1] == row


def test_what_rows_have_in_common_is_there_once():
    packed = PackedRows()
    name = "a_long_name_of_an_instance={}"
    rows = [
        make_row(
            name.format(n),
            links={"log": f"fit/{name.format(n)}/fit_execution_output.txt"},
            config={"a_long_name_of_a_key": "a long value"},
        )
        for n in range(100)
    ]
    sizes = [len(packed.pack(row).text) for row in rows]
    assert max(sizes) < 130
    assert len(packed.dictionaries()) < 700


def test_the_numbers_of_texts_stay_when_rows_are_added():
    packed = PackedRows()
    first = packed.pack(make_row("one"))
    packed.pack(make_row("two", "error", message="other"))
    assert packed.pack(make_row("one")) == first
