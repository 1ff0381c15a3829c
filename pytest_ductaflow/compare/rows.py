"""Which row of the table that was found belongs to which of the table that is expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..quantities import listed
from .values import Array

_Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class Rows:
    """Pairs of rows.

    Attributes:
        expected: Their positions in the table that is expected.
        found: Their positions in the other.
        name: What a pair is called.
        notes: Of rows that have no partner.
    """

    expected: Array
    found: Array
    name: Callable[[int], str]
    notes: tuple[str, ...]


def matched_rows(
    expected: pd.DataFrame, found: pd.DataFrame, keys: Sequence[str], cell: Callable[[object], object]
) -> Rows:
    """Rows with the same keys, or without keys those at the same position."""
    if not keys:
        return _by_position(len(expected), len(found))
    problems = [
        f"rows cannot be matched: {key!r} is a key, but no column of the {whose} table "
        f"(columns: {listed(map(str, table))})"
        for table, whose in ((expected, "expected"), (found, "found"))
        for key in keys
        if key not in table
    ]
    if problems:
        return _unmatched(problems)
    ours, theirs = (_keys(table, keys, cell) for table in (expected, found))
    name = _namer(keys)
    problems = [
        f"rows cannot be matched: in the {whose} table several rows have {names}"
        for rows, whose in ((ours, "expected"), (theirs, "found"))
        if (names := _listed_rows((key for key, times in Counter(rows).items() if times > 1), name))
    ]
    return _unmatched(problems) if problems else _by_key(ours, theirs, name)


def _by_position(expected: int, found: int) -> Rows:
    both = np.arange(min(expected, found))
    notes = () if expected == found else (f"{expected:,} rows expected, {found:,} found",)
    return Rows(both, both, lambda position: f"row {position + 1}", notes)


def _by_key(ours: list[_Key], theirs: list[_Key], name: Callable[[_Key], str]) -> Rows:
    places = {key: position for position, key in enumerate(theirs)}
    known = set(ours)
    expected = [position for position, key in enumerate(ours) if key in places]
    found = [places[ours[position]] for position in expected]
    unpaired = {
        "missing": [key for key in ours if key not in places],
        "not expected": [key for key in theirs if key not in known],
    }
    notes = tuple(
        f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'} {what}: {_listed_rows(rows, name)}"
        for what, rows in unpaired.items()
        if rows
    )
    return Rows(
        np.array(expected, dtype=int),
        np.array(found, dtype=int),
        lambda position: name(ours[expected[position]]),
        notes,
    )


def _unmatched(problems: Iterable[str]) -> Rows:
    nothing = np.array([], dtype=int)
    return Rows(nothing, nothing, str, tuple(problems))


def _keys(table: pd.DataFrame, keys: Sequence[str], cell: Callable[[object], object]) -> list[_Key]:
    columns = [[cell(value) for value in table[key].astype(object)] for key in keys]
    return list(zip(*columns, strict=True))


def _namer(keys: Sequence[str]) -> Callable[[_Key], str]:
    def name(key: _Key) -> str:
        parts = zip(keys, key, strict=True)
        return ", ".join(f"{column}={'missing' if value is None else value}" for column, value in parts)

    return name


def _listed_rows(rows: Iterable[_Key], name: Callable[[_Key], str]) -> str:
    return listed(name(key) if len(key) == 1 else f"({name(key)})" for key in rows)
