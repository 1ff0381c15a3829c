"""Cells of Excel files, with what pandas does not report: errors, formulas, merged cells, hidden rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Cells = list[list[object]]


@dataclass(frozen=True)
class NoValue:
    """A cell without a value where there ought to be one.

    Attributes:
        text: The error, `#REF!`, or the formula that was never calculated, `=A1+1`.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def is_formula(self) -> bool:
        return self.text.startswith("=")


@dataclass(frozen=True)
class Area:
    """Merged cells, `A2:A4`; columns and rows are numbered from 1."""

    name: str
    rows: range
    columns: range


@dataclass(frozen=True)
class Sheet:
    """A sheet; the first cell of the first row is A1.

    Attributes:
        rows: Cells, None where empty; all rows have the same length.
        merged: Merged cells.
        hidden_rows: Numbers of the hidden rows.
        hidden_columns: Numbers of the hidden columns.
        name: Name of the sheet.
        others: Texts of the first filled row of each further visible sheet, by its name.
    """

    rows: Cells
    merged: tuple[Area, ...]
    hidden_rows: tuple[int, ...]
    hidden_columns: tuple[int, ...]
    name: str
    others: Mapping[str, Sequence[str]]


def first_sheet(path: Path) -> Sheet:
    """Return the first sheet of a file, with its layout."""
    values, formulas = (_opened(path, data_only=data_only, read_only=False) for data_only in (True, False))
    sheet = values.worksheets[0]
    columns = (
        number
        for dimension in sheet.column_dimensions.values()
        if dimension.hidden
        for number in range(dimension.min, dimension.max + 1)
    )
    return Sheet(
        rows=_cells(sheet, formulas.worksheets[0]),
        merged=tuple(map(_area, sheet.merged_cells.ranges)),
        hidden_rows=tuple(number for number, row in sheet.row_dimensions.items() if row.hidden),
        hidden_columns=tuple(columns),
        name=sheet.title,
        others={
            other.title: _first_texts(other)
            for other in values.worksheets[1:]
            if other.sheet_state == "visible"
        },
    )


def _first_texts(sheet: Any) -> list[str]:
    rows = ([cell for cell in row if cell is not None] for row in sheet.iter_rows(values_only=True))
    return [str(cell).strip() for cell in next(filter(None, rows), ())]


def _area(merged: Any) -> Area:
    rows, columns = range(merged.min_row, merged.max_row + 1), range(merged.min_col, merged.max_col + 1)
    return Area(merged.coord, rows, columns)


def all_sheets(path: Path) -> dict[str, Cells]:
    """Return the cells of all sheets by name; suited to large files, too."""
    values, formulas = (_opened(path, data_only=data_only, read_only=True) for data_only in (True, False))
    try:
        return {
            sheet.title: _cells(sheet, formula)
            for sheet, formula in zip(values.worksheets, formulas.worksheets, strict=True)
        }
    finally:
        values.close()
        formulas.close()


def letters(number: int) -> str:
    """Return Excel's name of a column, A for the first."""
    from openpyxl.utils import get_column_letter

    return str(get_column_letter(number))


def _opened(path: Path, *, data_only: bool, read_only: bool) -> Any:
    import openpyxl

    book = openpyxl.load_workbook(path, data_only=data_only, read_only=read_only, keep_links=False)
    if read_only:
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # the size stored in a file may be wrong
    return book


def _cells(values: Any, formulas: Any) -> Cells:
    pairs = zip(values.iter_rows(), formulas.iter_rows(), strict=True)
    rows = [list(_row(*pair)) for pair in pairs]
    width = max(map(len, rows), default=0)
    return [row + [None] * (width - len(row)) for row in rows]


def _row(values: tuple[Any, ...], formulas: tuple[Any, ...]) -> Iterator[object]:
    for value, formula in zip(values, formulas, strict=True):
        yield _value(value, formula)


def _value(cell: Any, formula: Any) -> object:
    value = cell.value
    if cell.data_type == "e":
        return NoValue(str(value))
    if value is None:
        # "str" is the type of a text that is a formula's result, here "".
        is_open = formula.data_type == "f" and cell.data_type != "str"
        return NoValue(_text_of(formula.value)) if is_open else None
    if isinstance(value, float) and value.is_integer():
        return int(value)  # Excel has only one type of number
    return None if value == "" else value


def _text_of(formula: Any) -> str:
    """Return a formula as users type it; one for several cells is an object."""
    text = str(getattr(formula, "text", None) or getattr(formula, "ref", None) or formula)
    return text if text.startswith("=") else f"={text}"
