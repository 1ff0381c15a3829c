"""Read control tables from CSV, Parquet, Excel and JSON files as DataFrames whose names are text.

Each cell has its own type, independent of the rest of its column. Excel, JSON and Parquet files store it; a
CSV cell is the number, true or false that it would be in JSON, and otherwise a text.
"""

from __future__ import annotations

import csv
import io
import json
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from ..core.errors import DuctaflowError, TableError, Unreadable
from ..core.instance import TEXT_COLUMNS
from ..core.number_text import listed
from ..core.problem import Problem
from .file_reading import long_cells, text_of
from .table_cells import number_in

# What pandas and NumPy write for a cell without a value. Other words that pandas reads so are not among them:
# NA is also a country, None and null may be names of a method.
_EMPTY = ("", "NaN", "nan", "NaT", "<NA>")
# As JSON, pandas and Excel write them.
_BOOLEANS = dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_EXTRAS = {".parquet": "parquet", ".xlsx": "excel"}
_WITH_PANDAS = "read it with pandas and give conduct() the DataFrame"
_CURE = f"save it as UTF-8, or {_WITH_PANDAS}"
Tell: TypeAlias = Callable[[str], object]
TakeTexts: TypeAlias = Callable[[Sequence[str]], object]


def _nobody(_said: object) -> None:
    pass


