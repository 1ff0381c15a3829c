"""Compare all sheets of Excel files, cell by cell."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ....core.number_text import listed
from ....sources.excel_cells import Cells, NoValue, all_sheets, letters
from ..cells import plain
from ..findings import Findings
from ..tables import compare_tables
from ..tolerance import Tolerance


def read(path: Path, _tolerance: Tolerance) -> dict[str, pd.DataFrame]:
    """Read all sheets; a formula not yet calculated by any program counts as its text, an error as itself."""
    return {name: _table(_trimmed(cells)) for name, cells in all_sheets(path).items()}


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


def _trimmed(cells: Cells) -> Cells:
    """Return plain cells without empty rows and columns at the end."""
    rows = [[str(cell) if isinstance(cell, NoValue) else plain(cell) for cell in row] for row in cells]
    while rows and all(cell is None for cell in rows[-1]):
        rows.pop()
    width = max((n for row in rows for n, cell in enumerate(row, start=1) if cell is not None), default=0)
    return [row[:width] for row in rows]


def _table(rows: list[list[object]]) -> pd.DataFrame:
    """Return a table named by its first row if that holds unique texts, else with columns A, B, C.

    One name may be empty: pandas writes an index that way.
    """
    header = ["" if name is None else name for name in rows[0]] if rows else []
    if all(isinstance(name, str) for name in header) and len(set(header)) == len(header):
        names, data = [str(name) for name in header], rows[1:]
    else:
        names, data = [letters(number) for number in range(1, len(header) + 1)], rows
    return pd.DataFrame(data, columns=pd.Index(names, dtype=object), dtype=object)
