"""Compare Parquet and Feather files: tables with typed columns; the types are compared, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather, parquet

from ....core.errors import Unreadable
from ..cells import plain_objects
from ..findings import Findings
from ..tables import compare_tables
from ..tolerance import Tolerance

_NANOSECONDS = pa.time64("ns")
_MICROSECONDS = pa.time64("us")

# With the first array of a type of its own, pandas registers these types with pyarrow.
pa.array(pd.arrays.IntervalArray.from_breaks([0, 1]))


def read(path: Path, tolerance: Tolerance) -> pd.DataFrame:
    """Read a table, with a meaningful index as its first column or columns.

    An index of row numbers is not meaningful; with keys, neither is one in any other order.

    Raises:
        Unreadable: If two columns have the same name.
    """
    with path.open("rb") as stream:  # from a path `year=2030/x.parquet`, pyarrow would make a column
        arrow = (parquet if path.suffix.lower() == ".parquet" else feather).read_table(stream)
    arrow.validate(full=True)  # pandas trusts the offsets of texts; wrong ones would crash the process
    table = _with_index(_in_microseconds(arrow).to_pandas(), keyed=bool(tolerance.keys))
    table.columns = pd.Index([str(name) for name in table.columns], dtype=object)
    name, times = Counter(table.columns).most_common(1)[0] if len(table.columns) else ("", 1)
    if times > 1:
        raise Unreadable(f"column {name!r} is there {times} times")
    dtypes = list(table.dtypes)
    for position, column in _positions(arrow, table):
        if (exact := _exact(column, dtypes[position])) is not None:
            table.isetitem(position, exact.array)
    return plain_objects(table)


def compare(expected: pd.DataFrame, found: pd.DataFrame, tolerance: Tolerance, findings: Findings) -> None:
    compare_tables(_as_nullable_as(found, expected), _as_nullable_as(expected, found), tolerance, findings)


def _with_index(table: pd.DataFrame, *, keyed: bool) -> pd.DataFrame:
    index = table.index
    numbers = index.sort_values() if keyed and index.dtype.kind == "i" else index
    if index.names == [None] and numbers.equals(pd.RangeIndex(len(table))):
        return table.reset_index(drop=True)
    several = index.nlevels > 1
    names = [f"index {level}" if several else "index" for level in range(index.nlevels)]
    names = [str(name) if name is not None else other for name, other in zip(index.names, names, strict=True)]
    return table.reset_index(names=names, allow_duplicates=True)


def _in_microseconds(arrow: Any) -> Any:
    """Return the table with times as Python holds them; `_exact` returns those that it does not hold."""
    for number, field in enumerate(arrow.schema):
        if field.type == _NANOSECONDS:
            times = arrow.column(number).cast(_MICROSECONDS, safe=False)
            arrow = arrow.set_column(number, field.with_type(_MICROSECONDS), times)
    return arrow


def _positions(arrow: Any, table: pd.DataFrame) -> Iterator[tuple[int, Any]]:
    """Yield the columns of a file, each with its position in the table made of it.

    Columns of the index come first there; one without meaning, and one that is only a range, are not in both.
    """
    described = (arrow.schema.pandas_metadata or {}).get("index_columns", [])
    index = [name for name in described if isinstance(name, str)]
    order = [*index, *(name for name in arrow.column_names if name not in index)]
    for position, name in enumerate(order, start=len(table.columns) - len(order)):
        if position >= 0:
            yield position, arrow.column(name)


def _exact(column: Any, dtype: Any) -> pd.Series | None:
    """Return the values of a column that pandas has read as a dtype with loss, None if nothing is lost.

    Where integers are missing, pandas reads all of them as floats.
    """
    kind = column.type
    if kind == _NANOSECONDS:
        return _times(column)
    if pa.types.is_integer(kind) and column.null_count and dtype == np.dtype(float):
        nullable = pd.api.types.pandas_dtype(_nullable(kind))
        return pd.Series(column.to_pandas(types_mapper={kind: nullable}.get))
    if pa.types.is_nested(kind) and dtype == np.dtype(object):
        return pd.Series(column.to_pandas(integer_object_nulls=True))
    return None


def _nullable(integers: object) -> str:
    """Return the name of pandas' nullable type for a type of integers: `UInt8` for `uint8`."""
    return str(integers).replace("int", "Int").replace("u", "U")


def _times(column: Any) -> pd.Series:
    """Return times of day, as times since midnight where Python's have too few digits for them."""
    times = pd.Series(column.cast(_MICROSECONDS, safe=False).to_pandas(), dtype=object)
    numbers = column.cast(pa.int64()).fill_null(0).to_numpy()
    finer = np.flatnonzero(numbers % 1000)
    times.iloc[finer] = pd.to_timedelta(numbers[finer], unit="ns").astype(object)
    return times


def _as_nullable_as(other: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose integers have pandas' nullable type where some of the other table are missing."""
    others = dict(other.dtypes)
    changed = {
        name: others[name]
        for name, dtype in table.dtypes.items()
        if isinstance(dtype, np.dtype)
        and dtype.kind in "iu"
        and others.get(name) == _nullable(dtype)
        and other[name].hasnans
    }
    return table.astype(changed) if changed else table