def read_table(path: Path, tell: Tell = _nobody, take_texts: TakeTexts = _nobody) -> pd.DataFrame:
    """Return a control table from a file; integers with empty cells stay integers, names stay text.

    Args:
        path: A `.csv`, `.parquet`, `.xlsx`, `.json` (a list of objects) or `.jsonl` file. In CSV and
            Excel rows without any value are left out, and NaN, nan, NaT and <NA> are empty cells.
        tell: Callback for a sentence about something in the file that may not be intended.
        take_texts: Callback for each row of a CSV file, with the texts of its cells (blanks stripped).

    Raises:
        TableError: If cells are invalid (all of them are listed), or the file cannot be read at all, as
            when pandas lacks the package that reads it.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        known = ", ".join(_READERS)
        raise TableError([Problem(str(path), f"not a table that can be read (known: {known})")])
    try:
        return _from_csv(path, tell, take_texts) if suffix == ".csv" else _READERS[suffix](path, tell)
    except TableError as error:
        problems = [replace(problem, where=f"{path}, {problem.where}") for problem in error.problems]
        raise TableError(problems) from None
    except DuctaflowError as error:
        raise TableError([Problem(str(path), str(error))]) from error.__cause__
    except ImportError as error:
        what = f"reading {suffix} files needs another package ({error.name or error}): "
        remedy = f"pip install 'pytest-ductaflow[{_EXTRAS.get(suffix, 'test')}]'"
        raise TableError([Problem(str(path), what + remedy)]) from error
    except Exception as error:  # each reader raises its own exceptions
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise TableError([Problem(str(path), f"cannot be read as a table: {why}")]) from error


def _from_csv(path: Path, tell: Tell, take_texts: TakeTexts = _nobody) -> pd.DataFrame:
    with long_cells():
        lines = list(_lines(text_of(path, "utf-8", _CURE)))
    if not lines:
        raise Unreadable("it is empty")
    (_, header), *rows = lines
    columns = _columns(header)
    other = next((sign for sign in (";", "\t", "|") if len(columns) == 1 and sign in columns[0]), None)
    if other is not None:
        raise DuctaflowError(f"its cells seem to be separated by {other!r}, expected ',' (or {_WITH_PANDAS})")
    _check_lengths(rows, len(columns))
    texts = [cells + [""] * (len(columns) - len(cells)) for _, cells in rows]
    _tell_of_leading_zeros(columns, texts, tell)
    for row in texts:
        take_texts([cell.strip() for cell in row])
    readers = [_name if column in TEXT_COLUMNS else _csv_value for column in columns]
    return _frame(columns, ([read(cell) for read, cell in zip(readers, row, strict=True)] for row in texts))


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not blank, with their numbers."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise Unreadable(f"line {reader.line_num}: {error}") from error


def _check_lengths(rows: Sequence[tuple[int, list[str]]], width: int) -> None:
    """Check that no row has more cells than the header, as these would be lost.

    Raises:
        Unreadable: If a row is longer than the header.
    """
    longer = [
        f"row {number} (line {line}) has {len(cells)}"
        for number, (line, cells) in enumerate(rows, start=1)
        if len(cells) > width
    ]
    if longer:
        raise Unreadable(
            f"some rows have more cells than the header, which has {width}: {listed(longer, 5)} "
            "(a comma at their end, a text with a comma that is not in quotes, or names of rows as R writes "
            "them: row.names = FALSE)"
        )


def _csv_value(cell: str) -> object:
    """Return the value of a cell of a CSV file, independent of other cells."""
    word = cell.strip()
    if word in _EMPTY:
        return None
    if word in _BOOLEANS:
        return _BOOLEANS[word]
    number = number_in(word)
    return cell if number is None else number


def _tell_of_leading_zeros(columns: Sequence[str], rows: Sequence[Sequence[str]], tell: Tell) -> None:
    """Warn of keys such as 05334, which are texts, in a column where others, such as 11000, are numbers."""
    for place, column in enumerate(columns):
        if column in TEXT_COLUMNS:
            continue
        cells = [row[place].strip() for row in rows]
        text = next((cell for cell in cells if cell.isdecimal() and number_in(cell) is None), None)
        number = next((cell for cell in cells if cell.isdecimal() and number_in(cell) is not None), None)
        if text is not None and number is not None:
            tell(
                f"column {column!r}: {text} is a text, for its leading zero, and {number} a number; "
                "where these are names, make texts of all (by config= in conduct(), or in an Excel, "
                "Parquet or JSON table)"
            )


def _from_excel(path: Path, tell: Tell) -> pd.DataFrame:
    from .excel_cells import NoValue, first_sheet

    sheet = first_sheet(path)
    lines = [(line, cells) for line, cells in enumerate(sheet.rows, start=1) if any(map(_is_filled, cells))]
    if not lines:
        raise DuctaflowError("has no header")
    (first, header), *rows = lines
    columns = _columns(["" if cell is None else cell for cell in header])
    named = [place for place, cell in enumerate(header) if _is_filled(cell)]
    problems = [
        _without_value("header", cell, _address(first, place))
        for place in named
        if isinstance(cell := header[place], NoValue)
    ]
    problems += [
        _without_value(f"row {number}, column {columns[place]!r}", cell, _address(line, place))
        for number, (line, cells) in enumerate(rows, start=1)
        for place in named
        if isinstance(cell := cells[place], NoValue)
    ]
    if problems:
        raise TableError(problems)
    names = {str(header[place]).strip() for place in named}
    _tell_of_layout(sheet, {line: n for n, (line, _) in enumerate(rows, start=1)}, named, names, tell)
    readers = [_name if column in TEXT_COLUMNS else _value for column in columns]
    return _frame(
        columns, ([read(cell) for read, cell in zip(readers, cells, strict=True)] for _, cells in rows)
    )


def _is_filled(cell: object) -> bool:
    return cell is not None and bool(str(cell).strip())


def _address(line: int, place: int) -> str:
    from .excel_cells import letters

    return f"{letters(place + 1)}{line}"


def _without_value(where: str, cell: Any, address: str) -> Problem:
    if cell.is_formula:
        what = f"cell {address} is a formula that nothing has calculated, {cell.text}"
        return Problem(where, what, "open and save it in Excel or LibreOffice")
    return Problem(where, f"cell {address} is the error {cell.text}", "mend it in Excel")


def _tell_of_layout(
    sheet: Any, rows: dict[int, int], named: Sequence[int], header: set[str], tell: Tell
) -> None:
    """Warn of layout because of which the sheet looks different from what is read.

    Args:
        sheet: The sheet.
        rows: Row numbers in the table, by row number in the sheet.
        named: Indices of the columns that have a name.
        header: These names; a further sheet that has one of them is a table, too.
        tell: Callback for each sentence.
    """
    from .excel_cells import letters

    merged = [
        area.name
        for area in sheet.merged
        if any(line in rows for line in area.rows) and any(place + 1 in area.columns for place in named)
    ]
    if merged:
        tell(f"merged cells {listed(merged)}: only the first of each has the value, the others are empty")
    hidden = [f"{rows[line]} ({line} in Excel)" for line in sheet.hidden_rows if line in rows]
    _tell_hidden("row", hidden, tell)
    tables = [name for name, texts in sheet.others.items() if not header.isdisjoint(texts)]
    if tables:
        how = "conduct(…, pandas.read_excel(file, sheet_name=…)) takes another"
        tell(f"only the first sheet, {sheet.name!r}, is read, and not {listed(map(repr, tables))}: {how}")
    _tell_hidden("column", [letters(n) for n in sheet.hidden_columns if n - 1 in named], tell)


def _tell_hidden(what: str, names: Sequence[str], tell: Tell) -> None:
    if len(names) == 1:
        tell(f"{what} {names[0]} is hidden, and counts like the others")
    elif names:
        tell(f"{what}s {listed(names)} are hidden, and count like the others")


def _frame(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(columns), dtype=object)


def _columns(header: Sequence[object]) -> list[str]:
    """Return the names of the columns, with pandas' own for those without one.

    Raises:
        DuctaflowError: If a name occurs twice; pandas would call the second `x.1`, a key in the group `x`.
    """
    columns = [str(cell).strip() or f"Unnamed: {number}" for number, cell in enumerate(header)]
    name, times = Counter(columns).most_common(1)[0]
    if times > 1:
        raise DuctaflowError(f"column {name!r} is there more than once")
    return columns


def _name(cell: object) -> str | None:
    return (str(cell).strip() or None) if cell is not None else None


def _value(cell: object) -> object:
    return None if isinstance(cell, str) and cell.strip() in _EMPTY else cell


def _from_parquet(path: Path, _tell: Tell) -> pd.DataFrame:
    # Other backends make NaN of null in lists, and fractions of integers beside it.
    return pd.read_parquet(path, dtype_backend="pyarrow")


# Not pandas' own reader of JSON, which rounds numbers and turns floats into integers.


def _from_json(path: Path, _tell: Tell) -> pd.DataFrame:
    records = json.loads(text_of(path, "utf-8", _CURE), object_pairs_hook=_without_twins)
    if not isinstance(records, list):
        raise DuctaflowError(
            f'a JSON table is a list of objects, [{{"x": 1}}, …], not {type(records).__name__}'
        )
    for number, record in enumerate(records, start=1):
        _check_object(record, f"row {number}")
    return pd.DataFrame(records, dtype=object)


def _from_json_lines(path: Path, _tell: Tell) -> pd.DataFrame:
    # Not splitlines(): texts in JSON may contain Unicode line separators.
    lines = text_of(path, "utf-8", _CURE).split("\n")
    records = [_record(line, number) for number, line in enumerate(lines, start=1) if line.strip()]
    return pd.DataFrame(records, dtype=object)


def _record(line: str, number: int) -> Any:
    try:
        record = json.loads(line, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        what = f"line {number}, column {error.colno}: not JSON: {error.msg}"
        raise DuctaflowError(what) from error
    except DuctaflowError as error:
        raise DuctaflowError(f"line {number}: {error}") from error
    _check_object(record, f"line {number}")
    return record


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a JSON file.

    Raises:
        DuctaflowError: If a key occurs twice; Python's reader would drop all but its last value.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        told = listed((f"{key!r}: {reprlib.repr(value)}" for key, value in pairs), 5)
        raise DuctaflowError(f"key {name!r} is there more than once in {{{told}}}")
    return found


def _check_object(record: object, where: str) -> None:
    if not isinstance(record, dict):
        raise DuctaflowError(f'{where}: expected an object, {{"x": 1}}, not {type(record).__name__}')


_READERS: dict[str, Callable[[Path, Tell], pd.DataFrame]] = {
    ".csv": _from_csv,
    ".parquet": _from_parquet,
    ".xlsx": _from_excel,
    ".json": _from_json,
    ".jsonl": _from_json_lines,
}
