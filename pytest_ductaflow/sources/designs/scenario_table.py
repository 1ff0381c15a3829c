"""The table that a design returns: a DataFrame with `+`, `where(expression)` and `drop(expression)`.

How a table was made is kept in its `attrs` as plain JSON, which pandas passes on to tables made of it:

    {"kind": "sample", "n": 100, "design": "lhs", "seed": 0, "axes": {"rate": {"from": 0.01, "to": 0.08}}}
    {"kind": "sum", "of": [first, second]}
    {"kind": "where", "expression": "rate < 0.05", "of": [design]}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

import pandas as pd

from ..row_filter import select
from ..table_cells import is_mapping, is_sequence, plain
from ..tables import DESIGN, NAME, Table, as_table, hash_of, readable_names, told_apart

_LISTED = 20  # values of an axis that a design names; of more, the first ones and their number
_LONGEST = 100  # characters of a value in a design


class ScenarioTable(pd.DataFrame):
    """A control table made by `grid`, `sample`, `one_at_a_time`, `zipped` or `cross`: a DataFrame.

    Three things differ from other DataFrames:

    - `a + b`, where the other one is a table, too (a DataFrame or a list of dicts), has the rows of both. A
      row that both have is there once. With anything else, `+` is pandas' own.
    - `where("rate < 0.05")` returns the rows for which an expression on the columns holds, as
      `--ductaflow-where` does. With anything but a text, it is pandas' own.
    - `drop("rate < 0.05")` returns the other rows, including those for which the expression is unknown. With
      anything but a single text, it is pandas' own.
    """

    @property
    def _constructor(self) -> type[ScenarioTable]:
        return ScenarioTable

    def __add__(self, other: Any) -> Any:
        return _sum(self, other) if _is_table(other) else super().__add__(other)

    def __radd__(self, other: Any) -> Any:
        return _sum(other, self) if _is_table(other) else super().__radd__(other)

    def where(self, cond: Any, *arguments: Any, **options: Any) -> Any:
        """Return the rows for which an expression holds, given as text, or else what pandas returns.

        Raises:
            DuctaflowError: If the expression is not one on the columns.
        """
        if isinstance(cond, str) and not (arguments or options):
            return self._selected("where", cond)
        return super().where(cond, *arguments, **options)

    def drop(self, labels: Any = None, *arguments: Any, **options: Any) -> Any:
        """Return the rows for which an expression, given as text, does not hold, or else what pandas returns.

        Raises:
            DuctaflowError: If the expression is not one on the columns.
        """
        if isinstance(labels, str) and not (arguments or options):
            return self._selected("drop", labels)
        return super().drop(labels, *arguments, **options)

    def _selected(self, kind: str, expression: str) -> ScenarioTable:
        holds = select(expression, pd.DataFrame(self).convert_dtypes(), f"{kind}({expression!r})")
        kept = self[[(is_true if kind == "where" else not is_true) for is_true in holds]]
        return scenario_table(
            kept.columns,
            kept.itertuples(index=False, name=None),
            {"kind": kind, "expression": expression, "of": [_design_of_any(self)]},
        )


def scenario_table(
    columns: Iterable[str], rows: Iterable[Sequence[Any]], design: Mapping[str, Any]
) -> ScenarioTable:
    """Return a table of rows that keep the types of their values, with the design that has made it."""
    table = ScenarioTable(list(rows), columns=list(columns), dtype=object)
    table.attrs[DESIGN] = dict(design)
    return table


def named_by_values(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], design: Mapping[str, Any]
) -> ScenarioTable:
    """Return a table whose rows have readable names made from their values, unless a column names them."""
    if NAME in columns:
        return scenario_table(columns, rows, design)
    names = readable_names(columns, rows)
    named = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return scenario_table([NAME, *columns], named, design)


def _design_of_any(table: Any) -> dict[str, Any]:
    """Return how a table was made; of one that is not from a design, its number of rows."""
    known = table.attrs.get(DESIGN) if isinstance(table, pd.DataFrame) else None
    return dict(known or {"kind": "table", "n": len(table)})


def axis_of_list(values: Iterable[Any]) -> dict[str, Any]:
    """Return the values of an axis as they are kept in a design: plain JSON, only the first of very many."""
    found = list(values)
    listed = {"values": [brief(value) for value in found[:_LISTED]]}
    return listed if len(found) <= _LISTED else {**listed, "n": len(found)}


def brief(value: Any) -> Any:
    """Return a value as plain JSON, or the beginning of its text if it is long."""
    made = plain(value, lenient=True)
    text = made if isinstance(made, str) else json.dumps(made)
    return made if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _is_table(value: object) -> bool:
    """Return whether something can be added to a table as further rows."""
    if isinstance(value, pd.DataFrame):
        return True
    if isinstance(value, list):
        return all(map(is_mapping, value))
    return is_sequence(value) and bool(value) and all(map(is_mapping, value))  # type: ignore[call-overload]


def _sum(*parts: Any) -> ScenarioTable:
    """Return a table with the rows of several, one after the other, and each row once.

    Rows keep the names that they have. Where different rows have the same name, and that was made of their
    values (`x=1` of `a.x` and of `b.x`), a hash is added.
    """
    tables = [as_table(part, ()) for part in parts]
    columns = list(dict.fromkeys(column for table in tables for column in table.columns if column != NAME))
    rows, names, are_made = [], list[str](), list[bool]()
    for table in tables:
        rows += [tuple(row.get(column) for column in columns) for row in table.filled()]
        names += table.names()
        are_made += [name == made for name, made in zip(table.names(), _made_names(table), strict=True)]
    names, rows = _each_once(_distinct(names, rows, are_made), rows)
    designs = [*map(_design_of_any, parts)]
    flat = [each for one in designs for each in (one["of"] if one["kind"] == "sum" else [one])]
    named = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return scenario_table([NAME, *columns], named, {"kind": "sum", "of": flat})


def _made_names(table: Table) -> list[str]:
    """Return the names that a table's rows would have if they were made of their values."""
    is_value = [column != NAME for column in table.columns]
    rows = [tuple(compress(row, is_value)) for row in table.rows]
    return readable_names(list(compress(table.columns, is_value)), rows)


