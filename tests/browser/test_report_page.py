"""The status report in a real browser: what it shows, how it is searched, how it follows a session."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_ductaflow.report.page import data_of, render

pytest.importorskip("selenium")

from helpers.browser import (
    HOSTILE,
    Page,
    ago,
    make_data,
    make_flow,
    make_row,
    of_every_status,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

# ---- What Python embeds


def test_placeholders_are_all_replaced() -> None:
    """The page has no placeholder left, and the data it carries is what was given."""
    text = render(make_data(make_row("one")))
    assert "/*ductaflow:" not in text
    assert '{"ductaflow": "data"}' not in text
    assert data_of(text)["rows"][0]["instance"] == "one"


def test_data_cannot_end_its_script_element() -> None:
    """No character of the data can be read as markup."""
    embedded = render(make_data(make_row("</script><!--&amp;"))).partition('id="ductaflow-data">')[2]
    embedded = embedded.partition("</script>")[0]
    assert not set(embedded) & set("<>&")
    assert json.loads(embedded)["rows"][0][0] == "</script><!--&amp;"


def test_numbers_that_javascript_lacks_are_shown_as_python_has_them(page: Page) -> None:
    """NaN and integers beyond 2**53 appear exactly."""
    page.open(make_row("one", config={"rate": math.nan, "most": -math.inf, "seed": 2**63 + 1}))
    cells = [cell.text for cell in page.unfold("one").find_elements(By.CSS_SELECTOR, "td")]
    assert cells == ["nan", "-inf", "9223372036854775809"]


def test_hostile_texts_are_shown_and_not_run(page: Page) -> None:
    """Markup in any field of the data is text."""
    row = make_row(
        HOSTILE,
        "error",
        step="<b>fit",
        message=HOSTILE,
        warnings=[HOSTILE],
        python_warnings=[HOSTILE],
        traceback=HOSTILE,
        config={"<img src=x onerror=alert(1)>": HOSTILE},
        directory=f"<b>fit/{HOSTILE}",
        links={"log": "javascript:alert(1)", "config": "//example.org/config"},
        flows=[make_flow(HOSTILE, "error", message=HOSTILE, links={"log": '"><b>'})],
    )
    page.open(row, make_row("/*ductaflow:js*/"), title=HOSTILE, command=HOSTILE)
    assert page.names() == [HOSTILE, "/*ductaflow:js*/"]
    assert page.one("h1").text == HOSTILE
    details = page.unfold(HOSTILE)
    assert details.text.count(HOSTILE) >= 5
    assert not page.all("main script, main img, main b, header script")
    targets = page.js("return [...document.querySelectorAll('.links-cell a')].map(a => a.protocol + a.host)")
    assert targets == ["file:", "file:"]


# ---- Header


def test_header_tells_what_runs_and_how_far_it_is(page: Page) -> None:
    """Title, state, command, progress and counts are those of the data."""
    page.open(*of_every_status())
    assert page.one("h1").text == "co2"
    assert page.one("#state").text == "running"
    assert page.one("#command").text == "pytest --ductaflow conductor.py"
    assert page.one("#done").text == "4 of 6 done, 1 failed"
    assert page.one("#progress").get_attribute("aria-valuenow") == "4"
    shown = [chip for chip in page.all(".chip") if chip.is_displayed()]
    chips = {chip.get_property("dataset")["filter"]: " ".join(chip.text.split()) for chip in shown}
    assert chips == {
        "all": "6 all",
        "success": "1 success",
        "warning": "1 warning",
        "error": "1 error",
        "blocked": "1 blocked",
        "running": "1 running",
        "waiting": "1 waiting",
    }


@pytest.mark.parametrize(
    ("statuses", "end", "title", "state"),
    [
        (["success", "waiting"], {}, "● 1/2 co2", "running"),
        (["error", "waiting"], {}, "● 1/2 (1 failed) co2", "running"),
        (["success", "warning"], {"outcome": "finished"}, "✓ 2/2 co2", "finished"),
        (["success", "error"], {"outcome": "finished"}, "✗ 2/2 (1 failed) co2", "finished"),
        (["success", "waiting"], {"outcome": "interrupted"}, "■ 1/2 co2", "interrupted"),
    ],
)
def test_tab_title_begins_with_the_state(
    page: Page, statuses: list[str], end: dict[str, str], title: str, state: str
) -> None:
    """The tab shows whether the session runs, has succeeded, has failed or was interrupted."""
    rows = [make_row(f"i{n}", status) for n, status in enumerate(statuses)]
    page.open(*rows, **end, finished=ago(0) if end else None)
    assert page.browser.title == title
    assert page.one("#state").text == state


def test_time_left_follows_from_throughput(page: Page) -> None:
    """The time left is estimated from instances that really ran; unchanged and earlier rows cost nothing."""
    page.open(
        make_row("one"),
        make_row("two"),
        make_row("three", unchanged=True),
        make_row("four", earlier=True),
        make_row("five", "waiting"),
        make_row("six", "waiting", earlier=True),
        started="2030-01-01T00:00:00+00:00",
        updated="2030-01-01T00:01:00+00:00",
    )
    assert "about 30 s left" in page.one("#outlook").text
    assert page.one("#done").text == "3 of 4 done"


def test_no_time_left_is_shown_while_it_is_unknown(page: Page) -> None:
    """Before anything has ended there is no estimate."""
    page.open(make_row("one", "running"), make_row("two", "waiting"))
    assert "left" not in page.one("#outlook").text


def test_durations_and_memory_are_readable(page: Page) -> None:
    """Numbers carry the unit that suits their size."""
    page.open()
    shown = page.js("return [0.83, 9.996, 12.4, 59.97, 200, 3599.7, 7500, 360000].map(duration)")
    assert shown == [
        "0.83 s",
        "10.0 s",
        "12.4 s",
        "1 min 00 s",
        "3 min 20 s",
        "1 h 00 min",
        "2 h 05 min",
        "100 h 00 min",
    ]
    shown = page.js("return [3.2e6, 231e6, 999.7e6, 1.24e9].map(memory)")
    assert shown == ["3.2 MB", "231 MB", "1.0 GB", "1.2 GB"]


def test_running_durations_tick(page: Page) -> None:
    """The duration of a running row grows without new data and without disturbing a selection."""
    page.open(make_row("one", "running", started=ago(100)))
    page.js("getSelection().selectAllChildren(document.getElementById('started'))")
    cell = page.row("one").find_element(By.CSS_SELECTOR, ".time-cell")
    before = cell.text
    assert before.startswith("1 min 4")
    page.until(lambda: cell.text > before)
    assert page.js("return String(getSelection())") == page.one("#started").text


def test_a_finished_session_does_not_tick(page: Page) -> None:
    """A row that an interrupted session left as running has no duration, and elapsed time stops."""
    page.open(
        make_row("one", "running", started="2030-01-01T00:00:00Z"),
        started="2030-01-01T00:00:00Z",
        finished="2030-01-01T01:05:00Z",
        outcome="interrupted",
    )
    assert page.one("#elapsed").text == "1 h 05 min"
    assert page.row("one").find_element(By.CSS_SELECTOR, ".time-cell").text == ""


def test_running_rows_stop_when_the_session_ends(page: Page) -> None:
    """Once the session is over, nothing looks as though it were running."""
    row = make_row("one", "running", started=ago(100))
    page.open(row)
    page.follow(row, finished=ago(0), outcome="interrupted")
    assert page.row("one").find_element(By.CSS_SELECTOR, ".time-cell").text == ""
    turning = "return getComputedStyle(document.querySelector('.light-cell .light')).animationName"
    assert page.js(turning) == "none"


# ---- Search


def test_status_chips_filter_and_all_resets(page: Page) -> None:
    """Several statuses may be on at once; `all` shows everything again."""
    page.open(*of_every_status())
    page.chip("error").click()
    page.chip("warning").click()
    assert page.names() == ["three", "five"]
    assert page.chip("error").get_attribute("aria-pressed") == "true"
    assert page.one("#shown").text == "2 of 6"
    page.chip("error").click()
    assert page.names() == ["five"]
    page.chip("all").click()
    assert len(page.names()) == 6


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("THREE", ["three"]),
        ("report", ["five", "six"]),
        ("no data", ["three"]),
        ("data no fit", ["three"]),
        ("conductor.py", ["one", "two", "three", "four", "five", "six", "seven"]),
        ("quadratic", ["seven"]),
        ("model.kind=quadratic", ["seven"]),
        ("kind=quadratic seven", ["seven"]),
        ("model.kind", []),
        ("degree=2", ["seven"]),
        ("degree=3", []),
    ],
)
def test_search_finds_rows_with_all_words(page: Page, text: str, found: list[str]) -> None:
    """Words are searched in instance, step, source, message and config values; key=value in the config."""
    config = {"degree": 2, "model": {"kind": "Quadratic"}}
    page.open(*of_every_status(), make_row("seven", config=config))
    assert page.search(text) == found


def test_step_filter_shows_one_step(page: Page) -> None:
    """The list of steps narrows the table."""
    page.open(*of_every_status())
    steps = Select(page.one("#step"))
    assert [option.text for option in steps.options] == ["all steps", "fit", "report"]
    steps.select_by_visible_text("report")
    assert page.names() == ["five", "six"]


def test_steps_of_several_sources_are_told_apart(page: Page) -> None:
    """Steps of the same name in two conductors are two entries of the list, grouped by source."""
    page.open(make_row("one", source="a.py"), make_row("two", source="b.py"))
    assert [group.get_attribute("label") for group in page.all("#step optgroup")] == ["a.py", "b.py"]
    page.one("#step optgroup[label='b.py'] option").click()
    assert page.names() == ["two"]
    assert "b.py" in page.row("two").text


def test_columns_sort(page: Page) -> None:
    """A column head sorts, then reverses, then restores the order of declaration."""
    page.open(*of_every_status())
    declared = page.names()
    assert page.sort("status") == ["three", "six", "five", "four", "two", "one"]
    assert page.one("[aria-sort=ascending]").text.startswith("status")
    assert page.sort("status") == ["one", "two", "four", "five", "six", "three"]
    assert page.sort("status") == declared
    assert page.sort("duration") == ["five", "four", "one", "three", "two", "six"]
    assert page.sort("duration") == ["three", "one", "four", "five", "two", "six"]
    assert page.sort("name") == ["five", "four", "one", "six", "three", "two"]


def test_names_sort_by_their_numbers(page: Page) -> None:
    """degree=10 comes after degree=9."""
    page.open(make_row("degree=10"), make_row("degree=9"))
    assert page.sort("name") == ["degree=9", "degree=10"]


def test_no_match_offers_to_clear_the_filters(page: Page) -> None:
    """If filters hide everything the page says so, and one click clears them all."""
    page.open(*of_every_status())
    page.chip("error").click()
    assert page.search("nowhere") == []
    assert page.one("#no-match").text.startswith("No instance matches")
    page.one("#clear").click()
    assert len(page.names()) == 6
    assert not page.one("#no-match").is_displayed()
    assert page.one("#search").get_property("value") == ""


def test_without_rows_the_page_says_so(page: Page) -> None:
    """A session which has collected nothing is not an empty table."""
    page.open()
    assert page.one("#nothing").text == "Nothing was collected yet"
    assert not page.one("#no-match").is_displayed()


# ---- Rows


def test_lights_have_a_name_for_each_status(page: Page) -> None:
    """A light does not rely on its colour alone."""
    page.open(*of_every_status())
    names = [light.get_attribute("aria-label") for light in page.all(".light-cell .light")]
    assert names == ["success", "waiting", "error", "running", "warning", "blocked"]
    shapes = page.js("""
        return [...document.querySelectorAll('.light-cell .light')].map((light) => {
          const style = getComputedStyle(light);
          const sign = getComputedStyle(light, '::before').content;
          return [sign, style.borderRadius, style.borderStyle, style.borderWidth, style.clipPath].join();
        });
    """)
    assert len(set(shapes)) == 6


def test_rows_of_earlier_sessions_are_quiet_and_do_not_count(page: Page) -> None:
    """What is not part of this session is dimmed; what never ran is marked so."""
    page.open(
        make_row("new"),
        make_row("old", "error", earlier=True),
        make_row("never", "waiting", earlier=True),
        make_row("same", unchanged=True),
    )
    assert page.one("#done").text == "2 of 2 done"
    assert "earlier" in page.row("old").get_attribute("class")
    assert page.light("old") == "error, from an earlier session"
    assert page.light("never") == "not run"
    assert [badge.text for badge in page.all(".badge")] == ["unchanged"]
    page.chip("not-run").click()
    assert page.names() == ["never"]
    page.chip("all").click()
    page.chip("session").click()
    assert page.names() == ["new", "same"]


def test_links_lead_to_files_with_any_name(page: Page) -> None:
    """Spaces, #, %, ?, markup and other scripts in a path do not break its link."""
    folder = page.file.parent / "fit #1?" / "50% ü <b> & 'q' ∂"
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("this is it", encoding="utf-8")
    path = folder.relative_to(page.file.parent).as_posix()
    page.open(make_row("one", links={"notebook": None, "log": f"{path}/log.txt"}, directory=path))
    (link,) = page.all(".links-cell a")
    assert link.text == "log"
    directory = page.unfold("one").find_element(By.LINK_TEXT, path).get_attribute("href")
    page.browser.get(link.get_attribute("href"))
    assert page.one("body").text == "this is it"
    page.browser.get(directory)
    assert "log.txt" in page.one("body").text


