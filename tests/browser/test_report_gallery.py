"""The gallery of the report, in a real browser."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")
pytest.importorskip("PIL")

from helpers.browser import HOSTILE, Page, ago, make_row
from helpers.pictures import SVG_WITH_SCRIPT, bomb, draw_figure, noisy
from helpers.planted import planted_rows
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.report.figures.of_runs import figures_of_runs

ENDED = {"finished": ago(0), "outcome": "finished", "exit_code": 0}
SMALL = "0" * 20 + "-640.webp"


def rows_with_figures(folder: Path, *, modes: tuple[str, ...] = ("bus", "rail")) -> list[dict[str, Any]]:
    """Return the rows of a sweep of two config keys, each with two figures whose files are there."""
    rows = []
    for mode in modes:
        for year in (2030, 2040, 2050):
            name = f"mode={mode},year={year}"
            for figure in ("flow.png", "plots/cost.png"):
                draw_figure(folder / "fit" / name / figure, f"{figure} {name}", shade=year % 256)
            figures = [["flow.png"], ["plots/cost.png"]]
            rows.append(make_row(name, config={"mode": mode, "year": year, "seed": 1}, figures=figures))
    return rows


@pytest.fixture(name="rows")
def make_rows(page: Page) -> list[dict[str, Any]]:
    return rows_with_figures(page.file.parent)


def open_gallery(page: Page, rows: list[dict[str, Any]], address: str = "", **more: Any) -> None:
    page.write_rows(rows, **(ENDED | more))
    page.go(f"#view=gallery{address}")


def sources(page: Page) -> list[str]:
    """Return the paths, from the folder of the report, of the images that are shown."""
    found = page.js(
        "return [...document.querySelectorAll('.tile img')].map((each) => each.getAttribute('src'))"
    )
    return [source.removeprefix("./").partition("?")[0] for source in found]


def labels(page: Page) -> list[str]:
    return page.js(
        "return [...document.querySelectorAll('.tile-label')].map((each) => each.innerText.trim())"
    )


def wait_for_images(page: Page, css: str = ".tile img") -> None:
    """Wait until the images are loaded; fail if one is not."""
    script = """
        const images = [...document.querySelectorAll(arguments[0])];
        return images.length > 0 && images.every((each) => each.complete && each.naturalWidth > 0);
    """
    page.until(lambda: page.js(script, css))


def pick(page: Page, name: str, value: str) -> None:
    Select(page.one(f"#gallery-choices [data-choice='{name}']")).select_by_value(value)


def test_the_same_figure_is_seen_side_by_side_with_what_tells_instances_apart(page, rows):
    open_gallery(page, rows)
    wait_for_images(page)
    assert sources(page) == [
        f"fit/{row['instance'].replace('=', '%3D').replace(',', '%2C')}/flow.png" for row in rows
    ]
    assert labels(page) == [
        f"mode={mode} year={year}" for mode in ("bus", "rail") for year in (2030, 2040, 2050)
    ]
    tops = page.js(
        "return [...document.querySelectorAll('.tile')].map((each) => each.getBoundingClientRect().top)"
    )
    assert len(set(tops)) < len(tops)


def test_another_figure_can_be_chosen_and_sent(page, rows):
    open_gallery(page, rows)
    pick(page, "figure", "plots/cost.png")
    wait_for_images(page)
    assert all(source.endswith("/plots/cost.png") for source in sources(page))
    address = page.browser.current_url.partition("#")[2]
    assert "view=gallery" in address
    assert "figure=plots%2Fcost.png" in address
    page.js("sessionStorage.clear()")
    page.go(f"#{address}")
    assert all(source.endswith("/plots/cost.png") for source in sources(page))


def test_filters_hold_and_an_empty_gallery_says_so(page, rows):
    open_gallery(page, rows)
    page.search("mode=rail")
    assert labels(page) == ["year=2030", "year=2040", "year=2050"]
    page.search("nothing like that")
    assert page.one("#gallery-empty").text == "No instance with this figure matches"
    open_gallery(page, [make_row("one")])
    assert page.one("#gallery-empty").text == "No instance has a figure yet"


def test_columns_of_the_config_arrange_figures_as_a_table(page, rows):
    open_gallery(page, rows)
    pick(page, "gx", "year")
    pick(page, "gy", "mode")
    wait_for_images(page)
    heads = page.js(
        "return [...document.querySelectorAll('#gallery-head .axis')].map((each) => each.innerText)"
    )
    assert heads == ["mode", "year = 2030", "year = 2040", "year = 2050"]
    script = """
        return [...document.querySelectorAll('.gallery-line')].map((line) => [
          line.querySelector('.side').innerText,
          [...line.querySelectorAll('.gallery-cell')].map((cell) => cell.querySelectorAll('img').length)]);
    """
    assert page.js(script) == [["bus", [1, 1, 1]], ["rail", [1, 1, 1]]]
    left = page.js("""
        const heads = [...document.querySelectorAll('#gallery-head .axis')].slice(1);
        const cells = [...document.querySelector('.gallery-line').querySelectorAll('.gallery-cell')];
        const left = (node) => node.getBoundingClientRect().left;
        return heads.map((each, n) => left(each) - left(cells[n]));
    """)
    assert left == pytest.approx([0, 0, 0], abs=1)
    assert "gx=year" in page.browser.current_url


def test_a_cell_of_many_leads_to_all_of_them(page):
    many = [
        make_row(f"n{n}", config={"mode": "bus" if n % 2 else "rail", "n": n}, figures=[["a.png", SMALL]])
        for n in range(40)
    ]
    draw_figure(page.file.parent / ".figures" / SMALL)
    open_gallery(page, many, "&gx=mode")
    assert len(page.all(".tile")) == 8
    more = page.one(".gallery-cell .to")
    assert more.text == "and 16 more"
    more.click()
    assert page.one("#shown").text == "20 of 40"
    assert page.one(".condition").text == "mode = bus"
    assert "gx=" not in page.browser.current_url


def test_small_copies_are_shown_in_place_of_images_and_images_in_place_of_missing_copies(page, tmp_path):
    draw_figure(tmp_path / ".figures" / SMALL)
    draw_figure(tmp_path / "fit/one/a.png")
    open_gallery(page, [make_row("one", figures=[["a.png", SMALL]])])
    wait_for_images(page)
    assert sources(page) == [f".figures/{SMALL}"]
    page.one(".tile-open").click()
    wait_for_images(page, "#figure-dialog img")
    assert "/fit/one/a.png" in page.one("#figure-dialog img").get_attribute("src")


def test_two_are_compared_with_a_divider_that_mouse_and_keys_move(page, rows):
    open_gallery(page, rows)
    page.all(".compare")[0].click()
    assert "Choose a second figure to compare with mode=bus year=2030" in page.one("#gallery-pair").text
    page.all(".compare")[4].click()
    wait_for_images(page, ".overlay img")
    sides = [each.text.strip() for each in page.all(".side-label")]
    assert sides == ["mode=bus year=2030", "mode=rail year=2040"]
    shown = "return document.querySelector('.upper').style.clipPath"
    assert "50%" in page.js(shown)
    slider = page.one(".overlay input")
    slider.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert "52%" in page.js(shown)
    width = slider.size["width"]
    ActionChains(page.browser).move_to_element(slider).click_and_hold().move_by_offset(
        width // 4, 0
    ).release().perform()
    hidden = float(page.js(shown).split()[1].rstrip("%"))
    assert 20 <= hidden <= 30
    places = page.js("""
        const images = [...document.querySelectorAll('.overlay img')];
        return images.map((each) => JSON.stringify(each.getBoundingClientRect()));
    """)
    assert places[0] == places[1]
    page.one(".pair-tools button").click()
    assert [each.text.strip() for each in page.all(".side-label")] == list(reversed(sides))
    address = page.browser.current_url.partition("#")[2]
    page.go(f"#{address}")
    assert len(page.all(".overlay img")) == 2
    page.all(".pair-tools button")[1].click()
    assert not page.one("#gallery-pair").is_displayed()


def test_a_figure_opens_in_full_size_and_arrows_lead_to_the_next(page, rows):
    open_gallery(page, rows)
    page.all(".tile-open")[1].click()
    dialog = page.one("#figure-dialog")
    wait_for_images(page, "#figure-dialog img")
    assert "mode=bus,year=2040" in dialog.text
    assert "2 of 6" in dialog.text
    ActionChains(page.browser).send_keys(Keys.ARROW_RIGHT).perform()
    assert "3 of 6" in dialog.text
    ActionChains(page.browser).send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT).perform()
    assert "1 of 6" in dialog.text
    ActionChains(page.browser).send_keys(Keys.ESCAPE).perform()
    page.until(lambda: not page.js("return document.getElementById('figure-dialog').open"))
    assert page.js("return document.activeElement.className") == "tile-open"
    page.all(".tile-open")[1].click()
    dialog.find_element(By.CSS_SELECTOR, ".dialog-head .to").click()
    assert page.row(rows[1]["instance"]).find_element(By.CSS_SELECTOR, ".details").is_displayed()


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_not_wider_than_the_window(page, rows, width):
    page.emulate(width)
    open_gallery(page, rows)
    wait_for_images(page)
    fits = "return document.documentElement.scrollWidth <= innerWidth"
    assert page.js(fits)
    pick(page, "gx", "year")
    pick(page, "gy", "mode")
    assert page.js(fits)
    page.all(".compare")[0].click()
    page.all(".compare")[1].click()
    wait_for_images(page, ".overlay img")
    assert page.js(fits)
    page.js("document.querySelector('.tile-open').click()")
    assert page.js(
        "return document.getElementById('figure-dialog').getBoundingClientRect().width <= innerWidth"
    )


def test_a_table_of_figures_fits_on_paper(page, rows):
    page.emulate(700)
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        open_gallery(page, rows, "&gx=year&gy=mode&tile=large")
        wait_for_images(page)
        assert page.js("return document.documentElement.scrollWidth <= innerWidth")
        assert not page.one(".compare").is_displayed()
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_gallery_follows_the_session(page, rows):
    waiting = [{**row, "status": "waiting", "figures": []} for row in rows[3:]]
    open_gallery(page, [*rows[:3], *waiting], finished=None, outcome=None)
    assert len(page.all(".tile")) == 3
    page.js("window.first = document.querySelector('.tile img')")
    wide = [make_row("z", config={"mode": "road", "year": 2030, "seed": 1}, figures=[])]
    page.follow(*rows, *wide)
    assert len(page.all(".tile")) == 6
    assert page.one("#gallery-note").text == "1 instance without this figure"


def test_two_thousand_figures_are_few_elements_and_few_files_loaded(page):
    rows = planted_rows(2000)
    for row in rows:
        row["figures"] = [["fit.png", SMALL], ["late.png", "", "", "a broken image"]]
    draw_figure(page.file.parent / ".figures" / SMALL)
    open_gallery(page, rows, "&figure=fit.png")
    wait_for_images(page)
    assert page.js("return document.querySelectorAll('.tile').length") < 120
    assert page.js("return document.querySelectorAll('*').length") < 4000
    page.js("scrollTo(0, document.documentElement.scrollHeight)")
    page.until(lambda: page.js("return galleryList.rows.at(-1).cells.at(-1).all[0].row.index") == 1999)
    last = rows[-1]["id"]
    drawn = (
        "return [...document.querySelectorAll('[data-open]')].some((e) => e.dataset.open === arguments[0])"
    )
    page.until(lambda: page.js(drawn, last))
    assert page.js("return document.querySelectorAll('.tile').length") < 120


# ---- What may be hostile

HOSTILE_NAMES = (
    f"{HOSTILE}.png",
    "javascript:alert(1).png",
    "a\u202egnp.png",
    '"><img src=x onerror=alert(1)>.png',
)


def prepared(runs: Path, *names: str) -> list[dict[str, Any]]:
    """Return a row for the run directory fit/one, whose figures have been looked at and prepared."""
    record = Record(
        Status.SUCCESS, "flows/fit.py", "fit", "one", "runs/fit/one", "2030", outputs=dict.fromkeys(names, "")
    )
    (figures,) = figures_of_runs(runs, [("fit/one", record)])
    return [make_row("one", figures=figures, started="2030")]


def figure_texts(page: Page) -> list[str]:
    """Return, for each figure that can be chosen, the text in its place; "" where there is an image."""
    found = []
    options = "return [...document.querySelector('[data-choice=figure]').options].map((each) => each.value)"
    is_settled = """
        const image = document.querySelector('.tile img');
        return !image || (image.complete && image.naturalWidth > 0);
    """
    for option in page.js(options):
        pick(page, "figure", option)
        page.until(lambda: page.js(is_settled))
        found.append(page.js("return document.querySelector('.tile .no-picture')?.innerText ?? ''"))
    return found


@pytest.fixture(name="runs")
def make_runs(page: Page) -> Path:
    (page.file.parent / "fit/one").mkdir(parents=True)
    return page.file.parent


def nothing_ran(page: Page) -> bool:
    has_run = "return window.ran !== undefined || document.title === 'ran'"
    return not page.js(has_run) and not page.all("main script")


def watch(page: Page) -> None:
    page.js("""
        window.refused = [];
        document.addEventListener('securitypolicyviolation', (event) => refused.push(event.blockedURI));
    """)


def test_names_of_files_are_text(page, runs):
    names = []
    for name in HOSTILE_NAMES:
        with contextlib.suppress(OSError):  # what this system cannot have as a name
            draw_figure(runs / "fit/one" / name.replace("/", "_"))
            names.append(name.replace("/", "_"))
    open_gallery(page, prepared(runs, *names))
    watch(page)
    assert figure_texts(page) == [""] * len(names)
    page.one(".tile-open").click()
    wait_for_images(page, "#figure-dialog img")
    assert nothing_ran(page)
    assert page.js("return refused") == []


def test_a_path_with_markup_in_it_stays_a_path(page, runs):
    name = "</script><script>alert(1)</script>.png"  # the / makes folders of it
    draw_figure(runs / "fit/one" / name)
    open_gallery(page, prepared(runs, name))
    assert figure_texts(page) == [""]
    assert nothing_ran(page)


def test_an_svg_is_an_image_whose_scripts_do_not_run(page, runs):
    (runs / "fit/one/a.svg").write_text(SVG_WITH_SCRIPT)
    open_gallery(page, prepared(runs, "a.svg"))
    watch(page)
    assert figure_texts(page) == [""]
    page.one(".tile-open").click()
    wait_for_images(page, "#figure-dialog img")
    assert nothing_ran(page)
    assert page.js("return refused") == []
    assert not page.all("#figure-dialog a, #figure-dialog object, #figure-dialog embed, main svg script")


def test_what_is_no_whole_image_is_a_text_in_its_place(page, runs):
    folder = runs / "fit/one"
    whole = noisy(folder / "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "garbled.png").write_bytes(whole[:20_000] + os.urandom(20_000) + whole[40_000:])
    (folder / "page.png").write_text("<script>window.top.ran = true</script>")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "entities.svg").write_text(
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
    )
    bomb(folder / "bomb.png")
    with open(folder / "huge.png", "wb") as file:
        file.write(whole[:1000])
        file.truncate(200_000_000)
    names = (
        "bomb.png",
        "cut.png",
        "empty.jpg",
        "entities.svg",
        "garbled.png",
        "gone.png",
        "huge.png",
        "page.png",
    )
    open_gallery(page, prepared(runs, *names, "whole.png"))
    assert figure_texts(page) == [
        "bomb.png: too large to be shown: 60000 by 60000 pixels",
        "cut.png: a broken PNG",
        "empty.jpg: no PNG, JPEG, GIF or WebP image",
        "entities.svg: an SVG that declares entities",
        "garbled.png: a broken PNG",
        "gone.png: missing",
        "huge.png: too large to be shown: 200 MB",
        "page.png: no PNG, JPEG, GIF or WebP image",
        "",
    ]
    assert nothing_ran(page)


def test_without_pillow_a_broken_image_is_a_text_too(page, runs, monkeypatch):
    """Checksums tell of a PNG that it is broken; of other images the browser notes it."""
    for module in ("prepare", "thumbnails"):
        monkeypatch.setattr(f"pytest_ductaflow.report.figures.{module}.can_make_thumbnails", lambda: False)
    head = draw_figure(runs / "fit/one/a.png").read_bytes()[:33]
    (runs / "fit/one/a.png").write_bytes(head + b"\0\0\0\4IDATxxxxyyyy" + b"\0\0\0\0IEND\xaeB`\x82")
    (runs / "fit/one/b.webp").write_bytes(b"RIFF\x30\0\0\0WEBPVP8L\x20\0\0\0\x2f" + b"\1\0" * 20)
    draw_figure(runs / "fit/one/c.png")
    open_gallery(page, prepared(runs, "a.png", "b.webp", "c.png"))
    assert figure_texts(page) == ["a.png: a broken PNG", "b.webp: could not be shown", ""]


def test_a_link_out_of_the_project_is_not_followed(page, runs, tmp_path_factory):
    secret = draw_figure(tmp_path_factory.mktemp("elsewhere") / "secret.png")
    (runs / "fit/one/link.png").symlink_to(secret)
    open_gallery(page, prepared(runs, "link.png"))
    assert figure_texts(page) == ["link.png: a link that leads out of its folder"]
    assert not [name for name in os.listdir(runs / ".figures") if name.endswith(".webp")]


@pytest.mark.parametrize(
    "figures",
    [
        [["a.png", "../../secret.webp"], ["b.png", "", "../../secret.png"]],
        [["https://example.org/a.png"]],
        [["//example.org/a.png"]],
        [["javascript:alert(1)", "javascript:alert(1)"]],
    ],
)
def test_entries_that_we_have_not_made_lead_nowhere(page, runs, figures):
    """They may be in a page that others have written, from which a session takes rows over."""
    for path in ("a.png", "b.png", "https:/example.org/a.png", "example.org/a.png", "javascript:alert(1)"):
        draw_figure(runs / "fit/one" / f"{path}.png").rename(runs / "fit/one" / path)
    open_gallery(page, [make_row("one", figures=figures)])
    watch(page)
    assert figure_texts(page) == [""] * len(figures)
    assert all(source.startswith("fit/one/") for source in sources(page))
    assert page.js("return refused") == []


@pytest.mark.parametrize("figures", [7, "x", [7], [[]], [None], [[None, 1]], {"a": 1}])
def test_what_is_no_entry_is_left_out(page, figures):
    open_gallery(page, [make_row("one", figures=figures)])
    assert page.one("#view-gallery").is_displayed()
    page.search("one")
