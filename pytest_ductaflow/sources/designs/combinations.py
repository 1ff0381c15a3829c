"""Designs of listed values: all combinations, one change at a time, and values side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from ...core.scalars import flattened
from ..tables import NAME, hash_of, readable_names
from .scenario_table import ScenarioTable, axis_of_list, brief, named_by_values, scenario_table

BASE = "base"  # the instance of `one_at_a_time` in which nothing is changed


def grid(**axes: Iterable[Any]) -> ScenarioTable:
    """Return all combinations of some values, as a control table.

    Args:
        **axes: Name and values of each column. Dotted names, which nest in the config, are given as
            `grid(**{"processing.method": ["a", "b"]})`.

    Returns:
        One row per combination, the last axis varying fastest, with readable names in the column
        `instance_name`, unless that is an axis itself. Names include all axes, so they do not change when
        an axis gets more values.

    Raises:
        TypeError: If an axis is a single value; a text is a single value, too.

    Examples:
        >>> grid(degree=[1, 2], harmonics=[3])["instance_name"].tolist()
        ['degree=1,harmonics=3', 'degree=2,harmonics=3']
    """
    values = _lists("grid", axes)
    combinations = list(itertools.product(*values.values())) if values else []
    return named_by_values(list(values), combinations, _design("grid", values))


def zipped(**axes: Iterable[Any]) -> ScenarioTable:
    """Return a control table whose first row has the first value of each list, and so on.

    Args:
        **axes: Name and values of each column.

    Returns:
        One row per position in the lists, with readable names.

    Raises:
        TypeError: If an axis is a single value.
        ValueError: If the lists are not equally long; the message has their lengths.

    Examples:
        >>> zipped(year=[2030, 2040], price=[55, 80])["instance_name"].tolist()
        ['year=2030,price=55', 'year=2040,price=80']
    """
    values = _lists("zipped", axes)
    if len({len(each) for each in values.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(each)}" for name, each in values.items())
        raise ValueError(f"zipped(): lists of one length are expected, but {lengths}")
    return named_by_values(list(values), list(zip(*values.values(), strict=True)), _design("zipped", values))


def one_at_a_time(base: Mapping[str, Any], /, **axes: Iterable[Any]) -> ScenarioTable:
    """Return a control table for a sensitivity analysis: a base case, and rows that change one value of it.

    Args:
        base: The values of the base case; nested dicts are the same as dotted names.
        **axes: Name and other values of each column that is varied. A value that the base case has is left
            out.

    Returns:
        The base case, named `base`, and one row for each other value, named by what it changes: `rate=0.02`.

    Raises:
        TypeError: If the base is no dict, or an axis is a single value.
        ValueError: If the base case has no value for an axis.

    Examples:
        >>> one_at_a_time({"rate": 0.01, "years": 10}, rate=[0.02], years=[25, 50])["instance_name"].tolist()
        ['base', 'rate=0.02', 'years=25', 'years=50']
    """
    if not isinstance(base, Mapping):
        raise TypeError(f"one_at_a_time({base!r}): expected a dict with the base case first")
    cells, values = dict(flattened(base)), _lists("one_at_a_time", axes)
    if missing := [name for name in values if name not in cells]:
        raise ValueError(f"one_at_a_time(): the base case has no value for {', '.join(missing)}")
    changes = [
        (name, value)
        for name, others in values.items()
        for value in others
        if hash_of(value) != hash_of(cells[name])
    ]
    only_changes = [tuple(value if column == name else None for column in cells) for name, value in changes]
    names = [BASE, *readable_names(list(cells), only_changes)]
    rows = [dict(cells), *({**cells, name: value} for name, value in changes)]
    described = {name: brief(value) for name, value in cells.items()}
    design = {**_design("one_at_a_time", values), "base": described}
    columns = [column for column in cells if column != NAME]
    named = [(name, *(row[column] for column in columns)) for name, row in zip(names, rows, strict=True)]
    return scenario_table([NAME, *columns], named, design)


def _lists(function: str, axes: Mapping[str, Iterable[Any]]) -> dict[str, list[Any]]:
    """Return the values of each axis.

    Raises:
        TypeError: If an axis is a single value.
    """
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"{function}({name}=…): expected a list of values, got {values!r}")
    return {name: list(values) for name, values in axes.items()}


def _design(kind: str, values: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {"kind": kind, "axes": {name: axis_of_list(each) for name, each in values.items()}}
