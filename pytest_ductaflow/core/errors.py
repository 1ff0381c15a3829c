"""Every error that a user can meet, each saying where, what was expected and what to do."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

_ROW = re.compile(r", row (\d+)(?=, column |$)")
_ROWS = "\0rows"  # in a place, where its rows are to be said
_RANGES = 5  # of rows, in one message
_OF_ONE_PLACE = 20  # problems that differ in more than their row


class DuctaflowError(Exception):
    """Base of all errors of this package."""


class FlowNotFound(DuctaflowError, FileNotFoundError):
    """A flow, build or conductor that is not there."""


class TableError(DuctaflowError):
    """One or more problems of a control table; none of its instances has run."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(told_once(problems)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class InstanceFailed(DuctaflowError):
    """An instance ended with an error; `record` has all that is known of it."""

    def __init__(self, message: str, record: Any = None) -> None:
        self.record = record
        super().__init__(message)


class SweepFailed(DuctaflowError):
    """Some instances of a conductor that ran as a script have failed."""


class Refused(BaseException):
    """What a conductor may not do while pytest collects.

    No `Exception`: conductors have their calls in `try:`, and would go on to what comes after the runs.
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
    """Problems as lines, in their order: what is wrong with many rows in the same way is one line.

    Of those of one column that differ in what they say the first are told, and how many others there are.
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
    """Rows as a place has them: `, row 4` or `, rows 1 to 3, 7`."""
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
    """A process of ours without which a kernel cannot go on was stopped by somebody."""


class ServerStuck(KernelStartError):
    """The server of kernels lives and does not answer, which it will not do for the next one, either."""


class NoAnswer(DuctaflowError, RuntimeError):
    """A kernel lives, and does not answer what it always answers at once."""
