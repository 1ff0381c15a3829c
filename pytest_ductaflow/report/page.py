"""Put the status report together: one self-contained HTML page, a static template with embedded data.

Its parts are in `web/`: the template, the style sheets and the scripts, one for each topic, which are
written into the page in the order of `SCRIPTS`. A content-security policy lets run these scripts and no
others, and lets nothing be loaded but figures and the page itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .analysis.summary import Summed, summary_of
from .packed_rows import PackedRow, PackedRows, unpack
from .page_json import encode

SCHEMA = 2  # of the data
STYLES = ("page", "rows", "views", "gallery", "graph", "timeline", "media")
SCRIPTS = (
    *("elements", "words", "rows", "state", "columns", "filters", "header", "windowed", "details"),
    *("instances", "charts", "groups", "pivot", "results", "gallery", "layers", "graph", "spans", "timeline"),
    *("follow", "start"),
)
_DATA = re.compile(r'<script[^>]* id="ductaflow-data">(.*?)</script>', re.DOTALL)
_POLICY = {
    "default-src": "'none'",
    "img-src": "'self' file: data:",
    "frame-src": "'self' file:",
    "base-uri": "'none'",
    "form-action": "'none'",
}


def render(data: dict[str, Any]) -> str:
    """Return the page for `data`, with its rows under `rows`."""
    header = {key: value for key, value in data.items() if key != "rows"}
    packed = PackedRows()
    rows = [Summed(row, packed.pack(row)) for row in data["rows"]]
    return "".join(assemble({**header, **summary_of(rows, packed)}, packed, (row.packed for row in rows)))


def assemble(header: dict[str, Any], packed: PackedRows, rows: Iterable[PackedRow]) -> Iterator[str]:
    """Yield the parts of a page for rows that are already packed: most do not change between two writes.

    Args:
        header: What the page says of the session, and `summary_of` its rows.
        packed: Dictionaries of the rows.
        rows: The rows.
    """
    head, tail = _template()
    yield f'{head}{encode(header)[:-1]},{packed.dictionaries()},"rows":['
    for number, row in enumerate(rows):
        yield f",{row.text}" if number else row.text
    yield f"]}}{tail}"


def read(path: Path) -> dict[str, Any]:
    """Read the data from a page that `assemble` made.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not such a page.
    """
    return data_of(path.read_text(encoding="utf-8"))


def data_of(page: str) -> dict[str, Any]:
    """Return the data of a page, with its rows as they were given.

    Raises:
        ValueError: If it is not such a page.
    """
    found = _DATA.search(page)
    data = json.loads(found[1]) if found else None
    if not isinstance(data, dict) or not isinstance(data.get("rows"), list):
        raise ValueError("not a report with its data")
    try:
        return {**data, "rows": unpack(data)}
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"its rows cannot be read: {error}") from None


@cache
def _template() -> tuple[str, str]:
    """Return the parts of the page before and after the data."""
    folder = Path(__file__).parent / "web"
    page = (folder / "page.html").read_text("utf-8")
    style = "\n".join((folder / f"style/{name}.css").read_text("utf-8") for name in STYLES)
    scripts = ((folder / f"script/{name}.js").read_text("utf-8") for name in SCRIPTS)
    script = '"use strict";\n' + "\n".join(scripts)
    policy = _POLICY | {"script-src": _hash(f"\n{script}\n"), "style-src": _hash(f"\n{style}\n")}
    page = page.replace("ductaflow:policy", "; ".join(f"{key} {value}" for key, value in policy.items()))
    page = page.replace("/*ductaflow:css*/", style).replace("/*ductaflow:js*/", script)
    head, tail = page.split('{"ductaflow": "data"}')
    return head, tail


def _hash(text: str) -> str:
    """Return how a policy names an inline script or style with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
