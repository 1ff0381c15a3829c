"""The scripts of the page, which share their names."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest_ductaflow.report.page
from pytest_ductaflow.report.page import SCRIPTS, STYLES

WEB = Path(pytest_ductaflow.report.page.__file__).parent / "web"
DECLARED = re.compile(r"^(?:async )?(?:function|const|let|class) +([\w$]+)", re.MULTILINE)


def test_no_two_scripts_declare_the_same_name():
    """A function would silently take the place of another script's."""
    texts = [(WEB / f"script/{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    counts = Counter(name for text in texts for name in DECLARED.findall(text))
    assert len(counts) > 200
    assert {name for name, count in counts.items() if count > 1} == set()


def test_every_script_and_style_is_in_the_page():
    assert {path.stem for path in WEB.glob("script/*.js")} == set(SCRIPTS)
    assert {path.stem for path in WEB.glob("style/*.css")} == set(STYLES)
