"""The status report in a real browser."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from pytest_ductaflow.report.page import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


CHROMEDRIVER = shutil.which("chromedriver")


FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
)


HOSTILE = "<script>alert(1)</script>"


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def make_row(instance: str, status: str = "success", step: str = "fit", **more: Any) -> dict[str, Any]:
    source = more.get("source", "conductor.py")
    return {
        "id": f"{source}::{step}::{instance}",
        "source": source,
        "step": step,
        "instance": instance,
        "kind": "flow",
        "status": status,
        "earlier": False,
        "unchanged": False,
        "started": None,
        "duration": None,
        "peak_memory": None,
        "message": None,
        "warnings": [],
        "python_warnings": [],
        "traceback": None,
        "config": {},
        "directory": f"{step}/{instance}",
        "flow": step,
        "links": {},
        "command": f"pytest --ductaflow '{source}::{step}::{instance}'",
        "flows": [],
        **more,
    }


def make_flow(flow: str, status: str = "success", **more: Any) -> dict[str, Any]:
    blank = {"instance": "", "duration": None, "message": None, "links": {}, "flows": []}
    return {"flow": flow, "status": status, **blank, **more}


def make_data(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema": 2,
        "title": "co2",
        "command": "pytest --ductaflow conductor.py",
        "started": ago(60),
        "updated": ago(0),
        "finished": None,
        "outcome": None,
        "workers": 2,
        "rows": list(rows),
        **more,
    }


def of_every_status() -> list[dict[str, Any]]:
    return [
        make_row("one", "success", duration=2.0),
        make_row("two", "waiting"),
        make_row("three", "error", duration=1.0, message="ValueError: no data"),
        make_row("four", "running", started=ago(5)),
        make_row("five", "warning", step="report", duration=90.0, message="warning: thin"),
        make_row("six", "blocked", step="report", message="blocked: an input is missing"),
    ]


class Page:
    """The report, open in the browser."""

    def __init__(self, browser: webdriver.Chrome, folder: Path) -> None:
        self.browser = browser
        self.file = folder / "conductor_status_report.html"

    def write(self, data: dict[str, Any]) -> None:
        """Write the file as a session does: atomically."""
        fresh = self.file.with_suffix(".tmp")
        fresh.write_text(render(data), encoding="utf-8")
        os.replace(fresh, self.file)

    def open(self, *rows: dict[str, Any], view: str = "instances", **more: Any) -> Page:
        self.write(make_data(*rows, **more))
        self.go(f"#view={view}")
        return self

    def write_rows(self, rows: list[dict[str, Any]], **more: Any) -> None:
        self.write(make_data(*rows, **more))

    def go(self, address: str = "") -> None:
        """Load the page anew, with the part of its address that says what it shows."""
        self.browser.get("about:blank")  # else only this part would change
        self.browser.get(f"{self.file.as_uri()}{address}")

    def js(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def all(self, css: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, css)

    def row(self, instance: str) -> WebElement:
        ids = self.js("return [...document.querySelectorAll('.entry')].map(e => e.dataset.id)")
        (place,) = (n for n, id_ in enumerate(ids) if id_.endswith(f"::{instance}"))
        return self.all(".entry")[place]

    def light(self, instance: str) -> str:
        """Return the status that an instance's light has as its label."""
        script = """
            const isMeant = (entry) => entry.dataset.id.endsWith('::' + arguments[0]);
            const entry = [...document.querySelectorAll('.entry')].find(isMeant);
            return entry.querySelector('.light').ariaLabel;
        """
        return self.js(script, instance)

    def names(self) -> list[str]:
        """Return the names of the visible instances, from top to bottom."""
        return self.js(
            "return [...document.querySelectorAll('.entry:not([hidden]) .name')].map(e => e.textContent)"
        )

    def search(self, text: str) -> list[str]:
        self.one("#search").send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE, text)
        return self.names()

    def chip(self, name: str) -> WebElement:
        return self.one(f"[data-filter='{name}']")

    def sort(self, column: str) -> list[str]:
        self.one(f"[data-sort='{column}']").click()
        return self.names()

    def unfold(self, instance: str) -> WebElement:
        self.row(instance).find_element(By.CSS_SELECTOR, ".step-cell").click()
        return self.row(instance).find_element(By.CSS_SELECTOR, ".details")

    def until(self, condition: Any) -> None:
        WebDriverWait(self.browser, 20, poll_frequency=0.05).until(lambda _: condition())

    def poll(self) -> None:
        """Make the page check its file now, as when its tab becomes visible."""
        self.js("document.dispatchEvent(new Event('visibilitychange'))")

    def follow(self, *rows: dict[str, Any], **more: Any) -> None:
        """Change the file on disk and wait until the page shows it."""
        command = f"{self.one('#command').text}+"
        self.write(make_data(*rows, **{"command": command, **more}))
        self.until(lambda: self.poll() or self.one("#command").text == command)

    def emulate(self, width: int) -> None:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
