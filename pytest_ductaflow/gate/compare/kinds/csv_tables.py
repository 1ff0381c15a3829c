"""Compare CSV files: read them strictly, compare cells as text, and as numbers if the text differs."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ....core.errors import Unreadable
from ....sources.file_reading import long_cells, text_of
from ....sources.table_cells import number_in
from ..findings import Findings
from ..tables import Cell, compare_tables
from ..tolerance import Tolerance

_INFINITE = {"inf": math.inf, "-inf": -math.inf, "Infinity": math.inf, "-Infinity": -math.inf}
_MISSING = {"", "nan", "NaN"}
_WORDS_FOR_MISSING = {"NA", "None", "null"}  # only in numeric columns; else NA is Namibia, None a method
_WITH_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?")


def read(path: Path, tolerance: Tolerance) -> pd.DataFrame:
    """Read a table of texts.

    Raises:
        Unreadable: If it has no header, a row of another length or two columns of the same name.
    """
    text = text_of(path, tolerance.encoding)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    with long_cells():
        rows = list(_rows(text, delimiter))
    if not rows or not any(cell.strip() for cell in rows[0]):
        raise Unreadable("line 1 has no header, expected the names of the columns")
    header, *rows = rows
    name, times = Counter(header).most_common(1)[0]
    if times > 1:
        raise Unreadable(f"line 1: column {name!r} is there {times} times")
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return pd.DataFrame({name: _as_objects(cells) for name, cells in zip(header, columns, strict=True)})


def compare(expected: pd.DataFrame, found: pd.DataFrame, tolerance: Tolerance, findings: Findings) -> None:
    def meaning(ours: pd.Series, theirs: pd.Series) -> Cell:
        return _Meaning((ours, theirs), tolerance.decimal)

    compare_tables(expected, found, tolerance, findings, meaning=meaning)
    if findings.difference() is not None and tolerance.decimal == ".":
        names = (name for name in expected if name in found and _have_commas(expected[name], found[name]))
        findings.note(
            *(f'column {name}: if its texts are numbers, "decimal": "," reads them as such' for name in names)
        )


class _Meaning:
    """A converter from a cell's text to a number, None for a missing value, or else the text itself.

    Args:
        columns: The column in both tables: NA, None and null are missing values if all else is numbers.
        decimal: Decimal separator of numbers.
    """

    def __init__(self, columns: Sequence[pd.Series], decimal: str) -> None:
        self._columns, self._decimal = columns, decimal

    def __call__(self, cell: object) -> object:
        text = str(cell)
        number = self._number(text)
        if number is not None:
            return number
        return None if text in _MISSING or (text in _WORDS_FOR_MISSING and self._is_numeric) else text

    def _number(self, text: str) -> int | float | None:
        if self._decimal == "," and "," in text:
            return number_in(text.replace(",", ".")) if "." not in text else None
        return _INFINITE.get(text, number_in(text))

    @cached_property
    def _is_numeric(self) -> bool:
        texts = set().union(*self._columns) - _MISSING - _WORDS_FOR_MISSING
        return bool(texts) and all(self._number(text) is not None for text in texts)


def _have_commas(expected: pd.Series, found: pd.Series) -> bool:
    """Return whether texts that differ look like numbers with a decimal comma."""
    return any(
        _WITH_COMMA.fullmatch(ours) and _WITH_COMMA.fullmatch(theirs)
        for ours, theirs in zip(expected, found, strict=False)
        if ours != theirs
    )


def _as_objects(cells: tuple[str, ...]) -> pd.Series:
    return pd.Series(np.array(cells, dtype=object), dtype=object)


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield rows, all as long as the first; an empty line is a missing value or the end of the file."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    width, empty = 0, 0
    try:
        for row in reader:
            width = width or len(row)
            if not row and width == 1:
                yield [""]
            elif not row and width:
                empty = empty or reader.line_num
            elif empty:
                raise Unreadable(f"line {empty} is empty, expected {width} fields")
            elif len(row) == width:
                yield row
            else:
                fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                raise Unreadable(f"line {reader.line_num} has {fields}, expected {width}")
    except csv.Error as error:
        raise Unreadable(f"line {reader.line_num}: {error}") from error
