"""Control tables from files: CSV, Parquet, Excel and JSON as DataFrames whose names are text.

CSV has no types, so pandas finds them, column by column; in the other formats each cell has its own.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import DuctaflowError
from .model import TEXT_COLUMNS

# What pandas and NumPy write for a cell without a value. Its other words are not among them: NA is
# also a country, None and null may be the names of a method.
_EMPTY = ("", "NaN", "nan", "NaT", "<NA>")
_EXTRAS = {".parquet": "parquet", ".xlsx": "excel"}


def read_table(path: Path) -> pd.DataFrame:
    """A control table from a file; integers with empty cells stay integers, names stay text.

    Args:
        path: A `.csv`, `.parquet`, `.xlsx`, `.json` (a list of objects) or `.jsonl` file. In CSV and
            Excel rows without any value are left out, and NaN, nan, NaT and <NA> are empty cells.

    Raises:
        DuctaflowError: If it cannot be read, or pandas lacks the package that reads it.
    """
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DuctaflowError(f"{path}: not a table that can be read (known: {', '.join(_READERS)})")
    try:
        return _READERS[suffix](path)
    except DuctaflowError as error:
        raise DuctaflowError(f"{path}: {error}") from error.__cause__
    except ImportError as error:
        raise DuctaflowError(
            f"{path}: reading {suffix} files needs another package ({error.name or error}): "
            f"pip install 'pytest-ductaflow[{_EXTRAS.get(suffix, 'test')}]'"
        ) from error
    except Exception as error:  # each reader has its own exceptions
        raise DuctaflowError(f"{path}: cannot be read as a table: {error}") from error


def _from_csv(path: Path) -> pd.DataFrame:
    # index_col=False: never take the first column for an index, which shifts all the others.
    common: Any = {"skipinitialspace": True, "index_col": False}
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, na_filter=False, **common)
    columns = _columns(header.iloc[0].tolist())
    other = next((sign for sign in (";", "\t") if len(columns) == 1 and sign in columns[0]), None)
    if other is not None:
        raise DuctaflowError(
            f"its cells seem to be separated by {other!r}, expected ',' "
            "(or read it with pandas and give conduct() the DataFrame)"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # of cells that would be left out
        try:
            table: pd.DataFrame = pd.read_csv(
                path,
                header=0,
                names=columns,
                converters=dict.fromkeys(TEXT_COLUMNS, _name),
                # By column, as pandas would empty those with a converter, too.
                na_values={column: _EMPTY for column in columns if column not in TEXT_COLUMNS},
                keep_default_na=False,
                dtype_backend="numpy_nullable",
                **common,
            )
        except pd.errors.ParserWarning as error:
            raise DuctaflowError(
                f"some rows have more cells than the header, which has {len(columns)} "
                "(a comma at their end, or a text with a comma that is not in quotes)"
            ) from error
    return table.dropna(how="all", ignore_index=True)


def _from_excel(path: Path) -> pd.DataFrame:
    cells = pd.read_excel(path, header=None, dtype=object, na_filter=False).to_numpy().tolist()
    filled = [row for row in cells if any(str(cell).strip() for cell in row)]
    if not filled:
        raise DuctaflowError("has no header")
    header, *rows = filled
    columns = _columns(header)
    readers = [_name if column in TEXT_COLUMNS else _value for column in columns]
    values = [[read(cell) for read, cell in zip(readers, row, strict=True)] for row in rows]
    return pd.DataFrame(values, columns=columns, dtype=object)


def _columns(header: Sequence[object]) -> list[str]:
    """Names of the columns, with pandas' own for those without one.

    Raises:
        DuctaflowError: If there is one twice; pandas would make the second `x.1`, a group of `x`.
    """
    columns = [str(cell).strip() or f"Unnamed: {number}" for number, cell in enumerate(header)]
    name, times = Counter(columns).most_common(1)[0]
    if times > 1:
        raise DuctaflowError(f"column {name!r} is there more than once")
    return columns


def _name(cell: object) -> str | None:
    return str(cell).strip() or None


def _value(cell: object) -> object:
    return None if isinstance(cell, str) and cell.strip() in _EMPTY else cell


def _from_parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path, dtype_backend="numpy_nullable")


# Not pandas' own reader of JSON, which rounds numbers and makes integers of floats.


def _from_json(path: Path) -> pd.DataFrame:
    records = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(records, list):
        raise DuctaflowError(
            f'a JSON table is a list of objects, [{{"x": 1}}, …], not {type(records).__name__}'
        )
    for number, record in enumerate(records, start=1):
        _check_object(record, f"row {number}")
    return pd.DataFrame(records, dtype=object)


def _from_json_lines(path: Path) -> pd.DataFrame:
    # Not splitlines(): JSON's texts may hold the line separators of Unicode.
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    records = [_record(line, number) for number, line in enumerate(lines, start=1) if line.strip()]
    return pd.DataFrame(records, dtype=object)


def _record(line: str, number: int) -> Any:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        what = f"line {number}, column {error.colno}: not JSON: {error.msg}"
        raise DuctaflowError(what) from error
    _check_object(record, f"line {number}")
    return record


def _check_object(record: object, where: str) -> None:
    if not isinstance(record, dict):
        raise DuctaflowError(f'{where}: expected an object, {{"x": 1}}, not {type(record).__name__}')


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _from_csv,
    ".parquet": _from_parquet,
    ".xlsx": _from_excel,
    ".json": _from_json,
    ".jsonl": _from_json_lines,
}
