"""Render an executed notebook as an HTML page; all pages share one stylesheet under `runs/`.

The only module that imports nbconvert. Each self-contained page would repeat 280 KB of styles.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from jinja2 import DictLoader
from nbconvert.exporters import HTMLExporter
from nbconvert.exporters.templateexporter import TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from traitlets.config import Config

from ...core.config_markdown import in_part
from ...core.run_directory.atomic import write_atomic
from ...core.run_directory.layout import PLOTLY_SCRIPT, STYLESHEET
from .figures import has_plotly_figures, make_displayable, plotly_script

# Hide require.js, which a page may have, while Plotly's library loads: it is not a module of it.
_HIDE_AMD = "<script>window.amd = window.define; window.define = undefined;</script>"
_SHOW_AMD = "<script>window.define = window.amd;</script>"
# The lab template with linked styles, and without scripts from the network that the notebook does not
# use: a page must open without a network.
_LINKED = """\
{%- extends 'lab/index.html.j2' -%}
{% block notebook_css %}
{%- if resources.ductaflow.stylesheet %}<link href="{{ resources.ductaflow.stylesheet }}" rel="stylesheet">
{%- else %}{{ super() }}{% endif %}
{%- if resources.ductaflow.plotly %}
HIDE_AMD
<script src="{{ resources.ductaflow.plotly }}"></script>
SHOW_AMD
{%- endif %}{% endblock %}
{% block html_head_js_requirejs %}{% if resources.ductaflow.require %}{{ super() }}{% endif %}{% endblock %}
{% block html_head_js_mathjax %}{% if resources.ductaflow.mathjax %}{{ super() }}{% endif %}{% endblock %}
{% block html_head_js_mermaidjs %}{% if resources.ductaflow.mermaid %}{{ super() }}{% endif %}{% endblock %}
""".replace("HIDE_AMD", _HIDE_AMD).replace("SHOW_AMD", _SHOW_AMD)
_MATHS = re.compile(r"\$|\\\\\(|\\\\\[|text/latex")


# Accessibility attributes; nbconvert's own exporter parses the whole page to add them.
_FOCUSABLE = re.compile(r'<div class="([^"]*\b(?:jp-Cell-inputWrapper|jp-OutputArea-output)\b[^"]*)"')
_PLAIN = re.compile(r"[\w .+#-]*")
_NO_ALTERNATIVE = re.compile(r"<img (?![^>]*\balt=)")
_REMEMBERED = 500  # texts; the instances of a flow share nearly all of theirs


class _Highlighted(str):
    """Code as highlighted by Pygments, in which all markup characters are escaped."""

    __slots__ = ()


class _Exporter(HTMLExporter):  # type: ignore[misc]
    """nbconvert's exporter, with a cache of what it has rendered before."""

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        for name, filter_ in super().default_filters():
            yield name, _cleaner(filter_) if name == "clean_html" else filter_

    def _preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        """Preprocess without copying and validating again: the notebook was read for this page."""
        for preprocessor in self._preprocessors:
            nb, resources = preprocessor(nb, resources)
        return nb, resources

    def from_notebook_node(self, nb: Any, resources: Any = None, **options: Any) -> tuple[str, Any]:
        language = nb.metadata.get("language_info", {})
        self.register_filter(
            "highlight_code", _highlighter(language.get("pygments_lexer", language.get("name")))
        )
        widgets = WidgetsDataTypeFilter(notebook_metadata=self._nb_metadata, parent=self, resources=resources)
        self.register_filter("filter_data_type", widgets)
        page, resources = TemplateExporter.from_notebook_node(
            self, nb, self._init_resources(resources), **options
        )
        page = _FOCUSABLE.sub(r'<div class="\1" tabindex="0"', page)
        return _NO_ALTERNATIVE.sub(
            '<img alt="No description has been provided for this image" ', page
        ), resources


def _cleaner(clean: Callable[[str], str]) -> Callable[[str], str]:
    """Return a cached filter that removes dangerous markup; highlighted code cannot have any."""
    remembered = lru_cache(_REMEMBERED)(clean)
    return lambda text: text if isinstance(text, _Highlighted) else remembered(text)


@lru_cache(maxsize=8)
def _highlighter(lexer: str | None) -> Callable[..., str]:
    highlight = Highlight2HTML(pygments_lexer=lexer)

    @lru_cache(_REMEMBERED)
    def remembered(source: str, language: str | None) -> str:
        metadata = {"magics_language": language} if language else None
        trusted = _Highlighted if _PLAIN.fullmatch(f"{lexer}{language}") else str  # both appear in the markup
        return trusted(highlight(source, metadata=metadata))

    return lambda source, metadata=None: remembered(source, (metadata or {}).get("magics_language"))


