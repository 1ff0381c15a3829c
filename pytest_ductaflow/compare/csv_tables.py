"""CSV files: read strictly, compared as text first, as numbers where the text differs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from ..cells import number_in
from .findings import Findings
from .reading import NotReadable, long_cells, text_of
from .tables import compare_tables
from .tolerance import Tolerance

_MISSING = {"", "nan", "NaN", "NA", "None", "null"}


def read(path: Path, tolerance: Tolerance) -> pd.DataFrame:
    """A table of texts.

    Raises:
        NotReadable: If it has no header, a row of another length or two columns of the same name.
    """
    text = text_of(path, tolerance.encoding)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    with long_cells():
        rows = list(_rows(text, delimiter))
    if not rows or not any(cell.strip() for cell in rows[0]):
        raise NotReadable("line 1 has no header, expected the names of the columns")
    header, *rows = rows
    name, times = Counter(header).most_common(1)[0]
    if times > 1:
        raise NotReadable(f"line 1: column {name!r} is there {times} times")
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return pd.DataFrame({name: _as_objects(cells) for name, cells in zip(header, columns, strict=True)})


def compare(expected: pd.DataFrame, found: pd.DataFrame, tolerance: Tolerance, findings: Findings) -> None:
    compare_tables(expected, found, tolerance, findings, cell=meaning)


def meaning(cell: object) -> object:
    """What the text of a cell stands for: a number, None for a missing value, else the text itself."""
    text = str(cell)
    number = number_in(text)
    return number if number is not None else None if text in _MISSING else text


def _as_objects(cells: tuple[str, ...]) -> pd.Series:
    return pd.Series(np.array(cells, dtype=object), dtype=object)


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return ";" if ";" in header and "," not in header else ","


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Rows that are as long as the first; an empty line is a missing value, or the end of the file."""
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
                raise NotReadable(f"line {empty} is empty, expected {width} fields")
            elif len(row) == width:
                yield row
            else:
                fields = "1 field" if len(row) == 1 else f"{len(row)} fields"
                raise NotReadable(f"line {reader.line_num} has {fields}, expected {width}")
    except csv.Error as error:
        raise NotReadable(f"line {reader.line_num}: {error}") from error
