"""Values at the edge of what numbers and texts can be: none is lost, miscounted or taken for another."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytest.importorskip("selenium")

from helpers.browser import Page, ago, make_row
from helpers.thorough import one_in

ENDED = {"finished": ago(0), "outcome": "finished", "exit_code": 1}
HUGE = sys.float_info.max


def of_values(*values: Any) -> list[dict[str, Any]]:
    """Return a row for each value, with it as a result."""
    return [
        make_row(f"i{n}", config={"n": n}, results={"results": {"cost": value}})
        for n, value in enumerate(values)
    ]


def of_configs(*values: Any) -> list[dict[str, Any]]:
    return [make_row(f"i{n}", config={"a": value}) for n, value in enumerate(values)]


def shown_names(page: Page) -> list[str]:
    return page.js("return shownRows.map((row) => row.instance)")


def filter_by(page: Page, column: str, condition: str) -> list[str]:
    page.js("view.where = {[arguments[0]]: arguments[1]}; applyView()", column, condition)
    return shown_names(page)


# ---- Numbers


@pytest.mark.parametrize(
    "values",
    [
        (-HUGE, 0.0, HUGE),
        (1e300, 1e300, 1e300),
        (1e17, 1e17, 1e17),
        (5e-324, 0.0, 1e-323),
        (1e17, 1e17 + 32, 1e17 + 64),
    ],
)
@pytest.mark.parametrize("chart", one_in(3, ["scatter", "line", "box"]))
def test_charts_have_room_for_every_number(page: Page, values: tuple[float, ...], chart: str) -> None:
    """Chromium reports a place that is no number, and the page's fixture fails for it."""
    page.write_rows(of_values(*values), **ENDED)
    page.go(f"#view=results&cy=cost&cx=n&chart={chart}")
    page.until(lambda: not page.js("return isDrawing"))
    places = page.js(
        "return [...document.querySelectorAll('#chart path, #parallel path')]"
        ".map(e => e.getAttribute('d')).join(' ')"
    )
    assert places
    assert "NaN" not in places
    assert "Infinity" not in places


@pytest.mark.parametrize("measure", ["mean", "min", "max"])
def test_the_pivot_colours_the_largest_numbers(page: Page, measure: str) -> None:
    rows = [
        {**row, "config": {"a": n % 3}} for n, row in enumerate(of_values(-HUGE, 1.0, HUGE, -HUGE, 1.0, HUGE))
    ]
    page.write_rows(rows, **ENDED)
    page.go(f"#view=pivot&x=a&y=step&colour=cost&measure={measure}")
    colours = page.js("return [...document.querySelectorAll('.pivot-cell')].map(e => e.style.background)")
    assert len(colours) == 3
    assert all(colours)


def test_a_class_of_numbers_filters_what_it_has(page: Page) -> None:
    """Values at the end of a class belong to the next one: a click must not bring them back."""
    years = list(range(2020, 2054, 2))
    page.open(*of_configs(*years), view="pivot", **ENDED)
    page.js("Object.assign(view, {x: 'a', y: 'step'}); applyView()")
    cells = page.js("return document.querySelectorAll('.pivot-cell').length")
    assert cells == 8
    for n in range(cells):
        page.js("Object.assign(view, {view: 'pivot', where: {}}); applyView()")
        number = page.js(
            "const e = document.querySelectorAll('.pivot-cell')[arguments[0]];"
            "const n = Number(e.innerText); e.click(); return n",
            n,
        )
        assert len(shown_names(page)) == number


def test_what_is_no_number_has_a_class_of_its_own(page: Page) -> None:
    page.open(*of_values(*range(20), "nan", "nan"), view="pivot", **ENDED)
    labels = page.js("return classesOf(columns.get('cost'), data.rows).map(({ label }) => label)")
    assert labels[-1] == "nan"
    assert len(labels) == 9


def test_what_is_no_number_is_neither_more_nor_less(page: Page) -> None:
    page.open(*of_values(0.5, "nan", "inf", "-inf", 0.1), view="results", **ENDED)
    assert filter_by(page, "cost", "> 0.4") == ["i0", "i2"]
    assert filter_by(page, "cost", "< 0.4") == ["i3", "i4"]
    assert filter_by(page, "cost", "0..1") == ["i0", "i4"]
    assert filter_by(page, "cost", "= nan") == ["i1"]


