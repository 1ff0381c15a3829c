"""Errors that a user can meet; each says where it is, what was expected and what to do."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

_ROW = re.compile(r", row (\d+)(?=, column |$)")
_ROWS = "\0rows"  # placeholder for row numbers in `Problem.where`
_RANGES = 5  # most ranges of rows in one message
_OF_ONE_PLACE = 20  # most problems of one column that differ in more than their row


class DuctaflowError(Exception):
    """Base of all errors of this package."""


class FlowNotFound(DuctaflowError, FileNotFoundError):
    """A flow, build or conductor does not exist."""


class TableError(DuctaflowError):
    """A control table has one or more problems; none of its instances has run."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(told_once(problems)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class InstanceFailed(DuctaflowError):
    """An instance ended with an error; `record` has the details."""

    def __init__(self, message: str, record: Any = None) -> None:
        self.record = record
        super().__init__(message)


class SweepFailed(DuctaflowError):
    """Some instances of a conductor that ran as a script have failed."""


class Refused(BaseException):
    """A conductor did something that it may not do while pytest collects.

    Not an `Exception`: a conductor with its calls in `try:` would catch it and go on after the runs.
    """


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


def told_once(problems: Iterable[Problem]) -> list[str]:
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


class KernelStartError(DuctaflowError):
    """A kernel could not be started."""


class HelperFrozen(DuctaflowError):
    """A helper process that a kernel needs to go on was stopped from outside."""


class ServerStuck(KernelStartError):
    """The kernel server is alive but does not answer, and will not answer the next request either."""


class NoAnswer(DuctaflowError, RuntimeError):
    """A kernel lives, and does not answer what it always answers at once."""
