"""Excel files: all sheets, cell by cell."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from ..quantities import listed
from .findings import Findings
from .tables import compare_tables, plain
from .tolerance import Tolerance

_ERROR = "#ERROR"  # pandas does not say which one


def read(path: Path, _tolerance: Tolerance) -> dict[str, pd.DataFrame]:
    """Its sheets; a formula that no program has calculated yet counts as its text."""
    values, formulas = _cells(path, data_only=True), _cells(path, data_only=False)
    return {name: _table(_calculated(cells, formulas[name])) for name, cells in values.items()}


def compare(
    expected: dict[str, pd.DataFrame],
    found: dict[str, pd.DataFrame],
    tolerance: Tolerance,
    findings: Findings,
) -> None:
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    for names, what in ((missing, "missing"), (extra, "not expected")):
        if names:
            findings.note(f"{'sheet' if len(names) == 1 else 'sheets'} {what}: {listed(names)}")
    for name, table in expected.items():
        if name in found:
            prefix = f"sheet {name}, " if len(expected) > 1 else ""
            compare_tables(table, found[name], tolerance, findings, prefix=prefix)


def _cells(path: Path, *, data_only: bool) -> dict[str, list[list[Any]]]:
    sheets = pd.read_excel(
        path,
        sheet_name=None,
        header=None,
        dtype=object,
        na_filter=False,
        engine="openpyxl",
        engine_kwargs={"data_only": data_only},
    )
    return {str(name): table.to_numpy().tolist() for name, table in sheets.items()}


def _calculated(values: list[list[Any]], formulas: list[list[Any]]) -> list[list[object]]:
    """Cells without those at the end that hold nothing."""
    rows = [
        [_value(value, formula) for value, formula in zip(*pair, strict=True)]
        for pair in zip(_padded(values, formulas), _padded(formulas, values), strict=True)
    ]
    while rows and all(cell is None for cell in rows[-1]):
        rows.pop()
    width = max((n for row in rows for n, cell in enumerate(row, start=1) if cell is not None), default=0)
    return [row[:width] for row in rows]


def _padded(cells: list[list[Any]], other: list[list[Any]]) -> list[list[Any]]:
    """As many rows and columns as the larger: pandas leaves out what it takes to be empty."""
    width = max((len(row) for row in (*cells, *other)), default=0)
    filled = [row + [""] * (width - len(row)) for row in cells]
    return filled + [[""] * width] * (len(other) - len(cells))


def _value(value: object, formula: object) -> object:
    if isinstance(value, float) and math.isnan(value):
        return _ERROR
    found = formula if value == "" else value
    return None if isinstance(found, str) and not found else plain(found)


def _table(rows: list[list[object]]) -> pd.DataFrame:
    """The first row gives the names if they are unique texts, else columns are called A, B, C.

    One may be empty: pandas writes an index so.
    """
    header = ["" if name is None else name for name in rows[0]] if rows else []
    if all(isinstance(name, str) for name in header) and len(set(header)) == len(header):
        names, data = [str(name) for name in header], rows[1:]
    else:
        names, data = [_letters(number) for number in range(len(header))], rows
    return pd.DataFrame(data, columns=pd.Index(names, dtype=object), dtype=object)


def _letters(number: int) -> str:
    before, letter = divmod(number, 26)
    return (_letters(before - 1) if before else "") + chr(ord("A") + letter)
