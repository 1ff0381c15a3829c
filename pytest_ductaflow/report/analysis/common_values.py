"""Find the config values that some instances have in common and that others do not have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
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
    """A condition that may be told; `choices` is how many of its kind the column has."""

    condition: Condition
    choices: int
    holds: Callable[[int], bool]


@dataclass(frozen=True)
class _Narrowed:
    """A condition that was chosen, with the number of others for which all before it hold, and it as well."""

    chosen: _Candidate
    before: int
    left: int


def common_values(sweep: Sweep, members: Sequence[int]) -> Common:
    """Return the conditions on the config that hold for some rows and not for others of their steps.

    Conditions are chosen one after the other, each so that it excludes most of the others that are left. One
    that leaves a share p of them is told if p to the power of the number of members, about the probability
    that so many random instances meet it, times the number of conditions tried, is below 0.01. If already the
    first one is not, all are told if together they leave no other, and the probability that the members are
    those of so many random instances, times the number of such combinations, is below 0.01.

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
    compared = [*members, *others]
    columns = [column for column in sweep.inputs if _can_tell(column, compared)]
    candidates = [each for column in columns for each in _candidates(column, members, compared)]
    narrowed = _narrow(candidates, others) if len(members) > 1 else []
    told = list(
        takewhile(
            lambda each: (each.left / each.before) ** len(members) * len(candidates) <= _CHANCE, narrowed
        )
    )
    if not told and _are_together_no_chance(narrowed, len(columns), len(members), len(others)):
        told = narrowed
    conditions = tuple(each.chosen.condition for each in told)
    return Common(conditions, told[-1].left if told else len(others), len(others))


def _can_tell(column: Input, compared: Sequence[int]) -> bool:
    """Return whether a column has more than one value, and not only names each of the rows."""
    many = len({column.codes[number] for number in compared})
    return many > 1 and (column.is_numeric or many < len(compared))


def _narrow(candidates: Sequence[_Candidate], others: Sequence[int]) -> list[_Narrowed]:
    """Choose conditions one after the other, as long as they exclude others."""
    left, found = list(others), list[_Narrowed]()
    while left and candidates and len(found) < _MOST_CONDITIONS:
        kept = [([number for number in left if each.holds(number)], each) for each in candidates]
        rest, best = min(kept, key=lambda pair: len(pair[0]))
        if len(rest) == len(left):
            break
        found.append(_Narrowed(best, len(left), len(rest)))
        left = rest
    return found


def _are_together_no_chance(narrowed: Sequence[_Narrowed], columns: int, members: int, others: int) -> bool:
    """Return whether conditions leave no other, and chance would hardly have one combination do so."""
    if not narrowed or narrowed[-1].left:
        return False
    used = len({each.chosen.condition.column for each in narrowed})
    tried = math.comb(columns, used) * math.prod(each.chosen.choices for each in narrowed)
    return tried / math.comb(members + others, members) <= _CHANCE


def _candidates(column: Input, members: Sequence[int], compared: Sequence[int]) -> Iterator[_Candidate]:
    """Yield the conditions on a column that hold for all members, the simplest first."""
    codes = column.codes
    many = len({codes[number] for number in compared})
    mine = {codes[number] for number in members}
    if NOT_SET in mine:
        if len(mine) == 1:
            unset = Condition(column.name, "unset", ())
            yield _Candidate(unset, many, lambda number: codes[number] == NOT_SET)
        return
    values = [column.values[code] for code in mine]
    if len(mine) == 1:
        equal = Condition(column.name, "=", tuple(values))
        yield _Candidate(equal, many, lambda number: codes[number] in mine)
    elif column.is_numeric:
        yield from _bounds(column, values, many)
    elif len(mine) <= _MOST_VALUES and len(mine) < len(members):  # as many would only name the members
        texts = Condition(column.name, "in", tuple(sorted(values, key=str)))
        yield _Candidate(texts, math.comb(many, len(mine)), lambda number: codes[number] in mine)


def _bounds(column: Input, values: Sequence[Any], many: int) -> Iterator[_Candidate]:
    """Yield the conditions that a number is not below the lowest of some values, or not above the highest."""
    codes = column.codes
    numbers = {code: number_of(column.values[code]) for code in column.distinct if code != NOT_SET}
    lowest, highest = min(values), max(values)
    above = {code for code, number in numbers.items() if number is not None and number >= lowest}
    below = {code for code, number in numbers.items() if number is not None and number <= highest}
    yield _Candidate(Condition(column.name, "≥", (lowest,)), many, lambda number: codes[number] in above)
    yield _Candidate(Condition(column.name, "≤", (highest,)), many, lambda number: codes[number] in below)
