"""What the report shows of one instance's runs, and of what runs now, in a real browser."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers.browser import HOSTILE, Page, ago, make_row

By = pytest.importorskip("selenium.webdriver.common.by").By

ENDED = {"finished": ago(0), "outcome": "finished"}


def history(*runs: list[Any], kept: int | None = None, places: Any = ()) -> dict[str, Any]:
    return {"runs": list(runs), "places": list(places), "kept": kept or len(runs)}


def table(page: Page) -> list[list[str]]:
    return page.js("""
        const rows = [...document.querySelectorAll('.history tr')];
        return rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim()));
    """)


def test_the_last_runs_are_a_table_with_small_charts(page: Page) -> None:
    page.browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
    runs = [
        ["2030-01-01T10:00:00.000+00:00", "success", 1.5, 0.25, None],
        ["2030-01-02T10:00:00.000+00:00", "error", 2.0, None, None],
        ["2030-01-03T10:00:00.000+00:00", "warning", 4.0, 0.5, 7],
    ]
    row = make_row(
        "a",
        "warning",
        started=runs[-1][0],
        results={"results": {"rmse": 0.5, "n": 7}},
        history=history(*runs, kept=9, places=[["results", "rmse"], ["results", "n"]]),
    )
    page.open(row, **ENDED)
    text = page.unfold("a").text
    page.browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
    assert "Runs (the last 3 of 9 that are kept)" in text
    assert table(page) == [
        ["when", "light", "seconds", "rmse", "n"],
        ["UTC", "", "", "", ""],
        ["2030-01-03 10:00:00", "warning", "4", "0.5", "7"],
        ["2030-01-02 10:00:00", "error", "2", "", ""],
        ["2030-01-01 10:00:00", "success", "1.5", "0.25", ""],
    ]
    assert len(page.all(".sparkline")) == 2  # one value is no line


def test_a_first_run_has_no_history(page: Page) -> None:
    began = ago(9)
    page.open(make_row("a", started=began, history=history([began, "success", 1.0])), make_row("b"), **ENDED)
    page.unfold("a")
    page.unfold("b")
    assert not page.all(".history")


def test_what_waits_shows_its_earlier_runs(page: Page) -> None:
    page.open(make_row("a", "waiting", history=history([ago(999), "error", 1.0])))
    page.unfold("a")
    assert table(page)[2][1] == "error"


def test_commands_repeat_and_debug(page: Page) -> None:
    debug = (
        "python -m pdb -c continue -m pytest_ductaflow.api.debugging flows/fit.py runs/fit/a/fit_config.json"
    )
    page.open(make_row("a", "error", debug=debug), **ENDED)
    page.unfold("a")
    assert [each.text for each in page.all(".repeat code")] == [
        "pytest --ductaflow 'conductor.py::fit::a'",
        debug,
    ]
    titles = [each.get_attribute("title") for each in page.all(".copy")]
    assert titles == ["Copy the command to repeat", "Copy the command to debug"]


def test_the_last_output_leads_to_all_of_it(page: Page) -> None:
    page.open(make_row("a", tail=["one", "two"], links={"log": "fit/a/log.txt"}), **ENDED)
    details = page.unfold("a")
    link = details.find_element(By.LINK_TEXT, "all of it")
    assert link.get_attribute("href").endswith("/fit/a/log.txt")
    assert "one\ntwo" in details.text


def test_it_says_where_it_ran_and_what_it_waited_for(page: Page) -> None:
    row = make_row(
        "a",
        worker="gw1",
        started="2030-01-01T10:00:05.000+00:00",
        ready="2030-01-01T10:00:02.000+00:00",
        duration=1.0,
        waited_for="upstream etl/b",
        held_by="cores",
    )
    page.open(row, **ENDED)
    text = page.unfold("a").text
    assert "worker gw1" in " ".join(text.split())
    assert "(its upstream etl/b ended last) and waited 3.00 s for free cores" in text


def test_hostile_histories_are_text(page: Page) -> None:
    runs = history(
        [HOSTILE, HOSTILE, HOSTILE, HOSTILE], [HOSTILE, "x", None, {}], places=[[HOSTILE, HOSTILE]]
    )
    page.open(make_row("a", history=runs), make_row("b", history={"runs": []}), **ENDED)
    page.unfold("a")
    assert not page.all("main script")


# ---- The header of a session that runs


def test_the_time_left_is_that_of_known_durations(page: Page) -> None:
    rows = [make_row("a", duration=1.0), make_row("b", "waiting")]
    page.open(*rows, left=36_000.0)
    assert re.search("about (10 h 00|9 h 5.) min left", page.one("#outlook").text)
    page.follow(*rows, left=0.2)
    assert "nearly done" in page.one("#outlook").text
    page.follow(*rows, left=None, started=ago(40))  # nothing is known but the throughput
    assert re.search(r"about \d+ s left", page.one("#outlook").text)


def test_what_runs_is_in_the_header_with_its_last_line(page: Page) -> None:
    rows = [
        make_row(f"n{n}", "running", started=ago(10), worker=f"gw{n}", last_line=f"epoch {n}")
        for n in range(6)
    ]
    page.open(*rows, view="results")
    shown = [each.text.replace("\n", " ") for each in page.all("#running li")]
    assert len(shown) == 5
    assert shown[0].startswith("fit/n0 1")
    assert shown[0].endswith("s gw0 epoch 0")
    assert shown[4] == "and 2 more"
    page.one("#running button").click()
    assert page.one(".entry.open .name").text == "n0"
    page.follow(*[{**row, "status": "success", "duration": 11.0} for row in rows], **ENDED)
    assert not page.all("#running li")


@pytest.mark.parametrize("width", [400, 1280])
def test_the_header_fits_the_page(page: Page, width: int) -> None:
    page.emulate(width)
    page.open(make_row("x" * 300, "running", started=ago(9), last_line="y" * 500, worker="z" * 90))
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")


def test_a_session_says_after_which_silence_it_has_ended(page: Page) -> None:
    row = make_row("a", "running", started=ago(400))
    page.open(row, updated=ago(100), patience=92)
    assert page.one("#state").text == "ended early"
    page.open(row, updated=ago(100), patience=150)
    assert page.one("#state").text == "running"
    page.open(row, updated=ago(100))
    assert page.one("#state").text == "running"
