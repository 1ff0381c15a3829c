"""Compare tables: which columns and rows exist, and their values column by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from ...core.number_text import listed
from .findings import Findings
from .row_matching import Rows, matched_rows
from .tolerance import Tolerance
from .values import Array, Gaps, gaps_of_arrays, gaps_of_cells

Cell: TypeAlias = Callable[[object], object]
Meaning: TypeAlias = Callable[[pd.Series, pd.Series], Cell]
_LARGE = 1e300  # numbers up to this size can be formatted as floats
_DIGITS = 6  # significant digits when rows are compared in any order


def plain(value: object) -> object:
    """Return a cell as a plain Python value, None if it is missing; also inside lists and objects."""
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return None
    return value.item() if isinstance(value, np.generic) else value


def plain_objects(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with plain values in its columns of objects."""
    columns = {
        name: pd.Series([plain(cell) for cell in table[name]], dtype=object, index=table.index)
        for name in table.columns
        if table[name].dtype == object
    }
    return table.assign(**columns) if columns else table


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
    is_unordered = any(differing) and not tolerance.keys
    if is_unordered and _in_any_order(expected, cells) == _in_any_order(found, cells):
        remedy = '"keys" names the columns that tell them apart'
        findings.note(f"{prefix}its rows are those expected, in another order: {remedy}")


def _in_any_order(table: pd.DataFrame, cells: Mapping[str, Cell]) -> Counter[tuple[str, ...]]:
    """Count how often each row of a table occurs."""
    columns = [
        [_rounded(cell(value)) for value in table[name].astype(object)] for name, cell in cells.items()
    ]
    return Counter(zip(*columns, strict=True))


def _rounded(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGE:
        return repr(value)
    return f"{value:.{_DIGITS}g}"


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
) -> bool:
    """Compare a column and return whether a value differs."""
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
        lambda position: _shown(ours.iloc[position], theirs.iloc[position]),
    )
    return bool(len(gaps.positions))


def _kind(column: pd.Series) -> str:
    """Return the type of a column; text has one name, since its dtype depends on the writing program."""
    is_text = column.dtype == object or pd.api.types.is_string_dtype(column.dtype)
    return "text or objects" if is_text else str(column.dtype)


def _gaps(expected: pd.Series, found: pd.Series, tolerance: Tolerance, cell: Cell) -> Gaps:
    if all(isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf" for column in (expected, found)):
        return gaps_of_arrays(expected.to_numpy(), found.to_numpy(), tolerance)
    positions = np.flatnonzero(~_same(expected, found))
    ours, theirs = (
        [cell(value) for value in column.iloc[positions].astype(object)] for column in (expected, found)
    )
    return gaps_of_cells(ours, theirs, tolerance).of(positions)


def _same(expected: pd.Series, found: pd.Series) -> Array:
    """Return which cells are equal without conversion."""
    if expected.dtype == found.dtype and expected.dtype not in (object, "category"):
        equal = pd.Series(expected.array == found.array).fillna(False)
        both_missing = expected.isna().to_numpy() & found.isna().to_numpy()
        return np.asarray(equal, dtype=bool) | both_missing
    ours, theirs = _objects(expected), _objects(found)
    same = np.asarray(ours == theirs, dtype=bool)
    types = {*map(type, ours), *map(type, theirs)}
    if {bool, np.bool_} & types:  # True == 1
        same &= _are(ours, bool, np.bool_) == _are(theirs, bool, np.bool_)
    if {list, dict} & types:  # True == 1 inside them, too
        same &= ~_are(ours, list, dict)
    return same


def _objects(column: Any) -> Array:
    """Return the cells, with None for missing ones: pandas' NA cannot be compared with anything."""
    return np.asarray(column.to_numpy(dtype=object, na_value=None))


def _are(cells: Array, *types: type) -> Array:
    return np.fromiter((isinstance(cell, types) for cell in cells), dtype=bool, count=len(cells))


def _shown(expected: object, found: object) -> tuple[str, str]:
    texts = _text(expected), _text(found)
    if texts[0] != texts[1]:
        return texts
    return f"{texts[0]} ({type(expected).__name__})", f"{texts[1]} ({type(found).__name__})"


def _text(cell: object) -> str:
    if isinstance(cell, str):
        return cell or "missing"
    value = plain(cell)
    if value is None:
        return "missing"
    return str(cell if isinstance(cell, np.floating | Decimal) else value)


def _called(column: str) -> str:
    return column or "(column without a name)"
