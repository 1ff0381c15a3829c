"""Show only the first of several failures of one kind at one place, with number and names of the others."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from ..report.failure_text import Line
from .outcomes import FailureRepr

_NAMED = 5  # names shown, unless all are requested


@dataclass
class _Others:
    """The failures that are reported together with a first one."""

    message: str
    is_verbose: bool
    told: list[tuple[str, str]] = field(default_factory=list)  # names and messages

    def lines(self) -> list[Line]:
        """Return the lines shown below the first failure."""
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
    """A filter for failures that need not be shown, as one of their kind is.

    Args:
        verbosity: pytest's verbosity; with 1 all are named, with 2 all are shown.
    """

    def __init__(self, verbosity: int) -> None:
        self._verbosity = verbosity
        self._first: dict[Hashable, _Others] = {}

    def merge_into_earlier(self, place: Hashable, name: str, message: str, shown: FailureRepr) -> bool:
        """Return whether a failure is a further one of its kind; if not, later ones are added to it.

        Args:
            place: Key in common with others of its kind; None if there is nothing like it.
            name: Name of the instance.
            message: Message of the failure.
            shown: Failure as the terminal shows it.
        """
        if place is None or self._verbosity > 1:
            return False
        if (first := self._first.get(place)) is not None:
            first.told.append((name, message))
            return True
        others = self._first[place] = _Others(message, self._verbosity > 0)
        shown.add(others.lines)
        return False
