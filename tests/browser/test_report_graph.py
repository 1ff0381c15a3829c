"""The graph of steps and of instances in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.browser import HOSTILE, Page, ago, make_row

By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

ENDED = {"finished": ago(0), "outcome": "finished"}
SOURCE = "conductor.py"
EDGES = [
    [SOURCE, "prepare", SOURCE, "fit", 3, False],
    [SOURCE, "fit", SOURCE, "sum", 1, False],
    [SOURCE, "prepare", SOURCE, "late", 1, True],
]


def a_sweep() -> list[dict[str, Any]]:
    """Return rows of four steps: three fits need a preparation each, a sum needs all fits."""
    fits = [f"fit/{n}" for n in "abc"]
    return [
        *(make_row(n, step="prepare", duration=1.0) for n in "abc"),
        make_row("a", step="fit", upstreams=["prepare/a"]),
        make_row("b", "error", step="fit", upstreams=["prepare/b"], message="ValueError: no"),
        make_row("c", "warning", step="fit", upstreams=["prepare/c"]),
        make_row("alone", step="fit"),
        make_row("all", "blocked", step="sum", upstreams=fits),
        make_row("last", step="late"),
    ]


def steps(page: Page) -> list[str]:
    return [node.get_attribute("aria-label") for node in page.all("#graph-steps .node")]


def arrows(page: Page, css: str = "#graph-steps .arrow") -> list[str]:
    ends = "[...document.querySelectorAll(arguments[0])].map((e) => [e.dataset.from, e.dataset.to])"
    steps_of = "(key) => key.startsWith('[') ? JSON.parse(key)[1] : labelOfRow(data.rows[Number(key)])"
    return page.js(f"return {ends}.map((pair) => pair.map({steps_of}).join(' -> ')).sort()", css)


def test_steps_have_their_lights_and_what_they_need(page: Page) -> None:
    page.open(*a_sweep(), view="graph", edges=EDGES, **ENDED)
    assert steps(page) == [
        "prepare: 3 instances; 3 success; is needed by fit",
        "fit: 4 instances; 2 success, 1 warning, 1 error; needs prepare; is needed by sum",
        "sum: 1 instance; 1 blocked; needs fit",
        "late: 1 instance; 1 success",
    ]
    assert arrows(page) == ["fit -> sum", "prepare -> fit", "prepare -> late"]
    assert arrows(page, "#graph-steps .arrow.order") == ["prepare -> late"]
    assert [each.text for each in page.all("#graph-steps .arrow text")] == ["3 of 4"]


def test_later_steps_stand_further_to_the_right_and_on_narrow_pages_further_down(page: Page) -> None:
    page.open(*a_sweep(), view="graph", edges=EDGES, **ENDED)
    left = [node.location["x"] for node in page.all("#graph-steps .node")]
    assert left[0] < left[1] < left[2]
    page.emulate(400)
    page.open(*a_sweep(), view="graph", edges=EDGES, **ENDED)
    top = [node.location["y"] for node in page.all("#graph-steps .node")]
    assert top[0] < top[1] < top[2]
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")


def test_without_edges_of_the_plan_rows_tell_them(page: Page) -> None:
    """A report of records alone, or of a script, has the upstreams of each instance."""
    page.open(*a_sweep(), view="graph", **ENDED)
    assert arrows(page) == ["fit -> sum", "prepare -> fit"]


def test_a_click_shows_only_one_step_and_another_one_all(page: Page) -> None:
    page.open(*a_sweep(), view="graph", edges=EDGES, **ENDED)
    page.all("#graph-steps .node")[1].click()
    assert page.js("return shownRows.map((row) => row.step)") == ["fit"] * 4
    assert page.all("#graph-steps .node")[1].get_attribute("aria-pressed") == "true"
    assert page.one("#step").get_property("value") == '["conductor.py","fit"]'
    assert len(steps(page)) == 4
    page.all("#graph-steps .node")[1].click()
    assert page.js("return shownRows.length") == 9


def test_lights_and_search_count_in_every_step(page: Page) -> None:
    page.open(*a_sweep(), view="graph", edges=EDGES, **ENDED)
    page.chip("error").click()
    assert steps(page)[0] == "prepare: 0 of 3 instances; is needed by fit"
    assert steps(page)[1].startswith("fit: 1 of 4 instances; 1 error")


def test_instances_are_drawn_with_those_that_they_need(page: Page) -> None:
    page.open(*a_sweep(), view="graph", **ENDED)
    page.chip("error").click()
    assert arrows(page, "#graph-instances .arrow") == ["fit/b -> sum/all", "prepare/b -> fit/b"]
    beside = [node.get_attribute("title") for node in page.all(".beside")]
    assert sorted(beside) == ["prepare/b", "sum/all"]
    assert page.one("#graph-note").text == (
        "1 instance; with a dashed border 2 more that they need, or that need them."
    )
    page.one("#graph-instances .node:not(.beside)").click()
    assert page.one("#view-instances").is_displayed()
    assert page.one(".entry.open .name").text == "b"


def test_instances_without_dependencies_come_at_the_end(page: Page) -> None:
    page.open(*a_sweep(), view="graph", **ENDED)
    loose = [node.get_attribute("title") for node in page.all("#graph-loose .node")]
    assert loose == ["fit/alone", "late/last"]


def test_too_many_instances_are_not_drawn(page: Page) -> None:
    rows = [make_row(f"n{n}", upstreams=["prepare/a"]) for n in range(400)]
    page.open(make_row("a", step="prepare"), *rows, view="graph", **ENDED)
    assert not page.all("#graph-instances .node")
    assert "401 instances are too many to be drawn" in page.one("#graph-note").text
    page.search("n39")
    assert len(page.all("#graph-instances .node")) == 12


def test_arrow_keys_lead_from_node_to_node(page: Page) -> None:
    page.open(*a_sweep(), view="graph", edges=EDGES, **ENDED)
    focusable = page.all("#graph-steps .node[tabindex='0']")
    assert len(focusable) == 1
    page.js("arguments[0].focus()", focusable[0])
    focused = "return document.activeElement.querySelector('.node-title').textContent"
    focusable[0].send_keys(Keys.ARROW_RIGHT)
    second = page.js(focused)
    assert second in ("fit", "late")
    page.browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert page.js(focused) == "prepare"
    assert len(page.all("#graph-steps .near")) == 2
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.js("return shownRows.length") == 3
    assert page.js(focused) == "prepare"


def test_steps_that_wait_for_each_other_are_drawn(page: Page) -> None:
    """Instances of two steps may wait for each other in turns, which is no circle."""
    rows = [
        make_row("1", step="a"),
        make_row("1", step="b", upstreams=["a/1"]),
        make_row("2", step="a", upstreams=["b/1"]),
        make_row("2", step="b", upstreams=["a/2"]),
    ]
    page.open(*rows, view="graph", **ENDED)
    assert arrows(page) == ["a -> b"]
    assert arrows(page, "#graph-instances .arrow") == ["a/1 -> b/1", "a/2 -> b/2", "b/1 -> a/2"]


def test_nodes_of_a_layer_do_not_overlap(page: Page) -> None:
    rows = [make_row(f"u{n}", step="up") for n in range(12)]
    rows += [make_row(f"d{n}", step="down", upstreams=[f"up/u{(n * 5) % 12}", f"up/u{n}"]) for n in range(12)]
    rows += [make_row("end", step="end", upstreams=["up/u0", "down/d3"])]
    page.open(*rows, view="graph", **ENDED)
    boxes = page.js("""
        return [...document.querySelectorAll('#graph-instances .node')].map((node) =>
            [node.offsetLeft, node.offsetTop, node.offsetWidth, node.offsetHeight]);
    """)
    assert len(boxes) == 25
    for n, (x, y, width, height) in enumerate(boxes):
        assert min(x, y) >= 0
        for a, b, _, _ in boxes[:n]:
            assert abs(x - a) >= width or abs(y - b) >= height


def test_the_graph_follows_the_session_and_keeps_the_focus(page: Page) -> None:
    rows = a_sweep()
    waiting = [{**row, "status": "waiting", "message": None} for row in rows]
    page.open(*waiting, view="graph", edges=EDGES)
    page.js("document.querySelectorAll('#graph-steps .node')[1].focus()")
    page.follow(*rows, edges=EDGES, **ENDED)
    assert "1 error" in steps(page)[1]
    assert page.js("return document.activeElement.querySelector('.node-title').textContent") == "fit"


@pytest.mark.parametrize(
    "edges",
    [[], [["x", "y", "z", "w", 1, False]], [[SOURCE, "fit", SOURCE, "fit", 1, False]]],
    ids=["none", "unknown", "itself"],
)
def test_edges_that_lead_nowhere_are_left_out(page: Page, edges: list[Any]) -> None:
    page.open(make_row("one"), view="graph", edges=edges, **ENDED)
    assert len(steps(page)) == 1
    assert not page.all(".arrow")


def test_hostile_names_are_text(page: Page) -> None:
    rows = [
        make_row(HOSTILE, step=HOSTILE, source=HOSTILE),
        make_row("__proto__", step="constructor", upstreams=[f"{HOSTILE}/{HOSTILE}"]),
        make_row("x" * 3000, step="y" * 3000, upstreams=["constructor/__proto__"]),
    ]
    page.open(*rows, view="graph", **ENDED)
    assert len(page.all("#graph-steps .node")) == 3
    assert len(page.all("#graph-steps .arrow")) == 2
    assert not page.all("main script")
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")


def test_an_empty_report_has_an_empty_graph(page: Page) -> None:
    page.open(view="graph", **ENDED)
    assert not page.all(".node")