def test_a_name_that_is_not_unicode_does_not_break_the_page(page: Page) -> None:
    """A file name with undecodable bytes still gets its row."""
    page.open(make_row("caf\udce9", links={"log": "fit/caf\udce9/log.txt"}))
    assert len(page.all(".entry .name")) == 1


def test_a_row_unfolds_by_click_and_by_key(page: Page) -> None:
    """Details exist only while a row is unfolded, with a click anywhere on it or Enter on its button."""
    page.open(make_row("one"), make_row("two"))
    button = page.row("one").find_element(By.CSS_SELECTOR, ".fold")
    assert not page.all(".details")
    page.unfold("one")
    assert button.get_attribute("aria-expanded") == "true"
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "false"
    assert not page.all(".details")
    page.row("two").find_element(By.CSS_SELECTOR, ".fold").send_keys(Keys.ENTER)
    assert page.row("two").find_elements(By.CSS_SELECTOR, ".details")


def test_details_tell_everything_about_a_row(page: Page) -> None:
    """Config with dotted keys, warnings, traceback, directory, memory and command are shown."""
    page.open(
        make_row(
            "one",
            "error",
            config={"model": {"kind": "ols", "empty": {}}, "years": [1, 2], "note": None},
            warnings=["⚠️ first", "warning: second"],
            python_warnings=["UserWarning: third"],
            traceback="Traceback:\n    raise ValueError",
            peak_memory=231e6,
            started=ago(5),
        )
    )
    details = page.unfold("one")
    settings = [row.text for row in details.find_elements(By.CSS_SELECTOR, "tr")]
    assert settings == ["model.kind ols", "model.empty {}", "years [1,2]", "note null"]
    blocks = [pre.text for pre in details.find_elements(By.CSS_SELECTOR, "pre")]
    assert blocks == ["Traceback:\n    raise ValueError", "⚠️ first\nwarning: second", "UserWarning: third"]
    assert "231 MB" in details.text
    assert details.find_element(By.LINK_TEXT, "fit/one")
    command = details.find_element(By.CSS_SELECTOR, ".repeat code")
    assert command.text == "pytest --ductaflow 'conductor.py::fit::one'"


