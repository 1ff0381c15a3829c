"""Collect the differences between two files and describe them in sentences."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ...core.number_text import amount, percent
from ...core.record import Difference, DifferingValue
from .values import Gaps

_WORST = 10  # values shown
_NOTES = 30
_WIDTH = 60  # characters of a value


class Findings:
    """A collector of the differences between an expected and a found file.

    Attributes:
        file: The file's name in the run directory.
        folder: Folder for pictures of the difference; need not exist.
        compared: Number of values compared.
        message: Message for kinds of file that have no values to count.
        pictures: Pictures written so far, by role.
        names: Names of all columns, keys and arrays, compared or not.
        was_read: Whether both files were read.
    """

    def __init__(self, file: str, folder: Path) -> None:
        self.file = file
        self.folder = folder
        self.compared = 0
        self.message = ""
        self.pictures: dict[str, Path] = {}
        self.names: set[str] = set()
        self.was_read = False
        self._notes: list[str] = []
        self._worst: list[DifferingValue] = []
        self._absolute: DifferingValue | None = None  # the value with the largest absolute difference
        self._relative: DifferingValue | None = None
        self._differing = 0
        self._zeros = 0
        self._measured = 0  # number of differing values that are pairs of numbers

    def note(self, *notes: str) -> None:
        self._notes += notes

    def add(self, gaps: Gaps, where: Callable[[int], str], shown: Callable[[int], tuple[str, str]]) -> None:
        """Add values that differ.

        Args:
            gaps: Their positions and the size of the differences.
            where: Function that describes a position for people.
            shown: Function that returns the expected and the found value at a position, as text.
        """
        if not len(gaps.positions):
            return

        def value(number: int) -> DifferingValue:
            position = int(gaps.positions[number])
            expected, found = _told_apart(*shown(position))
            absolute, relative = (_or_none(a[number]) for a in (gaps.absolute, gaps.relative))
            return DifferingValue(where(position), expected, found, absolute, relative)

        self._differing += len(gaps.positions)
        self._zeros += gaps.zeros
        self._measured += int(np.isfinite(gaps.absolute).sum())
        worst = np.argsort(-np.nan_to_num(gaps.absolute, nan=np.inf), kind="stable")[:_WORST]
        self._worst = sorted([*self._worst, *map(value, worst)], key=_rank)[:_WORST]
        if np.isfinite(gaps.absolute).any():
            largest = value(int(np.nanargmax(gaps.absolute)))
            self._absolute = max(self._absolute or largest, largest, key=lambda v: v.absolute or 0.0)
        if np.isfinite(gaps.relative).any():
            largest = value(int(np.nanargmax(gaps.relative)))
            self._relative = max(self._relative or largest, largest, key=lambda v: v.relative or 0.0)

    def difference(self) -> Difference | None:
        """Return everything collected, or None if nothing differs.

        The worst values are those that are not both finite numbers, then those with the largest absolute
        difference. If no values differ, the first note is the message.
        """
        values = self.message or self._about_values()
        notes = [*self._about_zeros(), *self._notes]
        message, *more = [values, *notes] if values else notes or [""]
        if not message:
            return None
        if len(more) > _NOTES:
            more = [*more[:_NOTES], f"… and {len(more) - _NOTES:,} more"]
        base = self.folder.parent
        figures = {role: Path(os.path.relpath(path, base)).as_posix() for role, path in self.pictures.items()}
        return Difference(self.file, message, tuple(more), tuple(self._worst), figures)

    def _about_values(self) -> str:
        if not self._differing:
            return ""
        verb = "differs" if self._differing == 1 else "differ"
        parts = [f"{self._differing:,} of {self.compared:,} values {verb}"]
        if self._absolute is not None:
            parts.append(self._about_numbers(self._absolute))
        others = self._differing - self._measured
        if others:
            first = _place(self._worst[0])
            if self._absolute is None:
                parts.append(first if others == 1 else f"first: {first}")
            elif others == 1:
                parts.append(f"1 is not a pair of numbers: {first}")
            else:
                parts.append(f"{others:,} are not pairs of numbers, first: {first}")
        return "; ".join(parts)

    def _about_zeros(self) -> Iterator[str]:
        if self._zeros:
            count = f"{self._zeros:,} value{'s' * (self._zeros != 1)}"
            remedy = '"atol" is the difference that it may have'
            yield f"where 0 is expected ({count}), rtol allows nothing: {remedy}"

    def _about_numbers(self, largest: DifferingValue) -> str:
        text = f"largest absolute difference {amount(largest.absolute or 0.0)} ({_place(largest)})"
        other = self._relative
        if other is None or other.relative is None:
            return text
        place = "" if other.where == largest.where else f" ({_place(other)})"
        return f"{text}, largest relative {percent(other.relative)}{place}"


def with_kinds(expected: object, found: object, shown: Callable[[object], str]) -> tuple[str, str]:
    """Return two values as texts, with their types if the texts are the same."""
    texts = shown(expected), shown(found)
    if texts[0] != texts[1]:
        return texts
    return f"{texts[0]} ({type(expected).__name__})", f"{texts[1]} ({type(found).__name__})"


def _rank(value: DifferingValue) -> float:
    return -math.inf if value.absolute is None else -value.absolute


def _or_none(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def _place(value: DifferingValue) -> str:
    return f"{value.where}: {value.expected} expected, {value.found} found"


def _told_apart(expected: str, found: str) -> tuple[str, str]:
    """Return two texts as single lines, cut to a part in which they differ."""
    lines = expected.replace("\n", "\\n"), found.replace("\n", "\\n")
    expected, found = lines if lines[0] != lines[1] else (repr(expected), repr(found))
    if max(len(expected), len(found)) <= _WIDTH:
        return expected, found
    pairs = enumerate(zip(expected, found, strict=False))
    common = next((n for n, (ours, theirs) in pairs if ours != theirs), min(len(expected), len(found)))
    start = 0 if common < _WIDTH // 2 else common - _WIDTH // 3
    return _part(expected, start), _part(found, start)


def _part(text: str, start: int) -> str:
    before = "…" if start else ""
    rest = text[start:]
    room = _WIDTH - len(before)
    return before + (rest if len(rest) <= room else rest[: room - 1] + "…")
