"""Find warnings in printed lines: a flow warns by printing.

The rule is ductaflow's: a line is a warning if `⚠️` or `warning:` (any case) occurs within its
first 15 characters. What `warnings.warn` prints is recognised separately and does not count.
"""

from __future__ import annotations

import re

REACH = 15
LONGEST = 20_000_000  # characters of a line that are kept
LOOKED_AT = 8_192  # characters of a line to examine: enough for a code location, and for text after colours
# Colours and cursor movements, titles and links (ended by BEL or ESC \), character sets.
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]+[0-~]")
# As warnings.formatwarning() writes it, "file:line: Category: message". The location must be one of
# source code, or "09:15: Warning: rain" would match; `sys` is Python's word for no location.
_PLACE = r"(?:.+?\.py|.*?[/\\]ipykernel_.+?|<.+?>|sys)"
_PYTHON_WARNING = re.compile(rf"^{_PLACE}:\d+: (\w*Warning: .*)$")


def strip_ansi(text: str) -> str:
    """Return a text without terminal colours."""
    return _ANSI.sub("", text)


def python_warning(line: str) -> str | None:
    """Return `Category: message` if a line was printed by Python's `warnings.warn`, else None."""
    match = _PYTHON_WARNING.match(line[:LOOKED_AT])
    return match.group(1) if match else None


def is_warning(line: str) -> bool:
    """Return whether a line of output turns the light orange."""
    start = strip_ansi(line[:LOOKED_AT])[:REACH]
    return ("\N{WARNING SIGN}" in start or "warning:" in start.lower()) and not python_warning(line)


def settled(line: str) -> str:
    """Return what a terminal shows of a line rewritten with carriage returns, as progress bars do."""
    return line.rstrip("\r").rpartition("\r")[2]


class LineSplitter:
    """A splitter of a stream in arbitrary pieces into whole lines, in time linear in its length."""

    def __init__(self) -> None:
        self._pieces: list[str] = []  # of the incomplete line, as `settled` would return it
        self._length = self._lost = 0  # characters of the pieces, and dropped ones
        self._returned = False  # whether it ends with a carriage return, so that the next text replaces it

    def feed(self, text: str) -> list[str]:
        """Return the lines that `text` completes, without line ends."""
        first, *others = text.split("\n")
        self._add(first)
        if not others:
            return []
        *lines, rest = others
        complete = [*self._take(), *map(settled, lines)]
        self._add(rest)
        return complete

    def _add(self, text: str) -> None:
        if shown := text.rstrip("\r"):
            _, returned, last = shown.rpartition("\r")
            if returned or self._returned:
                self._pieces.clear()
                self._length = 0
            kept = last[: max(LONGEST - self._length, 0)]
            self._lost += len(last) - len(kept)
            if kept or not self._pieces:
                self._pieces.append(kept)
            self._length += len(kept)
        self._returned = text.endswith("\r") or (self._returned and not text)

    def _take(self) -> list[str]:
        line = "".join(self._pieces)
        self._pieces, self._length, self._returned = [], 0, False
        return [line]

    def take_lost(self) -> int:
        """Return how many characters of incomplete lines were dropped since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    def flush(self) -> list[str]:
        """Return the last line, if it had no end."""
        return [line for line in self._take() if line]
