"""Sum up the rows of the report for the page: its columns, causes, inputs that matter, changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from ..packed_rows import PackedRow, PackedRows, Row
from .causes import Cause, causes_of
from .changes import changes_of
from .common_values import common_values
from .importance import Importance, importances
from .sweep import Sweep, sweep_of

_MOST_CAUSES = 50
_EXPLAINED = 12  # causes for which common values are looked for


class Summed(NamedTuple):
    """A row and its packed form."""

    row: Row
    packed: PackedRow


def summary_of(rows: Sequence[Summed], packed: PackedRows) -> dict[str, Any]:
    """Return what the page shows of all rows together, as plain values.

    Returns:
        `columns` (config keys and results under their names in `results()`), `causes`, `importance`,
        `axes` (the two columns that tell most, for the pivot) and `changes`.
    """
    if not all(_is_row(row) for row, _ in rows):
        return {}
    sweep = sweep_of(rows, packed)
    causes = causes_of(sweep.rows)
    found = importances(sweep)
    changes = changes_of(sweep.rows, sweep.results, packed.places)
    return {
        "columns": _columns(sweep),
        "causes": [_cause(cause, sweep, number) for number, cause in enumerate(causes[:_MOST_CAUSES])],
        "more_causes": max(0, len(causes) - _MOST_CAUSES),
        "importance": [asdict(each) for each in found],
        "axes": _axes(sweep, found),
        "changes": asdict(changes),
    }


def _is_row(row: Any) -> bool:
    """Return whether a row, which may come from a page that others have written, can be summed up."""
    needed = ("status", "step", "instance")
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in needed)


def _columns(sweep: Sweep) -> dict[str, Any]:
    return {
        "config": [
            {"name": each.name, "key": each.key, "distinct": each.spread, "numeric": each.is_numeric}
            for each in sweep.inputs
        ],
        "results": [
            {"name": each.name, "place": each.place, "numeric": each.is_numeric} for each in sweep.results
        ],
    }


def _cause(cause: Cause, sweep: Sweep, number: int) -> dict[str, Any]:
    told = asdict(cause)
    if number < _EXPLAINED and cause.status != "blocked":
        told["common"] = asdict(common_values(sweep, cause.rows))
    return told


def _axes(sweep: Sweep, found: Sequence[Importance]) -> list[str]:
    """Return two columns: those that explain failing best, else a result, else the first that vary."""
    told = [name for each in found[:1] for name, _ in each.inputs]
    varying = [each.name for each in sweep.inputs if each.varies]
    return list(dict.fromkeys((*told, *varying)))[:2]
