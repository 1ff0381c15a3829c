"""The views of the report, in a real browser, compared with the rows that they are made of."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import Any

import pytest

pytest.importorskip("selenium")

from helpers.browser import HOSTILE, Page, ago, make_row, of_every_status
from helpers.planted import planted_rows
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

ENDED = {"finished": ago(0), "outcome": "finished", "exit_code": 1}
EVERY_VIEW = ("groups", "instances", "pivot", "results", "gallery", "graph", "timeline")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return planted_rows(300)


def texts(page: Page, css: str) -> list[str]:
    return page.js("return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())", css)


def shown_names(page: Page) -> list[str]:
    return page.js("return list.rows.map((row) => row.instance)")


def names_of(rows: list[dict[str, Any]], **wanted: Any) -> list[str]:
    return [
        row["instance"]
        for row in rows
        if all((row["config"] | row).get(key) == value for key, value in wanted.items())
    ]


def pick(page: Page, label: str, value: str) -> None:
    page.until(lambda: not page.js("return isDrawing"))
    labels = page.js("return [...document.querySelectorAll('.choice')].map(e => e.firstChild.textContent)")
    boxes = page.all(".choice")
    box = next(box for box, text in zip(boxes, labels, strict=True) if text == label and box.is_displayed())
    Select(box.find_element(By.TAG_NAME, "select")).select_by_value(value)


# ---- Overview


def test_the_page_opens_on_groups(page: Page, rows: list[dict[str, Any]]) -> None:
    page.write_rows(rows, **ENDED)
    page.go()
    assert page.one("[data-view='groups']").get_attribute("aria-current") == "page"
    assert page.one("#view-groups").is_displayed()
    assert not page.all(".entry")


def test_the_planted_cause_is_named_first(page: Page, rows: list[dict[str, Any]]) -> None:
    """Failures are few causes, each with its number, first traceback, and what its instances share."""
    page.open(*rows, view="groups", **ENDED)
    failures = Counter(row["cause"]["type"] for row in rows if row["status"] == "error")
    assert page.one(".card h2").text == f"{failures.total()} failures = 2 causes"
    first = page.one(".cause")
    assert first.find_element(By.CSS_SELECTOR, ".cause-count").text == str(failures["ValueError"])
    assert first.find_element(By.CSS_SELECTOR, ".cause-title").text == "ValueError: zone … has no trips in …"
    others = len(rows) - failures["ValueError"]
    common = first.find_element(By.CSS_SELECTOR, ".common").text
    assert " ".join(common.split()) in (
        f"All have mode = rail and year ≥ 2040; none of the {others} others has.",
        f"All have year ≥ 2040 and mode = rail; none of the {others} others has.",
    )
    first.find_element(By.TAG_NAME, "summary").click()
    a_failure = next(row for row in rows if row["status"] == "error")
    assert first.find_element(By.TAG_NAME, "pre").text == a_failure["traceback"].strip()


def test_a_cause_leads_to_its_instances(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="groups", **ENDED)
    page.one(".cause > .to").click()
    wanted = [row["instance"] for row in rows if (row.get("cause") or {}).get("type") == "ValueError"]
    assert shown_names(page) == wanted
    assert page.one("#shown").text == f"{len(wanted)} of 300"
    page.one(".condition").click()
    assert len(shown_names(page)) == 300


def test_a_shared_value_leads_to_all_instances_with_it(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="groups", **ENDED)
    next(each for each in page.all(".term") if each.text == "mode = rail").click()
    assert shown_names(page) == names_of(rows, mode="rail")


def test_steps_have_their_numbers_by_status(page: Page) -> None:
    page.open(*of_every_status(), view="groups")
    assert texts(page, ".steps th") == ["fit", "report"]
    assert texts(page, ".steps td.number") == ["4", "2"]
    labels = [each.get_attribute("aria-label") for each in page.all(".counts .to")]
    assert labels[:2] == ["1 instance of fit: success", "1 instance of fit: error"]
    page.all(".counts .to")[1].click()
    assert page.names() == ["three"]


def test_a_filter_holds_for_the_overview(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="groups", **ENDED)
    page.search("mode=rail")
    assert texts(page, ".steps td.number") == [str(len(names_of(rows, mode="rail")))]
    page.search("mode=bus toll=0")
    assert "zone" not in " ".join(texts(page, ".cause-title"))


def test_what_has_changed_is_told(page: Page) -> None:
    """Lights, durations and results are compared with the session before."""
    before = {"status": "success", "duration": 1.0, "results": {"r": {"x": 2.0}}}
    page.open(
        make_row("same", duration=1.0, results={"r": {"x": 2.0}}, before=before),
        make_row("red", "error", duration=1.0, before=before),
        make_row("slow", duration=9.0, results={"r": {"x": 2.2}}, before=before),
        view="groups",
        previous=ago(90000),
        **ENDED,
    )
    assert texts(page, ".changes .to") == ["1 newly red", "x", "1 slower"]
    assert "in 1 instance, by 10 % at most: fit/slow 2 → 2.2" in " ".join(
        texts(page, ".changes li")[1].split()
    )
    page.all(".changes .to")[1].click()
    assert page.names() == ["slow"]
    assert "before: 2" in page.unfold("slow").text


def test_a_session_without_changes_says_so(page: Page) -> None:
    before = {"status": "success", "duration": 1.0, "results": {}}
    page.open(make_row("same", duration=1.0, before=before), view="groups", **ENDED)
    assert "Nothing: 1 instance ended as before, with the same results." in page.one("#view-groups").text


def test_the_slowest_come_first_and_open(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="groups", **ENDED)
    slowest = max(rows, key=lambda row: row["duration"])
    first = page.one(".slow .to")
    assert first.get_attribute("title") == slowest["instance"]
    first.click()
    assert page.row(slowest["instance"]).find_element(By.CSS_SELECTOR, ".details").is_displayed()


def test_the_planted_input_matters_most(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="groups", **ENDED)
    found = page.js("""
        return Object.fromEntries([...document.querySelectorAll('.importance > div')].map((each) =>
          [each.querySelector('h3').firstChild.data, each.querySelector('th').innerText.trim()]));
    """)
    assert found["failing"] in ("mode", "year")
    assert {target: found[target] for target in ("r1", "r2", "r3")} == dict.fromkeys(
        ("r1", "r2", "r3"), "toll"
    )


# ---- Instances


@pytest.mark.parametrize("width", [1280, 400])
def test_what_tells_instances_apart_is_seen(page: Page, rows: list[dict[str, Any]], width: int) -> None:
    """No two rows look alike, though their names begin alike and do not fit."""
    page.emulate(width)
    page.open(*rows, **ENDED)
    seen = page.js("""
        const isSeen = (box) => box.width && box.height;
        return [...document.querySelectorAll('.entry')].map((entry) =>
          [...entry.querySelectorAll('.config-cell, .name, .front, .back')].filter((part) => {
            const style = getComputedStyle(part);
            return isSeen(part.getBoundingClientRect()) && !part.querySelector('.front')
              && (part.scrollWidth <= part.clientWidth + 1 || style.overflow === 'visible');
          }).map((part) => part.innerText.trim()).join(' '));
    """)
    assert len(seen) > 4
    assert len(set(seen)) == len(seen)
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")


def test_the_list_holds_only_what_is_in_sight(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, **ENDED)
    assert len(page.all(".entry")) < 80
    page.js("scrollTo(0, document.documentElement.scrollHeight)")
    last = rows[-1]["instance"]
    page.until(
        lambda: page.js("return [...list.drawn.values()].some(e => e.row.instance === arguments[0])", last)
    )
    assert len(page.all(".entry")) < 80


def test_an_unfolded_row_out_of_sight_is_still_unfolded(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, **ENDED)
    name = rows[0]["instance"]
    page.unfold(name)
    page.js("scrollTo(0, 6000)")
    page.until(
        lambda: page.js("return ![...list.drawn.values()].some(e => e.row.instance === arguments[0])", name)
    )
    page.js("scrollTo(0, 0)")
    page.until(
        lambda: page.js("return [...list.drawn.values()].some(e => e.row.instance === arguments[0])", name)
    )
    assert page.row(name).find_element(By.CSS_SELECTOR, ".details").is_displayed()


def test_paper_shows_what_the_views_say_and_no_controls(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="groups", **ENDED)
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page.one(".importance th .to").is_displayed()
        assert page.one(".counts .to").is_displayed()
        assert page.one(".term").is_displayed()
        assert not page.one(".cause > .to").is_displayed()
        assert not page.one("#views").is_displayed()
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_paper_shows_all_rows(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, **ENDED)
    page.js("window.dispatchEvent(new Event('beforeprint'))")
    assert len(page.all(".entry")) == 300
    page.js("window.dispatchEvent(new Event('afterprint'))")
    assert len(page.all(".entry")) < 80


def test_an_instance_leads_to_its_neighbours_and_files(page: Page) -> None:
    """Its details name what it needs, what needs it, what it read and wrote, its code and last output."""
    row = make_row(
        "a",
        "error",
        upstreams=["prepare/z"],
        inputs=["flows/fit.py", "/data/zones.csv"],
        outputs=["results.json", "… and 7 more"],
        code="> 12  raise ValueError",
        tail=["almost", "done"],
    )
    page.open(make_row("z", step="prepare"), row, make_row("c", upstreams=["fit/a"]), **ENDED)
    details = page.unfold("a")
    assert [each.text for each in details.find_elements(By.TAG_NAME, "summary")] == [
        "Needs 1 instance",
        "Is needed by 1 instance",
        "Wrote 8 files",
        "Read 2 files",
    ]
    assert [each.text for each in details.find_elements(By.TAG_NAME, "pre")] == [
        "> 12  raise ValueError",
        "almost\ndone",
    ]
    for summary in details.find_elements(By.TAG_NAME, "summary"):
        summary.click()
    hrefs = [each.get_attribute("href") for each in details.find_elements(By.CSS_SELECTOR, ".names a")]
    folder = page.file.parent.as_uri()
    assert hrefs == [f"{folder}/fit/a/results.json", f"{folder.rpartition('/')[0]}/flows/fit.py"]
    details.find_elements(By.CSS_SELECTOR, ".names .to")[1].click()
    assert page.row("c").find_element(By.CSS_SELECTOR, ".details").is_displayed()


def test_a_running_instance_shows_what_it_has_printed_last(page: Page) -> None:
    page.open(make_row("one", "running", started=ago(3), last_line="epoch 2 of 9"), view="groups")
    assert "epoch 2 of 9" in page.one("#view-groups").text
    page.one("[data-view='instances']").click()
    assert page.one(".entry .message").text == "epoch 2 of 9"


# ---- Pivot


def test_the_pivot_begins_with_what_explains_failing(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="pivot", **ENDED)
    assert set(texts(page, ".pivot .axis")) == {"mode", "year"}
    cells = page.js("return [...document.querySelectorAll('.pivot-cell')].map(e => e.ariaLabel)")
    assert len(cells) == 15
    for label in cells:
        place, _, told = label.partition(": ")
        wanted = dict(part.split(" ") for part in place.split(", "))
        found = Counter(
            row["status"] for row in rows if all(str(row["config"][key]) == v for key, v in wanted.items())
        )
        assert told.split(", ") == [
            f"{found[status]} {status}" for status in ("error", "warning", "success") if found[status]
        ]


def test_a_cell_of_the_pivot_filters(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="pivot", **ENDED)
    cell = next(each for each in page.all(".pivot-cell") if "rail" in each.get_attribute("aria-label"))
    place = dict(part.split(" ") for part in cell.get_attribute("aria-label").split(":")[0].split(", "))
    cell.click()
    assert shown_names(page) == names_of(rows, mode="rail", year=int(place["year"]))


def test_the_pivot_shows_a_result(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="pivot", **ENDED)
    pick(page, "columns", "toll")
    pick(page, "rows", "mode")
    pick(page, "colour", "r5")
    labels = {each.get_attribute("aria-label"): each.text for each in page.all(".pivot-cell")}
    values = [
        row["results"]["results"]["r5"]
        for row in rows
        if row["results"] and row["config"]["toll"] == 5 and row["config"]["mode"] == "car"
    ]
    (shown,) = (text for label, text in labels.items() if label.startswith("toll 5, mode car:"))
    assert float(shown) == pytest.approx(sum(values) / len(values), rel=1e-3)
    pick(page, "measure", "max")
    (shown,) = (
        e.text
        for e in page.all(".pivot-cell")
        if e.get_attribute("aria-label").startswith("toll 5, mode car:")
    )
    assert float(shown) == pytest.approx(max(values), rel=1e-3)
    assert page.one(".scale").is_displayed()
    pick(page, "one table for each", "fleet")
    assert texts(page, ".pivot figcaption") == ["fleet = large", "fleet = small"]


def test_many_numbers_are_put_into_classes(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="pivot", **ENDED)
    pick(page, "columns", "model.alpha")
    assert len(page.all(".pivot thead th[scope='col']")) == 8
    total = page.js(
        "return [...document.querySelectorAll('.pivot-count')].reduce((n, e) => n + Number(e.innerText), 0)"
    )
    assert total == 300


# ---- Results


def test_results_have_a_table_that_sorts_and_filters(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="results", **ENDED)
    assert page.one("#result-count").text == "300 rows"
    page.one("[data-order='r5']").click()
    values = [row["results"]["results"]["r5"] for row in rows if row["results"]]
    shown = page.js("return resultRows().map((row) => columns.get('r5').get(row) ?? null)")
    assert shown == [*sorted(values), *[None] * (300 - len(values))]
    page.one("[data-order='r5']").click()
    assert page.js("return columns.get('r5').get(resultRows()[0])") == max(values)
    page.one("[data-where='r5']").send_keys("> 20")
    assert page.one("#result-count").text == f"{sum(value > 20 for value in values)} rows"
    assert page.one("#shown").text == f"{sum(value > 20 for value in values)} of 300"


@pytest.mark.parametrize(
    ("column", "condition", "holds"),
    [
        ("year", ">= 2040", lambda c: c["year"] >= 2040),
        ("year", "2030..2040", lambda c: 2030 <= c["year"] <= 2040),
        ("mode", "= car", lambda c: c["mode"] == "car"),
        ("mode", "!= car", lambda c: c["mode"] != "car"),
        ("mode", "A", lambda c: c["mode"] in ("car", "rail")),
        ("toll", "=5", lambda c: c["toll"] == 5),
        ("toll", "unset", lambda _: False),
    ],
)
def test_conditions_on_columns(
    page: Page, rows: list[dict[str, Any]], column: str, condition: str, holds: Any
) -> None:
    page.open(*rows, view="results", **ENDED)
    page.one(f"[data-where='{column}']").send_keys(condition)
    assert shown_count(page) == sum(holds(row["config"]) for row in rows)


def shown_count(page: Page) -> int:
    return page.js("return shownRows.length")


def test_what_is_shown_is_downloaded(page: Page, rows: list[dict[str, Any]]) -> None:
    """The CSV has the columns and rows of the table, numbers in full, and no formulas."""
    formula = make_row("=1+1", config={"year": 2025, "mode": '"x",y'}, results={"results": {"r0": 0.1 + 0.2}})
    page.open(*rows[:20], formula, view="results", **ENDED)
    text = page.js("return csvOf(resultRows(), visibleColumns())")
    table = list(csv.DictReader(io.StringIO(text)))
    assert len(table) == 21
    assert table[20]["instance"] == "'=1+1"
    assert table[20]["mode"] == '"x",y'
    assert float(table[20]["r0"]) == 0.1 + 0.2
    done = [row for row in rows[:20] if row["results"]]
    found = {row["instance"]: row for row in table}
    assert all(float(found[row["instance"]]["r3"]) == row["results"]["results"]["r3"] for row in done)


def test_columns_are_chosen(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="results", **ENDED)
    page.one(".chooser summary").click()
    page.one("#result-choices input[value='r0']").click()
    assert not page.all("[data-order='r0']")
    assert page.all("[data-order='r1']")
    page.browser.refresh()
    assert not page.all("[data-order='r0']")


@pytest.mark.parametrize("kind", ["scatter", "line", "box"])
def test_charts_draw_what_is_shown(page: Page, rows: list[dict[str, Any]], kind: str) -> None:
    page.open(*rows, view="results", **ENDED)
    pick(page, "result", "r5")
    pick(page, "against", "toll")
    pick(page, "colour", "mode")
    pick(page, "chart", kind)
    page.until(lambda: not page.js("return isDrawing"))
    done = [row for row in rows if row["results"]]
    assert page.one("#chart svg").get_attribute("data-points") == str(len(done))
    assert texts(page, "#chart .legend-item") == ["bus", "car", "rail"]
    drawn = page.js(
        "return [...document.querySelectorAll('#chart .dots, #chart .line, #chart .box path')].length"
    )
    assert drawn == {"scatter": 3, "line": 6, "box": 9}[kind]
    if kind == "scatter":
        paths = page.js("return [...document.querySelectorAll('#chart .dots')].map(e => e.getAttribute('d'))")
        moves = sum(path.count("M") for path in paths)
        assert moves == len(done)


def test_a_chart_begins_with_the_input_that_matters_most(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="results", **ENDED)
    pick(page, "result", "r5")
    page.until(lambda: not page.js("return isDrawing"))
    assert page.one("#chart svg").get_attribute("aria-label").startswith("r5 against toll")


def test_dragging_along_an_axis_keeps_the_lines_that_cross_it(page: Page, rows: list[dict[str, Any]]) -> None:
    page.open(*rows, view="results", **ENDED)
    page.until(lambda: not page.js("return isDrawing"))
    grip = page.one("[data-axis='year'] .grip")
    page.js("arguments[0].scrollIntoView({block: 'center'})", grip)
    height = grip.size["height"]
    drag = ActionChains(page.browser).move_to_element_with_offset(grip, 0, int(-height / 2) + 2)
    drag.click_and_hold().move_by_offset(0, int(height * 0.4)).release().perform()
    wanted = [row for row in rows if row["config"]["year"] >= 2040]
    assert shown_count(page) == len(wanted)
    page.until(lambda: not page.js("return isDrawing"))
    assert page.one("#parallel svg").get_attribute("data-lines") == str(len(wanted))
    assert page.all(".lines.rest")


# ---- The address


def test_a_view_can_be_sent(page: Page, rows: list[dict[str, Any]]) -> None:
    """The address alone shows the same to somebody else."""
    page.open(*rows, view="pivot", **ENDED)
    pick(page, "columns", "toll")
    pick(page, "rows", "mode")
    page.search("fuel=diesel")
    page.chip("success").click()
    address = page.browser.current_url.partition("#")[2]
    shown = texts(page, ".pivot")
    page.js("sessionStorage.clear()")
    page.go(f"#{address}")
    assert texts(page, ".pivot") == shown
    assert page.one("#search").get_property("value") == "fuel=diesel"


@pytest.mark.parametrize(
    "address",
    [
        "#view=nowhere&sort=x&status=nonsense",
        "#view=pivot&x=nothing&y=%00",
        "#=&&",
        "#where.x=%3E&view=results",
    ],
)
def test_an_address_that_nothing_has_made_is_tolerated(
    page: Page, rows: list[dict[str, Any]], address: str
) -> None:
    page.write_rows(rows[:20], **ENDED)
    page.go(address)
    assert shown_count(page) == 20


# ---- What may be hostile


def test_hostile_names_and_values_are_text_in_every_view(page: Page) -> None:
    names = {
        HOSTILE: "error",
        "javascript:alert(1)": "error",
        "\x1b[31mred\x1b[0m": "warning",
        "a\u202eb": "blocked",
        "__proto__": "success",
        "constructor": "success",
        "x" * 5000: "error",
    }
    before = {"status": "success", "duration": 1, "results": {"r": {HOSTILE: -1}}}
    rows = [
        make_row(
            name,
            status,
            config={HOSTILE: name, "__proto__": n, name: 1},
            results={"r": {HOSTILE: n, "toString": n}},
            message=f"{HOSTILE}: {name}",
            cause={"flow": HOSTILE, "cell": 1, "type": HOSTILE, "message": name},
            traceback=name * 3,
            before=before,
        )
        for n, (name, status) in enumerate(names.items())
    ]
    page.write_rows(rows, **ENDED)
    for view in EVERY_VIEW:
        page.go(f"#view={view}")
        assert page.one(f"#view-{view}").is_displayed()
        assert not page.all("main script, main b script, main img[onerror]")
        assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    assert page.js("return Object.keys(Object.prototype).length") == 0


def test_a_line_of_five_megabytes_does_not_stop_the_page(page: Page) -> None:
    page.open(
        make_row("one", "error", message="x" * 5_000_000, traceback="y" * 5_000_000), view="groups", **ENDED
    )
    assert page.one(".cause-title").text.startswith("xxx")
    page.search("one")
    assert shown_count(page) == 1


def test_the_policy_forbids_scripts_that_are_not_the_page_s_own(page: Page) -> None:
    page.open(make_row("one"))
    page.js("""
        window.ran = false; window.refused = [];
        const note = (event) => refused.push(event.violatedDirective);
        document.addEventListener('securitypolicyviolation', note);
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        const image = document.createElement('img');
        image.src = 'https://example.org/x.png';
        document.body.append(image);
    """)
    page.until(lambda: len(page.js("return refused")) >= 2)
    assert not page.js("return ran")
    assert sorted(page.js("return refused")) == ["img-src", "script-src-elem"]
    page.browser.get_log("browser")  # the browser tells of both


# ---- The session


def test_a_session_that_was_killed_has_ended_early(page: Page) -> None:
    page.open(make_row("one", "running", started=ago(4000)), started=ago(4000), updated=ago(3000))
    assert page.one("#state").text == "ended early"
    assert page.browser.title.startswith("■")
    assert page.row("one").find_element(By.CSS_SELECTOR, ".time-cell").text == ""


def test_views_follow_the_session(page: Page, rows: list[dict[str, Any]]) -> None:
    """New data appears in the view that is open, with its choices."""
    half = [{**row, "status": "waiting", "results": {}, "message": None, "cause": None} for row in rows[150:]]
    page.open(*rows[:150], *half, view="pivot")
    pick(page, "columns", "toll")
    page.follow(*rows, **ENDED)
    assert "toll" in texts(page, ".pivot .axis")
    total = page.js(
        "return [...document.querySelectorAll('.pivot-count')].reduce((n, e) => n + Number(e.innerText), 0)"
    )
    assert total == 300
    assert "waiting" not in page.one("#pivot-tables").get_attribute("innerHTML")


@pytest.mark.thorough
def test_ten_thousand_instances_are_few_elements_in_every_view(page: Page) -> None:
    many = planted_rows(10_000)
    page.open(*many, view="groups", **ENDED)
    failures = Counter(row["cause"]["type"] for row in many if row["status"] == "error")
    assert page.one(".cause-count").text == f"{failures['ValueError']:,}"
    assert "mode = rail" in page.one(".common").text
    for view in EVERY_VIEW:
        page.one(f"[data-view='{view}']").click()
        page.until(lambda: not page.js("return isDrawing"))
        assert page.js("return document.querySelectorAll('*').length") < 6000, view
    page.search("mode=rail year=2045")
    assert shown_count(page) == len(names_of(many, mode="rail", year=2045))


@pytest.mark.parametrize("width", [1280, 400])
def test_a_long_source_stays_within_its_card(page: Page, width: int) -> None:
    stored = make_row(
        "one", source=f"examples/tests/instances/{'degree=1,harmonics=2,' * 5}/instance.json", step="s"
    )
    page.browser.set_window_size(width, 900)
    page.open(stored, make_row("two", source="conductor.py"), view="groups", **ENDED)
    inside = """
        const card = document.querySelector('.steps').closest('.card, section').getBoundingClientRect();
        const found = [...document.querySelectorAll('.steps *')].map((each) => each.getBoundingClientRect());
        return found.every(({ left, right }) => left >= card.left && right <= card.right + 1);
    """
    assert page.js(inside)
