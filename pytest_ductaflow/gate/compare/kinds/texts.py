"""Compare texts line by line, without a tolerance for numbers in them."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from ....sources.file_reading import text_of
from ..findings import Findings
from ..tolerance import Tolerance, matches

_SHOWN = 20  # lines of the difference
_WIDTH = 120  # characters of a line
_MATCHED = 500  # lines; with more, finding the inserted ones takes too long
_Lines: TypeAlias = list[tuple[int, str]]  # with their numbers in the file
_Change: TypeAlias = tuple[_Lines, _Lines]


def read(path: Path, tolerance: Tolerance) -> _Lines:
    """Read the lines; line endings, including that of the last line, do not matter."""
    text = text_of(path, tolerance.encoding).replace("\r\n", "\n").replace("\r", "\n")
    lines = text.removesuffix("\n").split("\n") if text else []
    return list(enumerate(lines, start=1))


def compare(expected: _Lines, found: _Lines, tolerance: Tolerance, findings: Findings) -> None:
    """Find the lines that differ; patterns to ignore apply to whole lines."""
    for pattern in tolerance.ignore:
        ignored = (line for lines in (expected, found) for _, line in lines if matches(line, pattern))
        findings.names |= {*islice(ignored, 1)}  # one is enough to show that the pattern matches
    expected, found = (
        [(number, line) for number, line in lines if not tolerance.ignores(line)]
        for lines in (expected, found)
    )
    changes = list(_changes(expected, found))
    if not changes:
        return
    count = sum(max(len(ours), len(theirs)) for ours, theirs in changes)
    total = max(len(expected), len(found))
    first = (changes[0][0] or changes[0][1])[0][0]
    verb = "differs, at" if count == 1 else "differ, first at"
    findings.message = f"{count:,} of {total:,} lines {verb} line {first:,}"
    shown = [line for change in changes for line in _shown(*change)]
    findings.note(*shown[:_SHOWN])
    if len(shown) > _SHOWN:
        findings.note(f"… and {len(shown) - _SHOWN:,} more")


def _changes(expected: _Lines, found: _Lines) -> Iterator[_Change]:
    """Yield pairs of expected lines and the found lines in their place."""
    start, end = _common([line for _, line in expected], [line for _, line in found])
    ours, theirs = expected[start : len(expected) - end], found[start : len(found) - end]
    if max(len(ours), len(theirs)) > _MATCHED:
        yield from _position_by_position(ours, theirs)
        return
    matcher = SequenceMatcher(None, [line for _, line in ours], [line for _, line in theirs], autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        if kind != "equal":
            yield ours[i1:i2], theirs[j1:j2]


def _common(expected: list[str], found: list[str]) -> tuple[int, int]:
    """Return how many lines are the same at the start and, among the rest, at the end."""
    shorter = min(len(expected), len(found))
    start = next((n for n in range(shorter) if expected[n] != found[n]), shorter)
    rest = shorter - start
    end = next((n for n in range(rest) if expected[-1 - n] != found[-1 - n]), rest)
    return start, end


def _position_by_position(expected: _Lines, found: _Lines) -> Iterator[_Change]:
    for ours, theirs in zip(expected, found, strict=False):
        if ours[1] != theirs[1]:
            yield [ours], [theirs]
    shorter = min(len(expected), len(found))
    if len(expected) != len(found):
        yield expected[shorter:], found[shorter:]


def _shown(expected: _Lines, found: _Lines) -> Iterator[str]:
    yield f"@@ {_range('-', expected)} {_range('+', found)} @@"
    for sign, lines in (("-", expected), ("+", found)):
        for _, line in lines:
            yield sign + (line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…")


def _range(sign: str, lines: _Lines) -> str:
    return f"{sign}{lines[0][0] if lines else 0},{len(lines)}"
