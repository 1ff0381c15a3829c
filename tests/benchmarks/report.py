"""Measure what the live report costs a session, and how quick its page is in a browser.

python tests/benchmarks/report.py [--rows 10000] [--seconds 20]

The first table is on writing: a session in which a row changes every millisecond. The second one is on the
page of a sweep with ten config keys and ten results: its size, the time until its first view is drawn, until
another one is opened, and until a keystroke in the search has had its effect. 2,000 of its instances have a
figure. It needs chromium and
chromedriver on the PATH.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.report.live import PAUSE, SHARE, SHARE_OF_SUMMARY, LiveReport
from pytest_ductaflow.report.page import render

sys.path.insert(0, str(Path(__file__).parents[1]))

ROUNDS = 5
FIGURES = 2_000  # instances with a figure, at most
VIEWS = ("groups", "instances", "pivot", "results", "gallery", "graph", "timeline")
# Milliseconds from the beginning of the load to the frame after the first view.
FIRST_VIEW = """
    const done = arguments[0];
    requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0));
"""
# Milliseconds that a change of the search takes, with layout and paint.
KEYSTROKE = """
    const [text, done] = arguments;
    const began = performance.now();
    document.getElementById('search').value = text;
    document.getElementById('search').dispatchEvent(new Event('input'));
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0));
"""
OPEN = """
    const [name, done] = arguments;
    const began = performance.now();
    openView(name);
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0));
"""


def instance(root: Path, number: int) -> Instance:
    config = {"year": 2000 + number, "mode": "rail", "processing": {"alpha": number / 7, "beta": [1, 2, 3]}}
    name = f"scenario_{number:05}"
    return Instance(str(root / "flows/a.py"), "a", name, config, str(root / "runs/a" / name), str(root))


def record(of: Instance) -> Record:
    return Record(Status.WARNING, "flows/a.py", of.step, of.name, f"runs/a/{of.name}", warnings=("⚠️ " * 20,))


def measure_writing(rows: int, seconds: float) -> str:
    """Return a line on a session in which a row changes every millisecond."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        report = LiveReport(root, "pytest --ductaflow conductor.py")
        took: list[float] = []
        write = report._write

        def timed() -> None:
            began = time.thread_time()
            write()
            took.append(time.thread_time() - began)

        report._write = timed  # type: ignore[method-assign]
        instances = [instance(root, number) for number in range(rows)]
        for number, one in enumerate(instances):
            report.add(str(number), one, "pytest")
        report.follow()
        began = time.perf_counter()
        number = 0
        while (elapsed := time.perf_counter() - began) < seconds:
            report.ended(str(number % rows), record(instances[number % rows]))
            number += 1
            time.sleep(0.001)
        share, writes = sum(took) / elapsed, len(took)
        report.finish("finished")
        size = report.path.stat().st_size / 1024
    return f"{rows:>8}{statistics.median(took) * 1000:>15.1f}{size:>9.0f}{writes:>9}{share:>15.1%}"


def measure_page(rows: int) -> None:
    """Print the size of a page, and how quick it is."""
    from helpers.browser import ago, make_data
    from helpers.planted import planted_rows

    planted = planted_rows(rows)
    for row in planted[:FIGURES]:
        row["figures"] = [["fit.png", f"{row['config']['seed']:020x}-640.webp"]]
    data = make_data(*planted, finished=ago(0), outcome="finished")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "report.html")
        leave_figures(Path(name), planted[:FIGURES])
        began = time.process_time()
        path.write_text(render(data), encoding="utf-8")
        took = time.process_time() - began
        print(f"\n{rows:,} instances: {path.stat().st_size / 1e6:.1f} MB, made in {took:.1f} s")
        for what, values in _timed_in_browser(path.as_uri()).items():
            print(f"  {what:<24}{statistics.median(values):>7.0f} ms  (at most {max(values):.0f})")


def leave_figures(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write the small copies of the rows' figures, each with a colour of its own."""
    from PIL import Image

    (folder / ".figures").mkdir()
    for number, row in enumerate(rows):
        colour = (number % 256, number // 256 * 16 % 256, 128)
        Image.new("RGB", (640, 400), colour).save(folder / ".figures" / row["figures"][0][1])


def _timed_in_browser(address: str) -> dict[str, list[float]]:
    from helpers.browser import CHROMEDRIVER, CHROMIUM, FLAGS
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS.split():
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    found: dict[str, list[float]] = {}
    try:
        for _ in range(ROUNDS):
            browser.get("about:blank")
            browser.get(address)
            found.setdefault("first view", []).append(browser.execute_async_script(FIRST_VIEW))
        for view in VIEWS:
            found[f"open {view}"] = [browser.execute_async_script(OPEN, view)]
            typed = [browser.execute_async_script(KEYSTROKE, "mode=rail"[:end]) for end in range(1, 10)]
            found[f"keystroke in {view}"] = typed
            browser.execute_async_script(KEYSTROKE, "")
    finally:
        browser.quit()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 50_000], help="rows of the page")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of each session")
    given = parser.parse_args()
    if given.seconds:
        print(f"{'rows':>8}{'one write ms':>15}{'KB':>9}{'writes':>9}{'share of time':>15}")
        for rows in (100, 2_000, 10_000):
            print(measure_writing(rows, given.seconds))
        parts = f"{SHARE:.1%} of the time in them, {SHARE_OF_SUMMARY:.1%} in summing up"
        print(f"\nThe rule: at least {PAUSE:g} s between writes, at most {parts}.")
    for rows in given.rows:
        measure_page(rows)


if __name__ == "__main__":
    main()