@pytest.mark.parametrize(("down", "names"), [(False, "i3 i4 i0 i2 i1"), (True, "i2 i0 i4 i3 i1")])
def test_what_is_no_number_comes_last(page: Page, down: bool, names: str) -> None:
    page.open(*of_values(0.5, "nan", "inf", "-inf", 0.1), view="results", **ENDED)
    page.js("Object.assign(view, {order: 'cost', down: arguments[0], where: {}}); applyView()", down)
    assert page.js("return resultRows().map((row) => row.instance)") == names.split()


def test_a_stretch_of_numbers_that_are_close_to_each_other_is_kept(page: Page) -> None:
    values = [300_000 + n / 10 for n in range(20)]
    page.open(*of_values(*values), view="results", **ENDED)
    page.until(lambda: not page.js("return isDrawing"))
    condition = page.js(
        "const axis = parallelScale(columns.get('cost'), 240);"
        "return brushed(axis, axis.at(300000.55), axis.at(300001.25))"
    )
    assert filter_by(page, "cost", condition) == [f"i{n}" for n in range(6, 13)]


# ---- Texts


@pytest.mark.parametrize("value", ["two\nlines", " rail ", "\ttab", "unset", "2030..2040", "> 4", "= x", ""])
def test_a_cell_of_the_pivot_finds_its_text(page: Page, value: str) -> None:
    page.open(*of_configs(value, "other", "third"), view="pivot", **ENDED)
    condition = page.js(
        "return classesOf(columns.get('a'), data.rows).find((each) => each.has(arguments[0])).condition",
        value,
    )
    assert filter_by(page, "a", condition) == ["i0"]


@pytest.mark.parametrize("name", ["change:constructor", "change:__proto__", "moved:toString", "cause:", "x"])
def test_an_address_with_unknown_rows_shows_none(page: Page, name: str) -> None:
    before = {"status": "success", "duration": 1.0, "results": {}}
    page.write_rows([make_row("a", before=before)], **ENDED)
    page.go(f"#view=instances&among={name}")
    assert shown_names(page) == []


# ---- Causes and changes


def test_failures_with_one_message_in_two_cells_are_two_causes(page: Page) -> None:
    rows = [
        make_row(
            f"i{cell}",
            "error",
            message="KeyError: 'x'",
            cause={"flow": "fit", "cell": cell, "type": "KeyError", "message": "'x'"},
        )
        for cell in (3, 5)
    ]
    page.open(*rows, view="groups", **ENDED)
    for cell in (3, 5):
        page.js("Object.assign(view, {view: 'groups', among: ''}); applyView()")
        (cause,) = [each for each in page.all(".cause") if f"cell {cell}" in each.text]
        cause.find_element("css selector", "button.to").click()
        assert shown_names(page) == [f"i{cell}"]


def test_results_that_have_moved_are_those_of_what_is_shown(page: Page) -> None:
    before = {"status": "success", "duration": 1.0, "results": {"results": {"cost": 1.0}}}
    rows = [{**row, "before": before} for row in of_values(2.0, 1.5, 1.0)]
    page.open(*rows, view="groups", **ENDED)
    moved = "return document.querySelector('#view-groups').innerText.replace(/\\s+/g, ' ')"
    assert "in 2 instances, by 100 % at most" in page.js(moved)
    page.js("view.search = 'i1'; applyView()")
    assert "in 1 instance: fit/i1 1 → 1.5" in page.js(moved)
    page.js("view.search = 'i2'; applyView()")
    assert "Nothing of what is shown" in page.one("#view-groups").text


def test_of_many_files_and_neighbours_all_are_counted(page: Page) -> None:
    many = [*(f"f{n}.txt" for n in range(30)), "… and 12 more"]
    needs = [*(f"fit/u{n}" for n in range(30)), "… and 5 more"]
    rows = [make_row("a", outputs=many, upstreams=needs)]
    rows += [make_row(f"d{n}", step="sum", upstreams=["fit/a"]) for n in range(130)]
    page.open(*rows, **ENDED)
    text = page.unfold("a").text
    assert "Wrote 42 files" in text
    assert "Needs 35 instances" in text
    assert "Is needed by 130 instances" in text
