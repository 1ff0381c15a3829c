"""Lights from printed lines: "just print" is how a flow says that something is not as it should be.

The rule is ductaflow's: a line is a warning if `⚠️` or `warning:` (any case) stands within its
first 15 characters. What `warnings.warn` prints is recognised apart and is not such a line.
"""

from __future__ import annotations

import re

REACH = 15
# Colours and movements, titles and links (ended by BEL or ESC \), character sets.
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]+[0-~]")
# As warnings.formatwarning() writes it, "file:line: Category: message". The place must be one of
# source code, or "09:15: Warning: rain" would be one; `sys` is Python's word for no place at all.
_PLACE = r"(?:.+?\.py|.*?[/\\]ipykernel_.+?|<.+?>|sys)"
_PYTHON_WARNING = re.compile(rf"^{_PLACE}:\d+: (\w*Warning: .*)$")


def strip_ansi(text: str) -> str:
    """Text without terminal colours."""
    return _ANSI.sub("", text)


def python_warning(line: str) -> str | None:
    """`Category: message` if the line is what Python's `warnings.warn` prints, else None."""
    match = _PYTHON_WARNING.match(line)
    return match.group(1) if match else None


def is_warning(line: str) -> bool:
    """Whether a line of output turns the light orange."""
    start = strip_ansi(line)[:REACH]
    return ("\N{WARNING SIGN}" in start or "warning:" in start.lower()) and not python_warning(line)


def settled(line: str) -> str:
    """What a terminal shows of a line that was rewritten with carriage returns, as progress bars do."""
    return line.rstrip("\r").rpartition("\r")[2]


class LineSplitter:
    """Cuts a stream that comes in arbitrary pieces into whole lines."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str]:
        """The lines that `text` completes, without their ends."""
        *lines, self._rest = (self._rest + text).split("\n")
        if "\r" in self._rest:  # a progress bar: only its last state is of use
            self._rest = settled(self._rest) + "\r" * self._rest.endswith("\r")
        return [settled(line) for line in lines]

    def flush(self) -> list[str]:
        """The last line, if it had no end."""
        rest, self._rest = settled(self._rest), ""
        return [rest] if rest else []
