"""Compare tables: which columns and rows exist, and their values column by column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeAlias, TypeGuard

import numpy as np
import pandas as pd

from ...core.number_text import listed
from .cells import objects_in, plain
from .findings import Findings, with_kinds
from .row_matching import Rows, matched_rows
from .tolerance import Tolerance
from .values import Array, Gaps, gaps_of_arrays, gaps_of_cells, without_measure

Cell: TypeAlias = Callable[[object], object]
Meaning: TypeAlias = Callable[[pd.Series, pd.Series], Cell]
_LARGE = 1e300  # numbers up to this size can be formatted as floats
_DIGITS = 6  # significant digits by which rows are sorted, to be compared in any order


def compare_tables(
    expected: pd.DataFrame,
    found: pd.DataFrame,
    tolerance: Tolerance,
    findings: Findings,
    *,
    meaning: Meaning = lambda _expected, _found: plain,
    prefix: str = "",
) -> None:
    """Compare two tables whose column names are unique texts.

    Args:
        expected: Expected table; its columns of objects hold plain values.
        found: Found table, likewise.
        tolerance: Tolerance; rows are matched by its keys if it has any, else by position.
        findings: Collector of what differs.
        meaning: Function that returns a column's cell converter: texts of a CSV file may be numbers.
        prefix: Text before the place of a value, `sheet x, `.
    """
    columns = _common_columns(expected, found, tolerance, findings, prefix)
    rows = matched_rows(expected, found, tolerance, meaning)
    findings.note(*(prefix + note for note in rows.notes))
    cells = {name: meaning(expected[name], found[name]) for name in columns}
    differing = [
        _compare_column(name, expected[name], found[name], rows, tolerance, findings, cell, prefix)
        for name, cell in cells.items()
    ]
    if len(expected) != len(found) or tolerance.keys or not any(map(len, differing)):
        return
    others = np.unique(np.concatenate(differing))
    if _is_reordered(expected.iloc[others], found.iloc[others], cells, tolerance):
        remedy = '"keys" names the columns that tell them apart'
        findings.note(f"{prefix}its rows are those expected, in another order: {remedy}")


def _is_reordered(
    expected: pd.DataFrame, found: pd.DataFrame, cells: Mapping[str, Cell], tolerance: Tolerance
) -> bool:
    """Return whether rows that differ at their positions are as expected once both tables are sorted."""
    ours, theirs = (_sorted_columns(table, cells) for table in (expected, found))
    return not any(
        len(gaps_of_cells(one, other, tolerance.of_column(name)).positions)
        for name, one, other in zip(cells, ours, theirs, strict=True)
    )


def _sorted_columns(table: pd.DataFrame, cells: Mapping[str, Cell]) -> list[list[object]]:
    """Return the columns of a table, its rows sorted by rounded values first, against noise."""
    columns = [[*map(cell, objects_in(table[name]))] for name, cell in cells.items()]
    rounded = [[*map(_rounded, column)] for column in columns]
    numbers = [[value if _is_finite(value) else 0.0 for value in column] for column in columns]
    keys = [*zip(*rounded, *numbers, strict=True)]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [[column[position] for position in order] for column in columns]


def _rounded(value: object) -> str:
    return f"{value:.{_DIGITS}g}" if _is_finite(value) else repr(value)


def _is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a number that can be rounded and put in order."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGE


def _common_columns(
    expected: pd.DataFrame, found: pd.DataFrame, tolerance: Tolerance, findings: Findings, prefix: str
) -> list[str]:
    findings.names |= {*map(str, expected), *map(str, found)}
    ours, theirs = (
        [name for name in map(str, table) if not tolerance.ignores(name)] for table in (expected, found)
    )
    missing, extra = set(ours) - set(theirs), set(theirs) - set(ours)
    for names, what in ((missing, "missing"), (extra, "not expected")):
        if names:
            noun = "column" if len(names) == 1 else "columns"
            in_order = (_called(name) for name in (*ours, *theirs) if name in names)
            findings.note(f"{prefix}{noun} {what}: {listed(in_order)}")
    common = [name for name in ours if name not in missing]
    other_order = [name for name in theirs if name not in extra]
    if common != other_order:
        findings.note(
            f"{prefix}columns in another order: {listed(map(_called, common))} expected, "
            f"{listed(map(_called, other_order))} found"
        )
    return [name for name in common if name not in tolerance.keys]


def _compare_column(
    name: str,
    expected: pd.Series,
    found: pd.Series,
    rows: Rows,
    tolerance: Tolerance,
    findings: Findings,
    cell: Cell,
    prefix: str,
) -> Array:
    """Compare a column and return the positions of the pairs of rows whose values differ."""
    kinds = _kind(expected), _kind(found)
    if kinds[0] != kinds[1]:
        findings.note(f"{prefix}column {_called(name)}: {kinds[0]} expected, {kinds[1]} found")
    ours, theirs = expected.iloc[rows.expected], found.iloc[rows.found]
    findings.compared += len(ours)
    gaps = _gaps(ours, theirs, tolerance.of_column(name), cell)
    if len(ours) > 1 and len(gaps.positions) == len(ours) and np.isnan(gaps.absolute).all():
        remedy = f'"ignore": ["{name}"] leaves it out, if it is a time stamp'
        findings.note(
            f"{prefix}column {_called(name)}: no value is as expected, and none is a number; {remedy}"
        )
    findings.add(
        gaps,
        lambda position: f"{prefix}{rows.name(position)}, {_called(name)}",
        lambda position: with_kinds(ours.iloc[position], theirs.iloc[position], _text),
    )
    return gaps.positions


def _kind(column: pd.Series) -> str:
    """Return the type of a column; text has one name, since its dtype depends on the writing program."""
    is_text = column.dtype == object or pd.api.types.is_string_dtype(column.dtype)
    return "text or objects" if is_text else str(column.dtype)


def _gaps(expected: pd.Series, found: pd.Series, tolerance: Tolerance, cell: Cell) -> Gaps:
    if all(isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf" for column in (expected, found)):
        return gaps_of_arrays(expected.to_numpy(), found.to_numpy(), tolerance)
    positions = np.flatnonzero(~_same(expected, found))
    if not len(positions):
        return without_measure(positions)
    ours, theirs = ([*map(cell, objects_in(column.iloc[positions]))] for column in (expected, found))
    return gaps_of_cells(ours, theirs, tolerance).of(positions)


def _same(expected: pd.Series, found: pd.Series) -> Array:
    """Return which cells are equal without conversion."""
    if expected.dtype == found.dtype and expected.dtype not in (object, "category"):
        equal = pd.Series(expected.array == found.array).fillna(False)
        both_missing = expected.isna().to_numpy() & found.isna().to_numpy()
        return np.asarray(equal, dtype=bool) | both_missing
    ours, theirs = objects_in(expected), objects_in(found)
    same = np.asarray(ours == theirs, dtype=bool)
    types = {*map(type, ours), *map(type, theirs)}
    if {bool, np.bool_} & types:  # True == 1
        same &= _are(ours, bool, np.bool_) == _are(theirs, bool, np.bool_)
    if {list, dict} & types:  # True == 1 inside them, too
        same &= ~_are(ours, list, dict)
    return same


def _are(cells: Array, *types: type) -> Array:
    return np.fromiter((isinstance(cell, types) for cell in cells), dtype=bool, count=len(cells))


def _text(cell: object) -> str:
    if isinstance(cell, str):
        return cell or "missing"
    value = plain(cell)
    if value is None:
        return "missing"
    return str(cell if isinstance(cell, np.floating | Decimal) else value)


def _called(column: str) -> str:
    return column or "(column without a name)"
