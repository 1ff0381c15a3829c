"""Group failures by their cause: how many of each there are, and the details of each cause once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from ...core.number_text import in_line
from ...core.record import Record
from ...report.analysis.causes import without_details
from ...report.failure_text import Line, failed_first, kind_of, message_of, place_of, quoted
from ..outcomes import FailureRepr

_SHOWN = 20  # lines for further instances of one cause; the short summary and the report have all
_CAUSES = 6  # causes that are named
_MESSAGES = 5  # kinds of messages at one place that count as causes of their own
_TIMES = "\N{MULTIPLICATION SIGN}"
_LONGEST = 60  # characters of a message that tells two causes apart


@dataclass(frozen=True)
class FailedInstance:
    """An instance that has failed, as it is told together with others.

    Attributes:
        name: `step/instance`.
        kind: What happened where: `ValueError in growth cell 3`.
        message: Its message, in full.
        place: Key that it has in common with those that failed at the same place; None if there is no other
            like it.
        instance: Its name without the step, which messages may mention.
        line: The line of the flow that failed, if that is known.
        look: The command that shows it in full; "" if there is nothing else to see.
    """

    name: str
    kind: str
    message: str
    place: Hashable | None
    instance: str = ""
    line: int | None = None
    look: str = ""

    @classmethod
    def of(cls, record: Record, root: Path, here: Path) -> Self:
        """Return the failure that a record tells of.

        Args:
            record: The record.
            root: Its project root.
            here: The directory to which the path in the command is relative.
        """
        failure = failed_first(record).error
        run_dir = Path(os.path.relpath(root / record.run_dir, here)).as_posix()
        return cls(
            name=f"{record.step}/{record.instance}",
            kind=kind_of(record),
            message=message_of(record),
            place=place_of(record),
            instance=record.instance,
            line=failure.file_line if failure is not None else None,
            look=f"ductaflow show {quoted(run_dir)}",
        )

    @property
    def first_line(self) -> str:
        lines = self.message.strip().splitlines()
        return in_line(lines[0].expandtabs()) if lines else ""

    @property
    def normal_message(self) -> str:
        """The message without what differs between instances, as the report groups by it."""
        return without_details(self.first_line, self.instance)


@dataclass
class _Cause:
    """The failures that have one cause; the first one is shown in full."""

    first: FailedInstance
    others: list[FailedInstance] = field(default_factory=list)

    def lines(self, width: int) -> list[Line]:
        """Return the lines below the first failure."""
        if not self.others:
            return []
        look = f"; one: {self.others[0].look}" if self.others[0].look else ""
        head = f"{len(self.others)} more of this cause (each in full: -v{look})"
        lines = [Line(head, ("red", "bold"))]
        for other in self.others[:_SHOWN]:
            text = f"  {other.name}: {other.first_line}"
            lines.append(Line(text if len(text) <= width else f"{text[: width - 1]}…", ("red",)))
        left = len(self.others) - _SHOWN
        return lines + ([Line(f"  and {left} more")] if left > 0 else [])

    @property
    def count(self) -> int:
        return 1 + len(self.others)

    @property
    def message(self) -> str:
        """What the messages have in common, shortened."""
        messages = {each.normal_message for each in (self.first, *self.others)}
        message = messages.pop() if len(messages) == 1 else "various messages"
        return message if len(message) <= _LONGEST else f"{message[: _LONGEST - 1]}…"


class SimilarFailures:
    """The failures of a session by cause, and the hook that counts them before pytest shows any.

    Args:
        verbosity: pytest's verbosity; from 1 on all failures are shown in full.
        style: The value of `--tb`; with `line`, each failure is one line anyway.
    """

    def __init__(self, verbosity: int, style: str = "auto") -> None:
        self._verbosity = verbosity
        self._shows_all = verbosity > 0 or style == "line"
        self._causes: list[_Cause] = []
        self._by_key: dict[Hashable, _Cause] = {}
        self._messages: Counter[Hashable] = Counter()  # kinds of messages, by place

    def merge_into_earlier(self, failed: FailedInstance, shown: FailureRepr | None = None) -> bool:
        """Add a failure; return whether the terminal need not show it, as one with its cause is shown.

        Args:
            failed: The failure.
            shown: How the terminal shows it, with those of its cause that come later.
        """
        key = self._key_of(failed)
        cause = self._by_key.get(key) if key is not None else None
        if cause is not None:
            cause.others.append(failed)
            return not self._shows_all
        cause = _Cause(failed)
        self._causes.append(cause)
        if key is not None:
            self._by_key[key] = cause
        if shown is not None and not self._shows_all:
            shown.add(cause.lines)
        return False

    def _key_of(self, failed: FailedInstance) -> Hashable | None:
        """Return what failures of one cause have in common: place and message; None if there is no other.

        Where messages at one place are all different, as those of a KeyError may be, they are one cause.
        """
        if failed.place is None:
            return None
        key = (failed.place, failed.normal_message)
        if key not in self._by_key:
            if self._messages[failed.place] >= _MESSAGES:
                return (failed.place, None)
            self._messages[failed.place] += 1
        return key

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None]:
        """Say how many have failed of which cause, above the details."""
        if self._verbosity >= -1 and not terminalreporter.no_summary:
            for line in self.headline(terminalreporter._tw.fullwidth):  # noqa: SLF001
                terminalreporter.write_line(in_line(line), red=True, bold=True)
        return (yield)

    def headline(self, width: int) -> list[str]:
        """Return how many have failed of which cause: in one line, or in one for each cause."""
        total = sum(cause.count for cause in self._causes)
        if total < 2:
            return []
        counts = list(self._counted())
        line = f"{total} failed: {', '.join(f'{count} {what}' for count, what in counts)}"
        if len(line) <= width:
            return [line]
        wide = len(str(counts[0][0]))
        return [f"{total} failed:", *(f"  {count:>{wide}} {what}" for count, what in counts)]

    def _counted(self) -> Iterator[tuple[int, str]]:
        """Yield the number and name of each cause, the most frequent first."""
        counts: Counter[str] = Counter()
        for name, cause in zip(_names(self._causes), self._causes, strict=True):
            counts[name] += cause.count
        ordered = counts.most_common()
        shown = len(ordered) if len(ordered) <= _CAUSES + 1 else _CAUSES
        yield from ((count, f"{_TIMES} {name}") for name, count in ordered[:shown])
        if rest := ordered[shown:]:
            yield sum(count for _, count in rest), f"of {len(rest)} other causes"


def _names(causes: Sequence[_Cause]) -> Iterator[str]:
    """Yield the names of causes, with the message and then the line where others are called alike.

    Those that are like no other, as each has outputs of its own, are counted together.
    """
    kinds = Counter(cause.first.kind for cause in causes)
    texts = Counter((cause.first.kind, cause.message) for cause in causes)
    for cause in causes:
        kind, message, line = cause.first.kind, cause.message, cause.first.line
        if kinds[kind] > 1 and cause.first.place is not None:
            if texts[kind, message] > 1 and line is not None:
                kind += f" line {line}"
            kind += f" ({message})" if message else ""
        yield kind
