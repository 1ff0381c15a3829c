"""The report of a stored instance with unexpected outputs, in a real browser."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import HOSTILE, Page, ago, make_row

from pytest_ductaflow.core.record import Difference, DifferingValue, Failure, Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.report.page import encode
from pytest_ductaflow.report.rows import ended_row

By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

FAILURE = Failure("OutputsDiffer", "result.csv: 2 of 8 values differ")
LOADED = """
    const images = [...document.querySelectorAll('.figures img')];
    return images.every((image) => image.complete) && images.map((image) => image.naturalWidth);
"""


def write_png(path: Path, width: int, height: int) -> None:
    """Write a grey picture."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    lines = zlib.compress((b"\0" + b"\x99" * width) * height)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    )


def row_of(page: Page, *differences: Difference, **more: Any) -> dict[str, Any]:
    """Return the row of instance A as a session makes it from the record; its report is in `runs`."""
    runs = page.file.parent
    values = {"started": ago(9), "error": FAILURE, "outputs": {"result.csv": "1f"}, **more}
    record = Record(
        Status.ERROR,
        "flows/analysis.py",
        "analysis",
        "A",
        "runs/analysis/A",
        differences=differences,
        **values,
    )
    row = make_row("A", step="analysis", directory="analysis/A")
    return ended_row(row, record, RunFiles(runs / "analysis/A", "analysis"), runs)


def write_figures(page: Page, folder: str, *, width: int = 64, suffix: str = ".png") -> dict[str, str]:
    """Write three figures to the run directory of A, named as a Difference names them."""
    figures = {kind: f"{folder}/{kind}{suffix}" for kind in ("expected", "found", "difference")}
    for path in figures.values():
        write_png(page.file.parent / "analysis/A" / path, width, 48)
    return figures


def texts(page: Page, css: str) -> list[str]:
    return [found.text for found in page.all(css)]


def show_figures(page: Page) -> list[int]:
    """Scroll to the figures, wait until each has loaded or failed, and return their widths."""
    page.js("document.querySelector('.figures').scrollIntoView()")
    page.until(lambda: page.js(LOADED) is not False)
    return page.js(LOADED)


# ---- What Python makes of a record


def test_rows_without_differences_have_an_empty_list(page: Page) -> None:
    """An instance whose outputs are as expected, or that is not stored, has nothing to show."""
    row = row_of(page)
    assert row["differences"] == []
    page.open(row)
    assert "Differences" not in page.unfold("A").text
    assert not page.all(".difference")


def test_differences_are_plain_values(page: Page) -> None:
    """A row can be written as JSON whatever its numbers are."""
    value = DifferingValue("zone=3", "1.0", "nan", math.nan, math.inf)
    row = row_of(page, Difference("result.csv", "1 value differs", ("note",), (value,), {"found": "f.png"}))
    assert row["differences"] == [
        {
            "file": "result.csv",
            "is_there": True,
            "message": "1 value differs",
            "notes": ["note"],
            "worst": [
                {
                    "where": "zone=3",
                    "expected": "1.0",
                    "found": "nan",
                    "absolute": value.absolute,
                    "relative": math.inf,
                }
            ],
            "figures": {"found": "f.png"},
        }
    ]
    assert '"absolute":"nan","relative":"inf"' in encode(row)


# ---- What the page shows


def test_each_file_has_its_name_message_notes_and_worst_values(page: Page) -> None:
    """The opened row shows every file that differs; the line of the table keeps the message."""
    worst = (
        DifferingValue("zone=3, trips", "150", "151.6", 1.6, 1.6 / 150),
        DifferingValue("zone=1, trips", "0", "0.00012", 0.00012, None),
        DifferingValue("zone=2, name", "north", "south"),
    )
    notes = ("columns that are missing: cost", "1 row too many: zone=9")
    table = Difference("result.csv", "3 of 80 values differ", notes, worst)
    page.open(row_of(page, table, Difference("log.txt", "is missing")))
    assert page.one(".entry .message").text == "result.csv: 2 of 8 values differ"
    page.unfold("A")
    assert texts(page, ".difference h3") == ["result.csv", "log.txt"]
    assert texts(page, ".difference p") == ["3 of 80 values differ", "is missing"]
    assert texts(page, ".difference pre") == ["\n".join(notes)]
    assert texts(page, ".worst thead th") == ["where", "expected", "found", "difference", "relative"]
    cells = page.js("""
        const rows = [...document.querySelectorAll('.worst tbody tr')];
        return rows.map((row) => [...row.cells].map((cell) => cell.innerText));
    """)
    assert cells == [
        ["zone=3, trips", "150", "151.6", "1.6", "1.067 %"],
        ["zone=1, trips", "0", "0.00012", "1.20e-4", ""],
        ["zone=2, name", "north", "south", "", ""],
    ]
    assert texts(page, ".parts h2") == ["Differences"]  # the failure's message would repeat it


