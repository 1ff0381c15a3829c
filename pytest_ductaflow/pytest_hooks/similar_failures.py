"""Failures of one kind at one place: the first is shown, and with it how many others there are, and which."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from ..report.failure_text import Line
from .outcomes import FailureRepr

_NAMED = 5  # of many, unless all are wanted


@dataclass
class _Others:
    """The failures that are told together with a first one."""

    message: str
    is_verbose: bool
    told: list[tuple[str, str]] = field(default_factory=list)  # names and messages

    def lines(self) -> list[Line]:
        """What is said of them below the first."""
        if not self.told:
            return []
        head = f"{len(self.told)} more at the same place with the same"
        shown = self.told if self.is_verbose else self.told[:_NAMED]
        left = len(self.told) - len(shown)
        if all(message == self.message for _, message in self.told):
            more = f" and {left} more (-v names all, -vv shows all)" if left else ""
            return [_line(f"{head} error: {', '.join(name for name, _ in shown)}{more}")]
        lines = [_line(f"{head} kind of error:")]
        lines += [Line(f"  {name}: {(message.splitlines() or [''])[0]}", ("red",)) for name, message in shown]
        return lines + ([Line(f"  and {left} more (-v names all, -vv shows all)")] if left else [])


def _line(text: str) -> Line:
    return Line(text, ("red", "bold"))


class AlikeFailures:
    """Finds the failures that need not be shown, as one of their kind is.

    Args:
        verbosity: pytest's; with 1 all are named, with 2 all are shown.
    """

    def __init__(self, verbosity: int) -> None:
        self._verbosity = verbosity
        self._first: dict[Hashable, _Others] = {}

    def is_told_with_another(self, place: Hashable, name: str, message: str, shown: FailureRepr) -> bool:
        """Whether a failure is one more of a kind; else the others of its kind are told with it.

        Args:
            place: What it has in common with others of its kind; None if there is nothing like it.
            name: Of the instance.
            message: What went wrong.
            shown: How the terminal shows it.
        """
        if place is None or self._verbosity > 1:
            return False
        if (first := self._first.get(place)) is not None:
            first.told.append((name, message))
            return True
        others = self._first[place] = _Others(message, self._verbosity > 0)
        shown.add(others.lines)
        return False
