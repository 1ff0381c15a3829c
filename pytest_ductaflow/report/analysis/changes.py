"""Say what has changed since the session before: lights, durations, results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.record import Status
from .sweep import Result, number_of

_SLOWER = 1.5  # times the duration before
_SECONDS = 1.0  # and so much longer
_KINDS = {
    "newly red": (Status.ERROR, (Status.SUCCESS, Status.WARNING, Status.BLOCKED)),
    "newly blocked": (Status.BLOCKED, (Status.SUCCESS, Status.WARNING, Status.ERROR)),
    "newly orange": (Status.WARNING, (Status.SUCCESS, Status.ERROR, Status.BLOCKED)),
    "newly green": (Status.SUCCESS, (Status.WARNING, Status.ERROR, Status.BLOCKED)),
}
_WELL = (Status.SUCCESS, Status.WARNING)


@dataclass(frozen=True)
class Moved:
    """A result that has other values than before.

    Attributes:
        name: Its column.
        rows: Numbers of the rows in which it differs, the largest relative change first.
        largest: That change, |now - before| / |before|; None if no value before is a number other than 0, or
            if one was 0 and is now another number.
    """

    name: str
    rows: tuple[int, ...]
    largest: float | None


@dataclass
class Changes:
    """What differs from the session before.

    Attributes:
        rows: Numbers of rows by kind: `newly red`, `slower`, `with fewer results`, `new`, …
        moved: Results with other values.
        compared: Number of rows that have ended now and before.
    """

    rows: dict[str, list[int]] = field(default_factory=dict)
    moved: list[Moved] = field(default_factory=list)
    compared: int = 0


def before_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return of an earlier session's row what a later one is compared with; None if it had not ended."""
    if row["status"] in ("waiting", Status.RUNNING.value):
        return row.get("before")  # a session that was killed knew what had been before it
    kept = {key: row.get(key) for key in ("status", "duration", "results")}
    return {key: value for key, value in kept.items() if value}


def changes_of(rows: Sequence[Mapping[str, Any]], results: Sequence[Result], places: Any) -> Changes:
    """Compare the rows of this session that have ended with what they were before.

    Args:
        rows: All rows, with what they were before in `before`.
        results: Their results as columns.
        places: For each place of a result its file's stem and its key.
    """
    changes = Changes()
    compared = []
    for number, row in enumerate(rows):
        if row.get("earlier") or row["status"] in ("waiting", Status.RUNNING.value):
            continue
        before = row.get("before")
        if before is None:
            changes.rows.setdefault("new", []).append(number)
            continue
        compared.append(number)
        for kind in _kinds(row, before):
            changes.rows.setdefault(kind, []).append(number)
    changes.compared = len(compared)
    if compared:
        found = (_moved(each, places[each.place], compared, rows) for each in results)
        changes.moved = [moved for _, moved in sorted(filter(None, found), key=lambda pair: -pair[0])]
    else:
        changes.rows.pop("new", None)  # all are: there was no session before
    return changes


def _kinds(row: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    kinds = [kind for kind, (now, was) in _KINDS.items() if row["status"] == now and before["status"] in was]
    took, took_before = row.get("duration"), before.get("duration")
    if took and took_before and not row.get("unchanged"):
        if took > took_before * _SLOWER and took - took_before > _SECONDS:
            kinds.append("slower")
        elif took_before > took * _SLOWER and took_before - took > _SECONDS:
            kinds.append("faster")
    if row["status"] in _WELL and before["status"] in _WELL:
        now, was = _places(row), _places(before)
        kinds += ["with fewer results"] * bool(was - now) + ["with more results"] * bool(now - was)
    return kinds


def _places(row: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return which results a row has: stem of the file and key of each."""
    return {(stem, key) for stem, values in (row.get("results") or {}).items() for key in values}


def _moved(
    result: Result, place: tuple[str, str], compared: Sequence[int], rows: Sequence[Mapping[str, Any]]
) -> tuple[float, Moved] | None:
    """Return a result that has moved, with its largest relative change; infinite if one was 0."""
    stem, key = place
    found: list[tuple[float, int]] = []
    for number in compared:
        now = result.values[number]
        was = ((rows[number]["before"].get("results") or {}).get(stem) or {}).get(key)
        if now is not None and was is not None and now != was and str(now) != str(was):
            found.append((_relative(now, was), number))
    if not found:
        return None
    found.sort(key=lambda pair: -pair[0])
    largest = found[0][0]
    told = largest if largest and math.isfinite(largest) else None
    return largest, Moved(result.name, tuple(number for _, number in found), told)


def _relative(now: Any, was: Any) -> float:
    first, second = number_of(now), number_of(was)
    if first is None or second is None:
        return 0.0
    return abs(first - second) / abs(second) if second else math.inf
