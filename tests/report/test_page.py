"""The page is put together of files that one can read, and lets nothing in that is not its own."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest
from helpers.browser import make_data, make_row
from helpers.planted import planted_rows

from pytest_ductaflow.report import page as page_module
from pytest_ductaflow.report.page import SCRIPTS, STYLES, render

WEB = Path(page_module.__file__).parent / "web"
DECLARED = re.compile(r"^(?:async )?(?:function|const|let|class) +([\w$]+)", re.MULTILINE)


def test_every_script_and_style_is_in_the_page_and_short_enough_to_read():
    assert {path.stem for path in WEB.glob("script/*.js")} == set(SCRIPTS)
    assert {path.stem for path in WEB.glob("style/*.css")} == set(STYLES)
    lengths = {path.name: len(path.read_text().splitlines()) for path in WEB.rglob("*.*")}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_two_scripts_declare_the_same_name():
    """A function would silently take the place of another script's."""
    texts = [(WEB / f"script/{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    counts = Counter(name for text in texts for name in DECLARED.findall(text))
    assert len(counts) > 200
    assert {name for name, count in counts.items() if count > 1} == set()


def test_the_policy_names_the_page_s_own_script_and_style():
    text = render(make_data(make_row("one")))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        own = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy


@pytest.mark.parametrize("word", ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("])
def test_no_script_takes_text_for_markup_or_code(word):
    assert [path.name for path in WEB.glob("script/*.js") if word in path.read_text()] == []


def test_ten_thousand_instances_are_a_file_of_less_than_12_mb():
    assert len(render(make_data(*planted_rows(10_000)))) < 12e6
