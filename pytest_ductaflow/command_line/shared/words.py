"""Format times, sizes and tables for people, and data as JSON."""

from __future__ import annotations

import datetime
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from ...core.number_text import in_line
from ...core.record import Status

CUT_OFF, NOT_RUN = "cut off", "not run"  # a process that was killed; an instance that is only declared
STATUSES = (*(status.value for status in Status), CUT_OFF, NOT_RUN)
_COLOURS = {
    Status.SUCCESS: "green",
    Status.WARNING: "yellow",
    Status.ERROR: "red",
    CUT_OFF: "red",
    Status.RUNNING: "cyan",
}
_MINUTE, _HOUR = 60, 3600


def duration(seconds: float | None) -> str:
    """Return a duration: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`; "" if it is not known."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def time_of(started: str) -> datetime.datetime | None:
    """Return a record's time as local time; None if it has none."""
    try:
        return datetime.datetime.fromisoformat(started).astimezone()
    except ValueError:
        return None


def when(started: str) -> str:
    """Return a record's time for people: `2026-03-01 14:05`; "" if it has none."""
    time = time_of(started)
    return f"{time:%Y-%m-%d %H:%M}" if time is not None else ""


def seconds_since(started: str) -> float | None:
    """Return how long ago a record's time was; None if it has none."""
    time = time_of(started)
    if time is None:
        return None
    return max((datetime.datetime.now(datetime.UTC) - time).total_seconds(), 0.0)


def ago(started: str) -> str:
    """Return how long ago a record's time was: `3 min ago`."""
    seconds = seconds_since(started)
    if seconds is None:
        return "at an unknown time"
    for unit, name in ((86_400, "day"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            count = int(seconds // unit)
            return f"{count} {name}{'s' * (name == 'day' and count != 1)} ago"
    return "just now"


def light(status: str) -> str:
    """Return a status in its colour, which is left out where output is piped."""
    return click.style(status, fg=_COLOURS.get(status))


def table(rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Return the lines of a table; the first row is its head, columns in `right` are numbers."""
    texts = [[in_line(click.unstyle(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    numbers = set(right)
    lines = []
    for row, text in zip(rows, texts, strict=True):
        cells = []
        for place, (cell, plain, width) in enumerate(zip(row, text, widths, strict=True)):
            space = " " * (width - len(plain))
            kept = cell if click.unstyle(cell) == plain else plain
            cells.append(f"{space}{kept}" if place in numbers else f"{kept}{space}")
        lines.append("  ".join(cells).rstrip())
    return lines


def fitting(text: str, width: int) -> str:
    """Return a text on one line, cut to a width where output goes to a terminal."""
    line = in_line(text)
    return line if not sys.stdout.isatty() or len(line) <= width else f"{line[: max(width - 1, 0)]}…"


def print_json(data: Any) -> None:
    """Print data as JSON: NaN and infinity as texts, and in ASCII where not all characters can be printed."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf8")
    plain = _without_odd_numbers(data)
    click.echo(json.dumps(plain, indent=2, ensure_ascii=not is_utf8, allow_nan=False, default=str))


def _without_odd_numbers(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_odd_numbers(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [*map(_without_odd_numbers, data)]
    is_odd = isinstance(data, float) and not math.isfinite(data)
    return json.dumps(data) if is_odd else data  # "NaN", "Infinity", "-Infinity"


def count_of(number: int, what: str) -> str:
    """Return a number and what is counted: `1 file`, `3 files`."""
    return f"{number:,} {what}{'s' * (number != 1)}"
