"""An executed notebook as an HTML page; all pages share one stylesheet under `runs/`.

The home of nbconvert. A page of its own would carry 280 KB of the same styles each.
"""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat

from .store import STYLESHEET, write_atomic

# The lab template, but its styles are linked, and scripts from the net are left out where the
# notebook has no use for them: a page must open without a network.
_LINKED = """\
{%- extends 'lab/index.html.j2' -%}
{% block notebook_css %}<link rel="stylesheet" href="{{ resources.ductaflow.stylesheet }}">{% endblock %}
{% block html_head_js_requirejs %}{% if resources.ductaflow.require %}{{ super() }}{% endif %}{% endblock %}
{% block html_head_js_mathjax %}{% if resources.ductaflow.mathjax %}{{ super() }}{% endif %}{% endblock %}
{% block html_head_js_mermaidjs %}{% if resources.ductaflow.mermaid %}{{ super() }}{% endif %}{% endblock %}
"""
_MATHS = re.compile(r"\$|\\\\\(|\\\\\[|text/latex")


@lru_cache(maxsize=1)
def _exporter() -> Any:
    from jinja2 import DictLoader
    from nbconvert.exporters import HTMLExporter
    from traitlets.config import Config

    exporter = HTMLExporter(
        config=Config(CSSHTMLHeaderPreprocessor={"enabled": False}),
        template_name="lab",
        template_file="ductaflow.html.j2",
        extra_loaders=[DictLoader({"ductaflow.html.j2": _LINKED})],
    )
    exporter.exclude_anchor_links = True
    exporter.log = logging.getLogger("pytest_ductaflow.html")
    exporter.log.disabled = True  # "alternative text is missing", for every figure
    return exporter


@lru_cache(maxsize=1)
def stylesheet() -> str:
    """The lab template's styles, taken from the page of an empty notebook."""
    from nbconvert.exporters import HTMLExporter

    page, _ = HTMLExporter(template_name="lab").from_notebook_node(nbformat.v4.new_notebook())
    return "\n".join(re.findall(r"<style[^>]*>(.*?)</style>", page, flags=re.DOTALL))


def write_html(notebook: Path, page: Path, runs: Path) -> None:
    """Write a notebook's page, and the stylesheet if it is not there yet.

    Args:
        notebook: The executed notebook.
        page: Where the page goes.
        runs: The folder that holds the stylesheet of all pages.

    Raises:
        Exception: Whatever nbconvert and its filters raise; the notebook itself is safe.
    """
    shared = runs / STYLESHEET
    if not shared.exists():
        shared.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(shared, stylesheet())
    text = notebook.read_text(encoding="utf-8")
    ours = {
        "stylesheet": quote(Path(os.path.relpath(shared, page.parent)).as_posix()),
        "require": "require" in text,
        "mathjax": bool(_MATHS.search(text)),
        "mermaid": "mermaid" in text,
    }
    resources = {"metadata": {"name": page.stem}, "inlining": {"css": []}, "ductaflow": ours}
    body, _ = _exporter().from_notebook_node(nbformat.reads(text, as_version=4), resources=resources)
    write_atomic(page, body)


def write_full_html(notebook: Path, page: Path, template: str) -> None:
    """Write a page that stands alone, styles and all.

    Raises:
        ValueError: If nbconvert has no such template.
    """
    from nbconvert.exporters import HTMLExporter

    body, _ = HTMLExporter(template_name=template).from_filename(str(notebook))
    write_atomic(page, body)
