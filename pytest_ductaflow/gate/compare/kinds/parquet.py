"""Compare Parquet and Feather files: tables with typed columns; the types are compared, too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
from pyarrow import feather, parquet

from ....core.errors import Unreadable
from ..findings import Findings
from ..tables import compare_tables, plain_objects
from ..tolerance import Tolerance


def read(path: Path, tolerance: Tolerance) -> pd.DataFrame:
    """Read a table, with a meaningful index as its first column or columns.

    An index of row numbers is not meaningful; with keys, neither is one in any other order.

    Raises:
        Unreadable: If two columns have the same name.
    """
    with path.open("rb") as stream:  # from a path `year=2030/x.parquet`, pyarrow would make a column
        is_parquet = path.suffix.lower() == ".parquet"
        # pandas trusts the offsets of texts in the file; wrong ones would crash the process.
        (parquet if is_parquet else feather).read_table(stream).validate(full=True)
        stream.seek(0)
        table = pd.read_parquet(stream, engine="pyarrow") if is_parquet else pd.read_feather(stream)
    table = _with_index(table, keyed=bool(tolerance.keys))
    table.columns = pd.Index([str(name) for name in table.columns], dtype=object)
    name, times = Counter(table.columns).most_common(1)[0] if len(table.columns) else ("", 1)
    if times > 1:
        raise Unreadable(f"column {name!r} is there {times} times")
    return plain_objects(table)


def compare(expected: pd.DataFrame, found: pd.DataFrame, tolerance: Tolerance, findings: Findings) -> None:
    compare_tables(expected, found, tolerance, findings)


def _with_index(table: pd.DataFrame, *, keyed: bool) -> pd.DataFrame:
    index = table.index
    numbers = index.sort_values() if keyed and index.dtype.kind == "i" else index
    if index.names == [None] and numbers.equals(pd.RangeIndex(len(table))):
        return table.reset_index(drop=True)
    several = index.nlevels > 1
    names = [f"index {level}" if several else "index" for level in range(index.nlevels)]
    names = [str(name) if name is not None else other for name, other in zip(index.names, names, strict=True)]
    return table.reset_index(names=names, allow_duplicates=True)
