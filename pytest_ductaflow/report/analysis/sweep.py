"""The rows of the report as columns, for the analyses: config values by number, results as numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ...core.record import Status
from ...core.scalars import Place, config_name, result_names
from ..packed_rows import PackedRow, PackedRows, Row

_TAKEN = ("step", "instance", "status", "duration")  # columns of results() that are no results
ENDED = frozenset((Status.SUCCESS.value, Status.WARNING.value, Status.ERROR.value))
NOT_SET = -1


@dataclass(frozen=True)
class Input:
    """A config key as a column.

    Attributes:
        name: Column as in `results()`.
        key: Dotted key in the config.
        codes: For each row the number of its value, -1 where the key is not set.
        values: All config values, by number.
        spread: The number of values, "not set" among them, in the step that has most. That other steps lack a
            key does not make it vary.
    """

    name: str
    key: str
    codes: Sequence[int]
    values: Sequence[Any]
    spread: int

    @cached_property
    def distinct(self) -> frozenset[int]:
        """The numbers of the values that occur; -1 among them if some rows lack the key."""
        return frozenset(self.codes)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether all values are numbers."""
        return all(number_of(self.values[code]) is not None for code in self.distinct if code != NOT_SET)

    @property
    def varies(self) -> bool:
        return self.spread > 1

    def value(self, row: int) -> Any:
        """Return the value of a row; None if its config lacks the key."""
        return None if (code := self.codes[row]) == NOT_SET else self.values[code]


@dataclass(frozen=True)
class Result:
    """A scalar result as a column, `name` as in `results()`; None in rows without it."""

    name: str
    place: int
    values: Sequence[Any]

    @cached_property
    def numbers(self) -> Sequence[float | None]:
        """The values that are finite numbers, None for others."""
        return [number_of(value) for value in self.values]

    @cached_property
    def is_numeric(self) -> bool:
        """Whether all values that are there are numbers."""
        return all(number is not None or not _is_text(value) for number, value in self._pairs)

    @property
    def _pairs(self) -> Iterator[tuple[float | None, Any]]:
        return zip(self.numbers, self.values, strict=True)


@dataclass
class Sweep:
    """Rows and their columns."""

    rows: Sequence[Row]
    inputs: Sequence[Input]
    results: Sequence[Result]
    by_name: dict[str, Input] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = {each.name: each for each in self.inputs}

    @cached_property
    def statuses(self) -> Sequence[str]:
        return [row["status"] for row in self.rows]

    @cached_property
    def has_ended(self) -> Sequence[bool]:
        """Whether each row ran to an end of its own, good or bad."""
        return [status in ENDED for status in self.statuses]

    @cached_property
    def steps(self) -> Input:
        """The step as a further column."""
        names = list(dict.fromkeys(row["step"] for row in self.rows))
        numbers = {name: number for number, name in enumerate(names)}
        return Input("step", "step", [numbers[row["step"]] for row in self.rows], names, len(names))


def sweep_of(rows: Sequence[tuple[Row, PackedRow]], packed: PackedRows) -> Sweep:
    """Return the columns of packed rows."""
    count = len(rows)
    by_key: dict[str, list[int]] = {}
    by_place: dict[int, list[Any]] = {}
    keys = [[".".join(path) for path in shape] for shape in packed.shapes]
    for number, (_, row) in enumerate(rows):
        for key, code in zip(keys[row.shape] if row.shape >= 0 else (), row.codes, strict=True):
            if key not in by_key:
                by_key[key] = [NOT_SET] * count
            by_key[key][number] = code
        for place, value in zip(row.places, row.results, strict=True):
            if place not in by_place:
                by_place[place] = [None] * count
            by_place[place][number] = value
    places: list[Place] = packed.places
    names = result_names((places[place] for place in by_place), _TAKEN)
    taken = {*names.values(), *_TAKEN}
    steps = [row["step"] for row, _ in rows]
    inputs = [
        Input(config_name(key, taken), key, codes, packed.values, _spread(codes, steps))
        for key, codes in by_key.items()
        if not key.startswith("_") and not _repeats_names(codes, packed.values, rows)
    ]
    results = [Result(names[places[place]], place, values) for place, values in by_place.items()]
    return Sweep([row for row, _ in rows], inputs, results)


def _repeats_names(
    codes: Sequence[int], values: Sequence[Any], rows: Sequence[tuple[Row, PackedRow]]
) -> bool:
    """Return whether a config key, such as `instance_name`, only says again what each instance is called."""
    return all(
        code == NOT_SET or values[code] == row["instance"] for code, (row, _) in zip(codes, rows, strict=True)
    )


def _spread(codes: Sequence[int], steps: Sequence[str]) -> int:
    by_step: dict[str, set[int]] = {}
    for step, code in set(zip(steps, codes, strict=True)):
        by_step.setdefault(step, set()).add(code)
    return max(map(len, by_step.values()), default=0)


def number_of(value: Any) -> float | None:
    """Return a finite number as a float, None for anything else; truth values count as 0 and 1."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value not in ("nan", "inf", "-inf")
