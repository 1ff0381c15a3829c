"""Mistakes in what a user declared, each with its place and a remedy, as lines of a message."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

_ROW = re.compile(r", row (\d+)(?=, column |$)")
_ROWS = "\0rows"  # placeholder for row numbers in `Problem.where`
_RANGES = 5  # most ranges of rows in one message
_OF_ONE_PLACE = 20  # most problems of one column that differ in more than their row


@dataclass(frozen=True)
class Problem:
    """One mistake in what a user declared.

    Attributes:
        where: File, line, row and column, as far as they apply.
        what: What is wrong there.
        remedy: What to do about it.
    """

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.remedy})" if self.remedy else "")

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def merged_lines(problems: Iterable[Problem]) -> list[str]:
    """Return problems as lines, in order, with the same problem of several rows merged into one line.

    Of different problems in one column only the first ones are listed, followed by the number of others.
    """
    rows: dict[Problem, list[int]] = defaultdict(list)
    for problem in problems:
        found = _ROW.search(problem.where)
        rows[replace(problem, where=_ROW.sub(_ROWS, problem.where))] += [int(found[1])] if found else []
    lines: list[str] = []
    told: Counter[str] = Counter()
    for problem, numbers in rows.items():
        told[problem.where] += 1
        if told[problem.where] <= _OF_ONE_PLACE or not numbers:
            lines.append(str(replace(problem, where=problem.where.replace(_ROWS, _of_rows(numbers)))))
    for where, number in told.items():
        if _ROWS in where and number > _OF_ONE_PLACE:
            more = number - _OF_ONE_PLACE
            lines.append(f"{where.replace(_ROWS, '')}: and {more} more like those above, in other rows")
    return lines


def _of_rows(numbers: Sequence[int]) -> str:
    """Return row numbers as they follow a place: `, row 4` or `, rows 1 to 3, 7`."""
    if len(numbers) < 2:
        return "".join(f", row {number}" for number in numbers)
    starts = [numbers[0], *(right for left, right in pairwise(numbers) if right != left + 1)]
    ends = [*(left for left, right in pairwise(numbers) if right != left + 1), numbers[-1]]
    ranges = list(zip(starts, ends, strict=True))
    shown = [str(first) if first == last else f"{first} to {last}" for first, last in ranges[:_RANGES]]
    left = sum(last - first + 1 for first, last in ranges[_RANGES:])
    return f", rows {', '.join(shown)}" + (f" and {left} more" if left else "")
