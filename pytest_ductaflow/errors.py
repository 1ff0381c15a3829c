"""Every error that a user can meet, each saying where, what was expected and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


class DuctaflowError(Exception):
    """Base of all errors of this package."""


class FlowNotFound(DuctaflowError, FileNotFoundError):
    """A flow, build or conductor that is not there."""


class TableError(DuctaflowError):
    """One or more problems of a control table; none of its instances has run."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))

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


class KernelStartError(DuctaflowError):
    """A kernel could not be started."""
