"""Find the config values that some instances have in common and that others do not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .sweep import NOT_SET, Input, Sweep, number_of

Sign = Literal["=", "≥", "≤", "in", "unset"]
_CHANCE = 0.01  # a condition that chance would bring about more often than this is not told
_MOST_VALUES = 4  # in a condition such as "mode in car, rail"
_MOST_CONDITIONS = 4


@dataclass(frozen=True)
class Condition:
    """A condition on a config value: `year ≥ 2040`; `unset` if it must not be set."""

    column: str
    sign: Sign
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Common:
    """What some instances have in common.

    Attributes:
        conditions: Conditions that hold for each of them, the one that tells most others apart first.
        also: Number of others for which all of these hold as well.
        others: Number of others that they were compared with.
    """

    conditions: tuple[Condition, ...]
    also: int
    others: int


@dataclass(frozen=True)
class _Candidate:
    condition: Condition
    holds: Callable[[int], bool]


def common_values(sweep: Sweep, members: Sequence[int]) -> Common:
    """Return the conditions on the config that hold for some rows and not for others of their steps.

    Conditions are chosen one after the other, each so that it excludes most of the others that are left. One
    that leaves a share p of them is told if p to the power of the number of members, about the probability
    that so many random instances meet it, times the number of conditions tried, is below 0.01.

    Args:
        sweep: All rows.
        members: Numbers of the rows in question.
    """
    inside = frozenset(members)
    steps = {sweep.rows[number]["step"] for number in members}
    others = [
        number
        for number, row in enumerate(sweep.rows)
        if sweep.has_ended[number] and number not in inside and row["step"] in steps
    ]
    left, chosen = others, list[Condition]()
    candidates = [each for column in sweep.inputs if column.varies for each in _candidates(column, members)]
    while left and len(members) > 1 and len(chosen) < _MOST_CONDITIONS:
        kept = [([number for number in left if each.holds(number)], each) for each in candidates]
        if not kept:
            break
        rest, best = min(kept, key=lambda pair: len(pair[0]))
        if len(rest) == len(left) or (len(rest) / len(left)) ** len(members) * len(kept) > _CHANCE:
            break
        left = rest
        chosen.append(best.condition)
    return Common(tuple(chosen), len(left), len(others))


def _candidates(column: Input, members: Sequence[int]) -> Iterator[_Candidate]:
    """Yield the conditions on a column that hold for all members, the simplest first."""
    codes = column.codes
    mine = {codes[number] for number in members}
    if NOT_SET in mine:
        if len(mine) == 1:
            yield _Candidate(Condition(column.name, "unset", ()), lambda number: codes[number] == NOT_SET)
        return
    values = [column.values[code] for code in mine]
    if len(mine) == 1:
        yield _Candidate(Condition(column.name, "=", tuple(values)), lambda number: codes[number] in mine)
    elif column.is_numeric:
        yield from _bounds(column, values)
    elif len(mine) <= _MOST_VALUES:
        texts = tuple(sorted(values, key=str))
        yield _Candidate(Condition(column.name, "in", texts), lambda number: codes[number] in mine)


def _bounds(column: Input, values: Sequence[Any]) -> Iterator[_Candidate]:
    """Yield the conditions that a number is not below the lowest of some values, or not above the highest."""
    codes = column.codes
    numbers = {code: number_of(column.values[code]) for code in column.distinct if code != NOT_SET}
    lowest, highest = min(values), max(values)
    above = {code for code, number in numbers.items() if number is not None and number >= lowest}
    below = {code for code, number in numbers.items() if number is not None and number <= highest}
    yield _Candidate(Condition(column.name, "≥", (lowest,)), lambda number: codes[number] in above)
    yield _Candidate(Condition(column.name, "≤", (highest,)), lambda number: codes[number] in below)
