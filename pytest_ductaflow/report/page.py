"""Render the status report as one self-contained HTML page: a static template with embedded data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = 1  # of the data
# Output of Python's json that JavaScript cannot read, or not exactly: see _plain().
_SUSPECT = re.compile(r"\bNaN\b|\bInfinity\b|(?<![.\d])\d{16}")
_EXACT = 2**53
_DATA = re.compile(r'<script[^>]* id="ductaflow-data">(.*?)</script>', re.DOTALL)


def render(data: dict[str, Any]) -> str:
    """Return the page for `data`, with its rows under `rows`."""
    header = {key: value for key, value in data.items() if key != "rows"}
    return assemble(header, [encode(row) for row in data["rows"]])


def assemble(header: dict[str, Any], encoded_rows: Iterable[str]) -> str:
    """Return the page for rows that are already encoded, since most do not change between two writes."""
    head, tail = _template()
    return f'{head}{encode(header)[:-1]},"rows":[{",".join(encoded_rows)}]}}{tail}'


def read(path: Path) -> dict[str, Any]:
    """Read the data from a page that `assemble` made.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not such a page.
    """
    found = _DATA.search(path.read_text(encoding="utf-8"))
    data = json.loads(found[1]) if found else None
    if not isinstance(data, dict) or not isinstance(data.get("rows"), list):
        raise ValueError("not a report with its data")
    return data


@cache
def _template() -> tuple[str, str]:
    """Return the parts of the page before and after the data."""
    folder = Path(__file__).parent
    page, css, js = ((folder / f"page.{end}").read_text("utf-8") for end in ("html", "css", "js"))
    page = page.replace("/*ductaflow:css*/", css).replace("/*ductaflow:js*/", js)
    head, tail = page.split('{"ductaflow": "data"}')
    return head, tail


def encode(data: dict[str, Any]) -> str:
    """Return JSON that no HTML parser mistakes for markup."""
    text = _json(data)
    if _SUSPECT.search(text):
        text = _json(_plain(data))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:
    """Return `value` with numbers that JavaScript cannot represent, such as NaN and 2**60, as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    return value
