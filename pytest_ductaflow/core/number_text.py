"""Format numbers and names for messages and tables, and read times and sizes as users write them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_WIDEST = 1_000  # characters of a line of Markdown
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600}
_BYTES = {
    "": 1,
    "b": 1,
    "bytes": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?) *([A-Za-z]*)", re.ASCII)


def amount(number: float) -> str:
    """Return a number with at least four significant digits: `0.1448`, `600.2`, `12,480`."""
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.4g}"


def percent(share: float) -> str:
    """Return a share in per cent: `4 %` for 0.04."""
    number = 100 * share
    return f"{number:,.0f} %" if 1e4 <= abs(number) < 1e15 else f"{number:.3g} %"


def in_bytes(number: float) -> str:
    """Return a number of bytes, or of characters, with a unit: `3.2 GB`, `410 kB`."""
    for unit in ("bytes", "kB", "MB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{amount(number)} GB"


def rounded_time(seconds: float) -> str:
    """Return a time as short as it can be told: `95 s`, `4 min`, `2 h 10 min`."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def in_line(text: str) -> str:
    """Return a name with control characters escaped, so that it stays on one line."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def listed(names: Iterable[str], at_most: int = 10) -> str:
    """Join names for a sentence; if there are many, only the first ones and the number of others."""
    all_names = list(names)
    more = len(all_names) - at_most
    return ", ".join(all_names[:at_most]) + (f" and {more:,} more" if more > 0 else "")


def escaped(text: str) -> str:
    """Return text as one line, escaped for Markdown, its tables and HTML."""
    line = " ".join(text.split())[:_WIDEST]
    return re.sub(r"[^\w\s.,:/=() -]|_", lambda found: f"&#{ord(found[0])};", line)


def fenced(text: str) -> str:
    """Return text as a block of code in Markdown, which nothing in it can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}\n"


def seconds_in(text: str) -> float:
    """Return the seconds of a time.

    Raises:
        ValueError: If it is none, or no time at all.
    """
    number, unit = _split(text)
    seconds = number * _SECONDS.get(unit, 0)
    if not 0 < seconds < math.inf:
        raise ValueError("expected a time such as 90s, 10min or 2h")
    return seconds


def bytes_in(text: str) -> int:
    """Return the bytes of a size; `kB`, `MB` and `GB` are powers of 1000, `KiB`, `MiB` and `GiB` of 1024.

    Raises:
        ValueError: If it is none, or less than a byte.
    """
    number, unit = _split(text)
    size = number * _BYTES.get(unit.lower(), 0)
    if not 1 <= size < math.inf:
        raise ValueError("expected a size such as 500 MB, 2GB or a number of bytes")
    return int(size)


def _split(text: str) -> tuple[float, str]:
    found = _NUMBER_AND_UNIT.fullmatch(text.strip())
    return (float(found[1]), found[2]) if found else (0.0, "")