def test_numbers_are_short_and_stand_at_the_right(page: Page) -> None:
    """Amounts have about four digits, and percentages have a unit."""
    numbers = [0, 0.00099, 0.001, 1.23456, 999.96, 123456.7, 1e6, 2.5e-300]
    page.open(row_of(page, Difference("result.csv", "", (), (DifferingValue("x", "1", "2", 1.0, 1.0),))))
    shown = page.js("return arguments[0].map(amount)", numbers)
    assert shown == ["0", "9.90e-4", "0.001", "1.235", "1000", "123457", "1.00e+6", "2.50e-300"]
    assert page.js("return ['nan', null, 0.5, 1e7].map(percent)") == ["nan", "", "50 %", "1.00e+9 %"]
    page.unfold("A")
    assert page.js("return getComputedStyle(document.querySelector('.worst td')).textAlign") == "right"


def test_lines_of_a_diff_are_colourful_and_others_are_not(page: Page) -> None:
    """Only lines after the first @@ belong to a diff, and they are copied as they are."""
    diff = (
        "-3 lines",
        "--- expected",
        "+++ found",
        "@@ -1,2 +1,2 @@",
        " same",
        "-- old",
        "+new",
        "",
        "\\ end",
    )
    page.open(row_of(page, Difference("log.txt", "2 lines differ", diff)))
    page.unfold("A")
    assert texts(page, ".added") == ["+new"]
    assert texts(page, ".removed") == ["-- old"]
    plain, removed = page.js("""
        return ['span', '.removed'].map((css) =>
          getComputedStyle(document.querySelector('.difference pre').querySelector(css)).backgroundColor);
    """)
    assert plain != removed
    page.js("getSelection().selectAllChildren(document.querySelector('.difference pre'))")
    assert page.js("return String(getSelection())").splitlines() == list(diff)


def test_hostile_differences_are_text(page: Page) -> None:
    """Markup, very long names, ten values and numbers that JSON lacks break nothing, at any width."""
    long = "long_name_" * 40
    worst = [DifferingValue(f"{HOSTILE}={n}", HOSTILE, long, math.nan, -math.inf) for n in range(9)]
    worst.append(DifferingValue(long, "two\nlines", "", math.inf, math.nan))
    figures = {"expected": HOSTILE, "found": "javascript:alert(1)", "difference": long}
    names = [HOSTILE, f"{long}.csv", "<img src=x onerror=alert(1)>"]
    hostile = [
        Difference(name, HOSTILE, ("@@", f"+{HOSTILE}", long), tuple(worst), figures) for name in names
    ]
    page.open(row_of(page, *hostile))
    page.unfold("A")
    assert texts(page, ".difference h3") == names
    assert texts(page, ".added") == [f"+{HOSTILE}"] * 3
    assert len(page.all(".worst tbody tr")) == 30
    assert page.all(".worst tbody tr")[0].text.split()[-2:] == ["nan", "-inf"]
    assert not page.all("main script")
    assert len(page.all("main img")) == 9
    assert page.js(
        "return [...document.querySelectorAll('.difference a')].every(a => a.protocol === 'file:')"
    )
    for width in (360, 700, 1400, 2560):
        page.emulate(width)
        assert page.js("return document.documentElement.scrollWidth <= innerWidth")
    show_figures(page)
    page.browser.get_log("browser")  # none of these figures exists


def test_values_are_not_broken_in_the_middle(page: Page) -> None:
    """On a narrow screen the table of values can be scrolled, also with keys, and is not squeezed."""
    value = DifferingValue(
        "zone=3, purpose=work, trips", "1234567.123456789", "1234568.123456789", 1.0, 8.1e-7
    )
    page.open(row_of(page, Difference("result.csv", "1 of 80 values differs", (), (value,))))
    page.emulate(400)
    page.unfold("A")
    heights = page.js("return [...document.querySelectorAll('.worst tr')].map(row => row.offsetHeight)")
    assert abs(heights[0] - heights[1]) <= 1  # the row of values has one line, like the head
    box = page.one(".worst")
    assert page.js("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
    box.send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: page.js("return arguments[0].scrollLeft > 0", box))
    assert page.js("return document.documentElement.scrollWidth <= innerWidth")


def test_files_that_were_written_are_linked(page: Page) -> None:
    """The name links to the file that was written; for a missing file there is no link."""
    inner = Record(
        Status.SUCCESS, "flows/fit.py", "fit", "B", "runs/analysis/A/runs/fit/B", outputs={"b.csv": "2e"}
    )
    page.open(
        row_of(
            page,
            Difference("logs #1/50% ü.txt", "is not expected"),
            Difference("missing.txt", "is missing"),
            Difference("runs/fit/B/b.csv", "1 of 2 values differs"),
            outputs={"logs #1/50% ü.txt": "1f"},
            flows=(inner,),
        )
    )
    found = page.file.parent / "analysis/A/logs #1/50% ü.txt"
    found.parent.mkdir(parents=True)
    found.write_text("it is there", encoding="utf-8")
    page.unfold("A")
    links = page.all(".difference h3 a")
    assert [link.text for link in links] == ["logs #1/50% ü.txt", "runs/fit/B/b.csv"]
    page.browser.get(links[0].get_attribute("href"))
    assert page.one("body").text == "it is there"


