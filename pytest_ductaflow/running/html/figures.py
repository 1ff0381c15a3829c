"""Convert notebook outputs that nbconvert cannot show: draw Plotly figures, and name the others."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

PLOTLY = "application/vnd.plotly.v1+json"
_DRAWN = ("text/html", "image/svg+xml", "image/png", "image/jpeg")  # better than our own drawing
_DIV = """\
<div id="{id}">This figure is drawn by plotly.min.js, which is not there.</div>
<script>if (window.Plotly) {{
  document.getElementById("{id}").textContent = "";
  Plotly.newPlot("{id}", {figure});
}}</script>
"""


def plotly_script() -> Path | None:
    """Return the path of the JavaScript library of the installed Plotly; None if there is none."""
    try:
        spec = importlib.util.find_spec("plotly")
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (script := Path(folder, "package_data", "plotly.min.js")).is_file():
            return script
    return None


def has_plotly_figures(notebook: Any) -> bool:
    """Return whether a notebook has figures that need Plotly's library."""
    return any(_needs_plotly(output["data"]) for _, output in _outputs(notebook))


def make_displayable(notebook: Any, known: Collection[str], *, with_plotly: bool) -> list[str]:
    """Give each output a form that a page can show.

    Args:
        notebook: The executed notebook; changed.
        known: The MIME types that nbconvert can show.
        with_plotly: Whether the page has Plotly's library.

    Returns:
        Sentences on what the page does not show.
    """
    lost = []
    for number, (cell, output) in enumerate(_outputs(notebook)):
        data = output["data"]
        if not data:
            data["text/plain"] = ""
        elif with_plotly and _needs_plotly(data):
            data["text/html"] = _DIV.format(id=f"plotly-{number}", figure=_as_script(data[PLOTLY]))
        elif _needs_plotly(data) or not set(known).intersection(data):
            what = f"{', '.join(sorted(set(data) - {'text/plain'}))}, is only in the notebook"
            cure = ": install plotly beside pytest, or set PLOTLY_RENDERER=notebook" if PLOTLY in data else ""
            data["text/plain"] = f"This output, {what}{cure}."
            lost.append(f"an output of cell {cell.get('execution_count')}, {what}{cure}")
    return lost


def _outputs(notebook: Any) -> list[tuple[Any, Any]]:
    return [
        (cell, output)
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.get("outputs", ())
        if "data" in output
    ]


def _needs_plotly(data: Any) -> bool:
    return PLOTLY in data and not any(kind in data for kind in _DRAWN)


def _as_script(figure: Any) -> str:
    """Return a figure as JSON that cannot end the script element around it."""
    drawn = {name: figure[name] for name in ("data", "layout", "config", "frames") if name in figure}
    return json.dumps(drawn).replace("<", "\\u003c")
