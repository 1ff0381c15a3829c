"""Say which inputs matter: how much of a result's variance each config column explains.

The measure is the correlation ratio η², the variance between groups of rows with the same value of the
column, as a share of all variance (Pearson 1905), with the correction
ε² = 1 - (1 - η²)(n - 1)/(n - k) for n rows in k groups (Kelley 1935): without it, a column with many values
explains much by chance. Numbers with more than twelve values are grouped into eight classes of about the same
size. 1 means that the column alone tells the result, 0 that its mean does not depend on it. Columns are taken
one at a time: what only two of them together explain is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...core.record import Status
from .sweep import NOT_SET, Input, Result, Sweep, number_of

FAILING = "failing"
_MOST_VALUES = 12
_CLASSES = 8
_FEWEST_ROWS = 5
_MOST_RESULTS = 40
_ALL = 0.9995  # a larger share is all
_LEAST = 0.01  # a smaller share is not told


@dataclass(frozen=True)
class Importance:
    """How much of a target each input explains.

    Attributes:
        target: Name of a result, or `failing`.
        rows: Number of rows that have a value of it.
        inputs: Columns and their shares from 0 to 1, the largest first.
    """

    target: str
    rows: int
    inputs: tuple[tuple[str, float], ...]

    @property
    def is_given(self) -> bool:
        """Whether one input alone determines it, as a setting does, or a size of the input's data."""
        return bool(self.inputs) and self.inputs[0][1] > _ALL


def importances(sweep: Sweep) -> list[Importance]:
    """Return what the inputs explain of failing, if some but not all fail, and of each numeric result.

    Results that a single input determines come last.
    """
    columns = [each for each in (*sweep.inputs, sweep.steps) if each.varies]
    grouped = [(column.name, _groups(column)) for column in columns]
    failing = [
        (float(status == Status.ERROR) if ended else None)
        for status, ended in zip(sweep.statuses, sweep.has_ended, strict=True)
    ]
    targets: list[tuple[str, Sequence[float | None]]] = [(FAILING, failing)]
    targets += [(each.name, each.numbers) for each in _own_results(sweep)]
    found = []
    for name, values in targets:
        known = [number for number, value in enumerate(values) if value is not None]
        numbers = [value for value in values if value is not None]
        if len(known) < _FEWEST_ROWS or min(numbers) == max(numbers):
            continue
        shares = [(column, explained([groups[n] for n in known], numbers)) for column, groups in grouped]
        told = sorted(((c, s) for c, s in shares if s >= _LEAST), key=lambda pair: -pair[1])
        found.append(Importance(name, len(known), tuple((column, round(s, 4)) for column, s in told)))
    return sorted(found, key=lambda each: each.target != FAILING and each.is_given)


def _own_results(sweep: Sweep) -> Iterator[Result]:
    """Yield the numeric results, without those that only repeat a config key of the same name."""
    inputs = {column.key: column for column in sweep.inputs}
    for result in sweep.results[:_MOST_RESULTS]:
        column = inputs.get(result.name)
        is_copy = column is not None and all(
            value is None or value == column.value(row) for row, value in enumerate(result.values)
        )
        if result.is_numeric and not is_copy:
            yield result


def explained(groups: Sequence[int], values: Sequence[float]) -> float:
    """Return the share of the variance of values that their groups explain: ε², not below 0.

    Args:
        groups: Group of each value, from 0 on; -1 for those that are not looked at.
        values: The values.
    """
    size = max(groups, default=-1) + 1
    counts, sums = [0] * (size + 1), [0.0] * (size + 1)  # the last ones, which -1 means, are not looked at
    mean = sum(values) / max(1, len(values))
    squares = 0.0
    for group, value in zip(groups, values, strict=True):
        off = value - mean  # about the mean, so that large values lose no digits
        counts[group] += 1
        sums[group] += off
        if group >= 0:
            squares += off * off
    rows, number, total = sum(counts[:-1]), sum(map(bool, counts[:-1])), sum(sums[:-1])
    if number < 2 or rows <= number:
        return 0.0
    whole = squares - total * total / rows
    parts = zip(sums[:-1], counts[:-1], strict=True)
    between = sum(part * part / count for part, count in parts if count) - total * total / rows
    if whole <= 0:
        return 0.0
    return min(1.0, max(0.0, 1 - (1 - between / whole) * (rows - 1) / (rows - number)))


def _groups(column: Input) -> list[int]:
    """Return the group of each row by its value of a column; a number with many values in classes."""
    if not column.is_numeric or len(column.distinct) <= _MOST_VALUES:
        dense = {code: number for number, code in enumerate(sorted(column.distinct - {NOT_SET}))}
        return [dense.get(code, NOT_SET) for code in column.codes]
    numbers = sorted(number_of(column.values[code]) or 0.0 for code in column.codes if code != NOT_SET)
    edges = [numbers[len(numbers) * part // _CLASSES] for part in range(1, _CLASSES)]
    classes = {
        code: sum(edge <= (number_of(column.values[code]) or 0.0) for edge in edges)
        for code in column.distinct
        if code != NOT_SET
    }
    return [classes.get(code, NOT_SET) for code in column.codes]