@lru_cache(maxsize=1)
def _exporter() -> Any:
    exporter = _Exporter(
        config=Config(CSSHTMLHeaderPreprocessor={"enabled": False}),
        optimistic_validation=True,
        template_name="lab",
        template_file="ductaflow.html.j2",
        extra_loaders=[DictLoader({"ductaflow.html.j2": _LINKED})],
    )
    exporter.exclude_anchor_links = True
    exporter.log = logging.getLogger("pytest_ductaflow.html")
    exporter.log.disabled = True  # it warns of missing alternative text for every figure
    return exporter


@lru_cache(maxsize=1)
def stylesheet() -> str:
    """Return the lab template's styles, taken from the page of a notebook.

    It has a cell of each kind, so that what pages need is imported and compiled afterwards.
    """
    printed = {"output_type": "stream", "name": "stdout", "text": "printed"}
    code = {"cell_type": "code", "source": "code = 1", "execution_count": 1, "outputs": [printed]}
    language = {"name": "python", "pygments_lexer": "ipython3"}
    # Its functions that make cells would validate these, and compile the schema for that.
    cells: list[dict[str, object]] = [{"cell_type": "markdown", "source": "# text"}, code]
    notebook = nbformat.from_dict(
        {"cells": [{**cell, "metadata": {}} for cell in cells], "metadata": {"language_info": language}}
    )
    # Without the styles of the user who happens to make the page.
    resources = {"config_dir": os.devnull, "ductaflow": {"mermaid": True}}
    _, resources = CSSHTMLHeaderPreprocessor().preprocess(notebook, resources)
    page, _ = _exporter().from_notebook_node(notebook, resources=resources)
    return "\n".join(re.findall(r"<style[^>]*>(.*?)</style>", page, flags=re.DOTALL))


def write_html(notebook: Path, page: Path, runs: Path) -> list[str]:
    """Write a notebook's page, and the files that all pages share if they are missing.

    Args:
        notebook: The executed notebook.
        page: Path of the page.
        runs: The folder that holds the stylesheet of all pages.

    Returns:
        Sentences on what the notebook holds and the page does not show.

    Raises:
        Exception: Anything that nbconvert and its filters raise; the notebook is not affected.
    """
    shared = runs / STYLESHEET
    if not shared.exists():
        shared.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(shared, stylesheet())
    text = notebook.read_text(encoding="utf-8")
    node = nbformat.v4.reads(text)
    script = plotly_script() if has_plotly_figures(node) else None
    if script is not None:
        _share(script, runs / PLOTLY_SCRIPT)
    ours = {
        "stylesheet": _link(shared, page),
        "plotly": _link(runs / PLOTLY_SCRIPT, page) if script is not None else "",
        "require": "require" in text,
        "mathjax": bool(_MATHS.search(text)),
        "mermaid": "mermaid" in text,
    }
    resources = {"metadata": {"name": page.stem}, "inlining": {"css": []}, "ductaflow": ours}
    _shorten_parameters(node)
    lost = make_displayable(node, _displayable(), with_plotly=script is not None)
    body, _ = _exporter().from_notebook_node(node, resources=resources)
    write_atomic(page, body)
    return lost


def _shorten_parameters(node: Any) -> None:
    """Shorten long values of the config on the page; the notebook has them in full."""
    for cell in node.cells:
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.source = "\n".join(map(in_part, cell.source.split("\n")))


def _link(file: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(file, page.parent)).as_posix())


def _share(script: Path, shared: Path) -> None:
    """Copy a library to where all pages find it, unless this version is there already."""
    if not shared.exists() or shared.stat().st_size != script.stat().st_size:
        write_atomic(shared, script.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _displayable() -> frozenset[str]:
    return frozenset(_exporter().config.NbConvertBase.display_data_priority)


def write_full_html(notebook: Path, page: Path, template: str) -> None:
    """Write a self-contained page, with its styles.

    Raises:
        ValueError: If nbconvert has no such template.
    """
    node = nbformat.read(notebook, as_version=4)
    script = plotly_script() if has_plotly_figures(node) else None
    make_displayable(node, _displayable(), with_plotly=script is not None)
    body, _ = HTMLExporter(template_name=template).from_notebook_node(
        node, resources={"metadata": {"name": notebook.stem}}
    )
    if script is not None:
        library = f"{_HIDE_AMD}<script>{script.read_text(encoding='utf-8')}</script>{_SHOW_AMD}"
        body = (
            f"{library}\n{body}" if "</head>" not in body else body.replace("</head>", f"{library}</head>", 1)
        )
    write_atomic(page, body)