# ---- Figures


def test_figures_are_loaded_and_open_in_a_tab(page: Page) -> None:
    """Expected, found and difference stand side by side; each opens alone in a tab."""
    figures = write_figures(page, "analysis_differences/50% #1 ü?", suffix=" & <b>.png")
    page.open(row_of(page, Difference("map.png", "12 % of the pixels differ", figures=figures)))
    page.unfold("A")
    assert show_figures(page) == [64, 64, 64]
    assert texts(page, "figcaption") == ["expected", "found", "difference"]
    described = [image.get_attribute("alt") for image in page.all(".figures img")]
    assert described == ["expected: map.png", "found: map.png", "difference: map.png"]
    before = page.browser.current_window_handle
    page.all(".figures a")[1].send_keys(Keys.ENTER)
    page.until(lambda: len(page.browser.window_handles) == 2)
    (other,) = set(page.browser.window_handles) - {before}
    page.browser.switch_to.window(other)
    page.until(lambda: page.js("return document.images[0]?.naturalWidth") == 64)
    assert page.browser.current_url == (page.file.parent / "analysis/A" / figures["found"]).as_uri()
    page.browser.close()
    page.browser.switch_to.window(before)


@pytest.mark.parametrize(("width", "columns"), [(400, 1), (900, 3), (1400, 3)])
def test_figures_fit(page: Page, width: int, columns: int) -> None:
    """Three columns, or one above the other on a narrow screen; no figure is wider than its place."""
    page.open(row_of(page, Difference("map.png", "differs", figures=write_figures(page, "d", width=3000))))
    page.emulate(width)
    page.unfold("A")
    assert show_figures(page) == [3000] * 3
    boxes = [image.rect for image in page.all(".figures img")]
    assert len({box["x"] for box in boxes}) == columns
    assert len({box["width"] for box in boxes}) == 1
    assert boxes[-1]["x"] + boxes[-1]["width"] <= width


def test_some_figures_are_better_than_none(page: Page) -> None:
    """Without a picture of the difference the other two are shown."""
    figures = write_figures(page, "d")
    del figures["difference"]
    page.open(row_of(page, Difference("map.png", "another size", figures=figures)))
    page.unfold("A")
    assert texts(page, "figcaption") == ["expected", "found"]
    assert show_figures(page) == [64, 64]


def test_figures_of_a_new_run_replace_the_old_ones(page: Page) -> None:
    """An open page does not keep showing the figures of an earlier run in files of the same names."""
    difference = Difference("map.png", "differs", figures=write_figures(page, "d"))
    page.open(row_of(page, difference))
    page.unfold("A")
    assert show_figures(page) == [64, 64, 64]
    write_figures(page, "d", width=80)
    page.follow(row_of(page, difference, started=ago(1)))
    assert show_figures(page) == [80, 80, 80]


# ---- The page around them


def test_focus_stays_on_the_same_notes_when_a_row_is_drawn_anew(page: Page) -> None:
    """Of several blocks that look alike, the one that had the focus keeps it."""
    differences = [Difference(f"{n}.txt", "differs", ("note",)) for n in range(3)]
    page.open(row_of(page, *differences))
    page.unfold("A")
    page.js("arguments[0].focus()", page.all(".difference pre")[1])
    page.follow(row_of(page, *differences, reason="new"))
    assert page.js("return document.activeElement.getAttribute('aria-label')") == "Notes on 1.txt"


def test_search_finds_files_that_differ(page: Page) -> None:
    """A row is found by the name of any file that differs, not only of those in its message."""
    page.open(make_row("other"), row_of(page, Difference("Totals/zones.json", "differs")))
    assert page.search("totals/zones") == ["A"]


def test_paper_shows_values_and_figures_in_full(page: Page) -> None:
    """Nothing is scrolled on paper, and figures out of sight are printed as well."""
    value = DifferingValue("zone=3", "x" * 24, "y" * 24, 1.0, 0.5)
    many = [Difference(f"{n}.txt", "differs", tuple(map(str, range(60))), (value,)) for n in range(9)]
    page.open(row_of(page, *many, Difference("map.png", "differs", figures=write_figures(page, "d"))))
    page.unfold("A")
    assert not page.js(LOADED)
    pdf = base64.b64decode(page.browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.count(b"/Subtype /Image") >= 1
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.emulate(700)
    try:
        cut = """
            const boxes = [...document.querySelectorAll('.worst, .difference pre')];
            const isCut = (box) => box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
            return boxes.filter(isCut).length;
        """
        assert page.js(cut) == 0
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