def test_sparse_rows_are_shown(page: Page) -> None:
    """A row that has not begun may lack all that only a run brings."""
    keys = ["id", "source", "step", "instance", "kind", "status", "earlier", "unchanged", "config", "command"]
    page.open({key: make_row("one", "waiting")[key] for key in keys})
    assert page.light("one") == "waiting"
    assert "Config" in page.unfold("one").text


def test_flows_of_a_build_have_lights_in_the_row_and_a_tree_in_the_details(page: Page) -> None:
    """A build shows the state of its flows, however deeply they are nested."""
    links = {"log": "a b/log.txt"}
    inner = make_flow("inner", "warning", instance="deep", message="warning: thin", links=links)
    flows = [make_flow("prepare", duration=1.5), make_flow("fit", "running", flows=[inner])]
    page.open(make_row("all", "running", kind="build", flows=flows))
    lights = page.row("all").find_elements(By.CSS_SELECTOR, ".lights .light")
    assert [light.get_attribute("class").split()[-1] for light in lights] == ["success", "running"]
    assert [light.get_attribute("title").strip() for light in lights] == ["success: prepare", "running: fit"]
    nested = page.unfold("all").find_element(By.CSS_SELECTOR, ".flows .flows")
    assert nested.text.split() == ["inner", "deep", "log", "warning:", "thin"]
    assert nested.find_element(By.LINK_TEXT, "log").get_attribute("href").endswith("/a%20b/log.txt")
    assert "1.50 s" in page.one(".flows").text