def _distinct(names: list[str], rows: list[tuple[Any, ...]], are_made: list[bool]) -> list[str]:
    """Return the names, with a hash added to those made of values that different rows have."""
    apart = told_apart(names, rows)
    return [other if is_made else name for name, other, is_made in zip(names, apart, are_made, strict=True)]


def _each_once(names: list[str], rows: list[tuple[Any, ...]]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return names and rows without those that are there already, with the same name and values."""
    times = Counter(names)
    seen: set[tuple[str, str]] = set()
    kept: list[tuple[str, tuple[Any, ...]]] = []
    for name, row in zip(names, rows, strict=True):
        key = (name, hash_of(row) if times[name] > 1 else "")
        if key not in seen:
            seen.add(key)
            kept.append((name, row))
    return [name for name, _ in kept], [row for _, row in kept]


def cross(first: Any, second: Any) -> ScenarioTable:
    """Return a table of all pairs: each row of one table with each row of another.

    Args:
        first: A table: what `grid`, `sample` and the like return, another DataFrame, or a list of dicts.
        second: A table with other columns.

    Returns:
        The rows, the second table varying fastest, with the names of both, `rate=0.01,mode=rail`.

    Raises:
        ValueError: If both have a column of the same name.

    Examples:
        >>> cross(zipped(year=[2030, 2040], price=[55, 80]), grid(mode=["rail"]))["instance_name"].tolist()
        ['year=2030,price=55,mode=rail', 'year=2040,price=80,mode=rail']
    """
    left, right = as_table(first, ()), as_table(second, ())
    if both := [column for column in left.columns if column in right.columns and column != NAME]:
        raise ValueError(f"cross(): both tables have a column {', '.join(map(repr, both))}")
    columns = [column for column in (*left.columns, *right.columns) if column != NAME]
    pairs = [
        ((name, other), tuple(one.get(c, two.get(c)) for c in columns))
        for one, name in zip(left.filled(), left.names(), strict=True)
        for two, other in zip(right.filled(), right.names(), strict=True)
    ]
    rows = [row for _, row in pairs]
    if left.names() == _made_names(left) and right.names() == _made_names(right):
        names = readable_names(columns, rows)
    else:
        names = [",".join(names) for names, _ in pairs]
    designs = [*map(_design_of_any, (first, second))]
    named = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return scenario_table([NAME, *columns], named, {"kind": "cross", "of": designs})
