"""Match the rows of a found table with those of the expected table."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from ...core.number_text import listed
from .cells import objects_in
from .tolerance import Tolerance
from .values import Array, is_within

_Key = tuple[Hashable, ...]


@dataclass(frozen=True)
class Rows:
    """The matched pairs of rows.

    Attributes:
        expected: Their positions in the expected table.
        found: Their positions in the found table.
        name: Function that returns the name of a pair.
        notes: Notes on rows without a partner.
    """

    expected: Array
    found: Array
    name: Callable[[int], str]
    notes: tuple[str, ...]


def matched_rows(
    expected: pd.DataFrame,
    found: pd.DataFrame,
    tolerance: Tolerance,
    meaning: Callable[[pd.Series, pd.Series], Callable[[object], object]],
) -> Rows:
    """Return pairs of rows with the same keys or, if no keys are given, at the same position.

    Keys that are floats are matched within the tolerance of their column, all others exactly.
    """
    keys = tolerance.keys
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
    cells = {key: meaning(expected[key], found[key]) for key in keys}
    ours, theirs = (_keys(table, cells) for table in (expected, found))
    name = _namer(keys)
    problems = [
        f"rows cannot be matched: in the {whose} table several rows have {names}"
        for rows, whose in ((ours, "expected"), (theirs, "found"))
        if (names := _listed_rows((key for key, times in Counter(rows).items() if times > 1), name))
    ]
    if problems:
        return _unmatched(problems)
    return _by_key(ours, _with_expected_fractions(ours, theirs, tolerance), name)


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


def _with_expected_fractions(ours: list[_Key], theirs: list[_Key], tolerance: Tolerance) -> list[_Key]:
    """Return their keys, replaced by ours where these differ only in floats and within the tolerance.

    If several keys are that close, none is replaced.
    """
    places = range(len(tolerance.keys))
    fractions = [n for n in places if any(isinstance(key[n], float) for key in (*ours, *theirs))]
    known = set(ours) & set(theirs)
    groups: dict[_Key, list[tuple[float, int]]] = {}
    for position, key in enumerate(theirs):
        if fractions and key not in known and _are_numbers(key, fractions):
            groups.setdefault(_without(key, fractions), []).append((_first(key, fractions), position))
    for group in groups.values():
        group.sort()
    own = [tolerance.of_column(name) for name in tolerance.keys]
    near: dict[int, list[_Key]] = {}
    for key in ours if groups else ():
        if key not in known and _are_numbers(key, fractions):
            group = groups.get(_without(key, fractions), [])
            found = [
                position
                for position in _around(group, _first(key, fractions), own[fractions[0]])
                if all(is_within(key[n], theirs[position][n], own[n]) for n in fractions)
            ]
            for position in found:
                near.setdefault(position, []).extend([key] * len(found))
    return [near[n][0] if len(near.get(n, ())) == 1 else key for n, key in enumerate(theirs)]


def _are_numbers(key: _Key, places: Iterable[int]) -> bool:
    return all(isinstance(key[n], int | float) for n in places)


def _without(key: _Key, places: Sequence[int]) -> _Key:
    return tuple(part for n, part in enumerate(key) if n not in places)


def _first(key: _Key, places: Sequence[int]) -> float:
    return cast("float", key[places[0]])


def _around(group: Sequence[tuple[float, int]], number: float, tolerance: Tolerance) -> Iterator[int]:
    """Yield the positions of numbers that may be within the tolerance."""
    bound = max(tolerance.atol, tolerance.rtol * abs(number))
    start = bisect_left(group, (number - bound, 0))
    for other, position in group[start:]:
        if other > number + bound:
            return
        yield position


def _unmatched(problems: Iterable[str]) -> Rows:
    nothing = np.array([], dtype=int)
    return Rows(nothing, nothing, str, tuple(problems))


def _keys(table: pd.DataFrame, cells: Mapping[str, Callable[[object], object]]) -> list[_Key]:
    columns = [[_hashable(cell(value)) for value in objects_in(table[key])] for key, cell in cells.items()]
    return list(zip(*columns, strict=True))


def _hashable(value: object) -> Hashable:
    return str(value) if isinstance(value, list | dict) else value


def _namer(keys: Sequence[str]) -> Callable[[_Key], str]:
    def name(key: _Key) -> str:
        parts = zip(keys, key, strict=True)
        return ", ".join(f"{column}={'missing' if value is None else value}" for column, value in parts)

    return name


def _listed_rows(rows: Iterable[_Key], name: Callable[[_Key], str]) -> str:
    return listed(name(key) if len(key) == 1 else f"({name(key)})" for key in rows)