def test_failures_unfold_together(page: Page) -> None:
    """One button unfolds every visible failure, another folds everything."""
    failures = [make_row("two", "error"), make_row("three", "error"), make_row("four", "error", step="other")]
    page.open(make_row("one"), *failures)
    Select(page.one("#step")).select_by_visible_text("fit")
    page.one("#expand").click()
    Select(page.one("#step")).select_by_visible_text("all steps")
    assert [name.text for name in page.all(".open .name")] == ["two", "three"]
    page.one("#collapse").click()
    assert not page.all(".details")
    assert not page.one("#collapse").is_displayed()


def test_the_command_is_copied(page: Page) -> None:
    """The copy button puts the command that repeats the instance on the clipboard."""
    page.open(make_row("one"))
    permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    page.browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": permissions})
    button = page.unfold("one").find_element(By.CSS_SELECTOR, ".copy")
    button.click()
    page.until(lambda: button.text == "copied")
    read = "navigator.clipboard.readText().then(arguments[0], error => arguments[0](String(error)))"
    assert page.browser.execute_async_script(read) == "pytest --ductaflow 'conductor.py::fit::one'"


def test_the_command_is_copied_without_a_clipboard_interface(page: Page) -> None:
    """Copying also works where the browser gives pages no clipboard, as on plain http."""
    page.open(make_row("one"))
    page.js("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.js("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
    page.unfold("one").find_element(By.CSS_SELECTOR, ".copy").click()
    page.until(lambda: page.js("return window.copied"))
    assert page.js("return window.copied") == "pytest --ductaflow 'conductor.py::fit::one'"


@pytest.mark.parametrize("width", [360, 700, 1400, 2560])
def test_the_page_never_scrolls_sideways(page: Page, width: int) -> None:
    """Long texts wrap or end in an ellipsis at any width, and lights are never cut off."""
    long = "long_word_" * 60
    row = make_row(
        long, "error", message=long, traceback=long, config={long: long}, command=long,
        flows=[make_flow(long, links={"log": long, "notebook": long}, message=long, flows=[make_flow(long)])],
    )  # fmt: skip
    page.open(row, *of_every_status(), command=long, title=long)
    page.emulate(width)
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    cut = """
        const end = (box) => box.offsetLeft + box.offsetWidth;
        const lights = [...document.querySelectorAll('.light-cell .light')];
        return lights.filter((light) => end(light) > end(light.parentElement));
    """
    assert not page.js(cut)
    page.unfold(long)
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")


def test_two_thousand_rows_are_filtered_without_making_details(page: Page) -> None:
    """A large sweep is one page, and details are created only on demand."""
    rows = [make_row(f"n={n}", "error" if n % 100 == 0 else "success", config={"n": n}) for n in range(2000)]
    page.open(*rows)
    assert page.one("#shown").text == "2000 of 2000"
    assert len(page.search("n=199")) == 11
    assert not page.all(".details")
    page.search("")
    page.chip("error").click()
    assert page.one("#shown").text == "20 of 2000"


# ---- Following the session


def test_an_open_page_follows_its_file(page: Page) -> None:
    """New data appears without a reload and without disturbing what the reader is doing."""
    two = make_row("two", "error", traceback="Traceback")
    three = make_row("three", "waiting")
    page.open(make_row("one", "running"), two, three)
    page.js("window.stayed = true")
    page.search("conductor")
    page.unfold("two")
    # The row that will change has the focus, one that will not has the selection.
    page.js("arguments[0].focus()", page.row("one").find_element(By.CSS_SELECTOR, ".fold"))
    name = page.row("three").find_element(By.CSS_SELECTOR, ".name")
    page.js("getSelection().selectAllChildren(arguments[0])", name)

    one = make_row("one", "warning", message="warning: thin", duration=3.0)
    page.write(make_data(one, two, three, make_row("four")))
    page.until(lambda: page.light("one") == "warning")

    assert page.js("return window.stayed")
    assert page.names() == ["one", "two", "three", "four"]
    assert "warning: thin" in page.row("one").text
    assert page.row("two").find_element(By.CSS_SELECTOR, ".details").is_displayed()
    assert page.one("#search").get_property("value") == "conductor"
    assert page.js("return String(getSelection())") == "three"
    assert page.js("return document.activeElement.getAttribute('aria-label')") == "Details of fit one"
    assert page.browser.title == "● 3/4 (1 failed) co2"


def test_only_changed_rows_are_drawn_again(page: Page) -> None:
    """Rows that did not change keep their elements, even when others move past them."""
    page.open(*of_every_status())
    page.sort("status")
    page.js("for (const row of document.querySelectorAll('.entry > .row')) row.kept = true")
    page.js("getSelection().selectAllChildren(document.querySelectorAll('.entry .name')[3])")
    rows = of_every_status()
    rows[3] = make_row("four", "running", started=page.js("return data.rows[3].started"))
    rows[2] = make_row("three", "success", duration=2.0)
    page.follow(*rows)
    assert page.names() == ["six", "five", "four", "two", "one", "three"]
    kept = page.js("return [...document.querySelectorAll('.entry > .row')].map(row => row.kept ?? false)")
    assert kept == [True, True, True, True, True, False]
    assert page.js("return String(getSelection())") == "four"


def test_filters_sorting_and_scrolling_survive_new_data(page: Page) -> None:
    """The reader's settings stay, and the page does not jump."""
    rows = [make_row(f"n={n}", "success", step=f"step{n % 2}") for n in range(400)]
    page.open(*rows)
    Select(page.one("#step")).select_by_visible_text("step1")
    page.chip("success").click()
    page.sort("name")
    page.sort("name")
    page.js("scrollTo(0, 1500)")
    page.until(lambda: page.js("return scrollY") == 1500)
    rows[1] = make_row("n=1", "error", step="step1")
    page.follow(*rows)
    names = page.js("return list.rows.map((row) => row.instance)")
    assert (len(names), names[0], names[-1]) == (199, "n=399", "n=3")
    shown = page.names()
    assert len(shown) < 100
    assert shown == names[names.index(shown[0]) :][: len(shown)]
    assert page.js("return scrollY") == 1500


def test_a_row_that_is_gone_leaves(page: Page) -> None:
    """The table is always the rows of the data, in their order."""
    page.open(make_row("one"), make_row("two"), make_row("three"))
    page.follow(make_row("three"), make_row("zero"), make_row("one"))
    assert page.names() == ["three", "zero", "one"]


def test_a_broken_or_missing_file_is_tolerated(page: Page) -> None:
    """The page keeps its content until there is a complete file again."""
    page.open(make_row("one", "running"))
    whole = page.file.read_text("utf-8")
    page.js("window.ended = 0; const end = endPoll; endPoll = (...a) => { ended += 1; end(...a); }")
    for broken in (whole.replace('"rows":[', '"rows":[,'), whole[: len(whole) // 2], None):
        if broken is None:
            page.file.unlink()
        else:
            page.file.write_text(broken, encoding="utf-8")
        enough = page.js("return ended") + 2  # the first may have begun before
        page.until(lambda enough=enough: page.poll() or page.js("return ended") >= enough)
    complaints = [entry["message"] for entry in page.browser.get_log("browser")]
    assert all("ERR_FILE_NOT_FOUND" in message for message in complaints)  # the browser's own
    assert page.light("one") == "running"
    page.follow(make_row("one", "success"))
    assert page.light("one") == "success"


def test_frames_are_used_one_at_a_time_and_removed(page: Page) -> None:
    """However often the page looks for new data, it loads itself once at a time and leaves nothing behind."""
    page.open(make_row("one", "running"))
    page.js("""
        window.most = window.made = 0;
        new MutationObserver((changes) => {
          most = Math.max(most, document.querySelectorAll('iframe').length);
          const added = changes.flatMap((change) => [...change.addedNodes]);
          made += added.filter((node) => node.tagName === 'IFRAME').length;
        }).observe(document.body, {childList: true});
    """)
    page.until(lambda: [page.poll(), page.poll(), page.js("return made")][-1] >= 5)
    page.until(lambda: not page.all("iframe"))
    assert page.js("return most") == 1


def test_a_page_out_of_sight_does_not_load(page: Page) -> None:
    """While its tab is hidden the page does nothing, and it checks at once when it is visible again."""
    page.open(make_row("one", "running"))
    page.until(lambda: not page.all("iframe"))
    page.js("Object.defineProperty(document, 'hidden', {get: () => window.isHidden}); window.isHidden = true")
    page.poll()
    assert not page.all("iframe")
    page.write(make_data(make_row("one", "success")))
    page.js("window.isHidden = false")
    page.poll()
    page.until(lambda: page.light("one") == "success")


def test_big_and_finished_reports_are_loaded_less_often(page: Page) -> None:
    """Every 2 s while running, 15 s when finished, never more than a twentieth of the time."""
    page.open()
    pauses = page.js("return [pollPause(null, 50), pollPause(null, 400), pollPause('2030', 50)]")
    assert pauses == [2000, 8000, 15000]


def test_messages_of_strangers_are_ignored(page: Page) -> None:
    """Only the frame that the page made itself can bring data."""
    page.open(make_row("one", "running"))
    forged = json.dumps(make_data(make_row("forged")))
    page.js("""
        window.heard = 0;
        window.addEventListener('message', () => { heard += 1; });
        window.postMessage(arguments[0], '*');
    """, forged)  # fmt: skip
    page.until(lambda: page.js("return heard") >= 1)
    assert page.names() == ["one"]


def test_a_polled_page_answers_and_shows_nothing(page: Page) -> None:
    """In a frame with the agreed hash the page only returns its data."""
    page.write(make_data(make_row("one")))
    outer = page.file.with_name("outer.html")
    outer.write_text(
        "<script>addEventListener('message', e => { window.got = e.data; })</script>"
        f"<iframe src='{page.file.name}#ductaflow-poll'></iframe>",
        encoding="utf-8",
    )
    page.browser.get(outer.as_uri())
    page.until(lambda: page.js("return window.got"))
    assert json.loads(page.js("return window.got"))["rows"][0][0] == "one"
    page.browser.switch_to.frame(0)
    assert not page.all(".entry, iframe")
    page.browser.switch_to.default_content()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[int]:
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_page_from_a_web_server_follows_its_file(page: Page) -> None:
    """Following the file works over http in the same way."""
    page.write(make_data(make_row("one", "running")))
    with served(page.file.parent) as port:
        page.browser.get(f"http://127.0.0.1:{port}/{page.file.name}#view=instances")
        page.follow(make_row("one", "success"))
        assert page.light("one") == "success"
        page.browser.get("about:blank")


def test_another_web_site_cannot_read_the_report(page: Page) -> None:
    """A page of another origin that frames a served report gets no data from it."""
    page.write(make_data(make_row("secret")))
    with served(page.file.parent) as port:
        page.file.with_name("outer.html").write_text(
            "<script>window.got = []; addEventListener('message', e => { got.push(e.data); })</script>"
            f"<iframe src='http://127.0.0.1:{port}/{page.file.name}#ductaflow-poll'></iframe>"
        )
        page.browser.get(f"http://localhost:{port}/outer.html")
        page.browser.switch_to.frame(0)
        assert page.js("return isPolled()")  # its reply has been sent, so the next message comes after it
        page.js("window.parent.postMessage('later', '*')")
        page.browser.switch_to.default_content()
        page.until(lambda: page.js("return got.length"))
        assert page.js("return got") == ["later"]
        page.browser.get("about:blank")
    page.browser.get_log("browser")  # the browser itself complains about the refused message


def test_state_survives_a_reload(page: Page) -> None:
    """Search, filters, sorting and unfolded rows are there again after a manual reload."""
    page.open(*of_every_status())
    Select(page.one("#step")).select_by_visible_text("fit")
    page.chip("success").click()
    page.chip("error").click()
    page.sort("status")
    page.unfold("three")
    page.search("o")
    page.browser.refresh()
    assert page.names() == ["three", "one"]
    assert page.one("#search").get_property("value") == "o"
    assert page.row("three").find_element(By.CSS_SELECTOR, ".details").is_displayed()
    assert page.chip("error").get_attribute("aria-pressed") == "true"


def test_the_page_works_without_storage(page: Page) -> None:
    """A browser that forbids storage only forgets."""
    forbid = "Object.defineProperty(window, 'sessionStorage', {get() { throw new Error('forbidden'); }})"
    script = page.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": forbid})
    try:
        page.open(*of_every_status())
        assert page.search("three") == ["three"]
    finally:
        page.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
