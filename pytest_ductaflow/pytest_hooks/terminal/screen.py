"""Keep a line below all that pytest writes to a terminal.

The cursor stays where pytest has left it: at the end of what it has written, so that what is below it may
always be erased. For the line, the cursor goes down, and comes back. What pytest writes passes through here,
since a line break would otherwise end up in the line.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable
from typing import Any

from _pytest._io.wcwidth import wcswidth

_ERASE = "\x1b[J"  # what is right of the cursor, and below it
_MAKE_ROOM = "\x1bD\x1b[A"  # a line down, which scrolls at the last one, and up again; the column stays
_TO_THE_LINE = "\x1b7\x1b[?7l\r\n"  # remembers the cursor; what is too long is cut
_BACK = "\x1b[?7h\x1b8"
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b.")
_LOWEST = 3  # lines of a terminal that is too low for more
_USUAL = 80  # columns, if a terminal does not know its own


class Screen:
    """A stream to a terminal that keeps a line below what is written to it.

    Args:
        stream: The stream.
        line: Function from the largest width to the line, with its colours.
        column: Column in which the cursor is.

    Raises:
        OSError: If the stream has no terminal.
    """

    def __init__(self, stream: Any, line: Callable[[int], str], column: int = 0) -> None:
        self.stream = stream
        self._line = line
        self._column = column
        # While pytest captures what tests print, the stream's own descriptor leads elsewhere.
        self._terminal: int | None = os.dup(stream.fileno())
        self._is_wanted = self._is_shown = False
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write what pytest writes; the line makes way if it has to."""
        with self._lock:
            column = self._column_after(text)
            is_in_line = "\n" not in text and "\r" not in text and column < self._size[0]
            makes_way = self._is_wanted and not is_in_line
            if makes_way:
                self._hide()
            written = int(self.stream.write(text))
            self._column = column
            if makes_way:
                self.stream.flush()
                self.draw()
            return written

    def draw(self) -> None:
        """Show the line, or what has become of it."""
        with self._lock:
            self._is_wanted = True
            columns, lines = self._size
            is_at_edge = self._column > 0 and self._column % columns == 0  # where the next letter breaks it
            if lines < _LOWEST or is_at_edge or not self._is_in_foreground:
                self._hide()
                return
            text = self._line(columns - 1)
            self._send(f"{_ERASE}{_MAKE_ROOM}{_TO_THE_LINE}{text}{_BACK}")
            self._is_shown = True

    def erase(self) -> None:
        """Leave nothing of the line, until it is drawn again."""
        with self._lock:
            self._is_wanted = False
            self._hide()

    def close(self) -> None:
        """Erase the line, and draw none any more."""
        with self._lock:
            self.erase()
            if self._terminal is not None:
                os.close(self._terminal)
                self._terminal = None

    def _hide(self) -> None:
        if self._is_shown:
            self._is_shown = False
            self._send(_ERASE)

    def _send(self, text: str) -> None:
        if self._terminal is None:
            return
        data = text.encode(getattr(self.stream, "encoding", None) or "utf-8", "replace")
        try:
            while data:
                data = data[os.write(self._terminal, data) :]
        except OSError:  # the terminal is gone
            self._is_shown = False

    def _column_after(self, text: str) -> int:
        """Return the column in which the cursor is after a text."""
        plain = _CONTROLS.sub("", text)
        last = re.split(r"[\n\r]", plain)[-1]
        before = self._column if last == plain else 0
        return before + max(wcswidth(last.expandtabs()), 0)

    @property
    def _size(self) -> tuple[int, int]:
        """Columns and lines of the terminal, which may change at any time."""
        columns = lines = 0
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                columns, lines = os.get_terminal_size(self._terminal)
        return columns or _USUAL, lines or _LOWEST

    @property
    def _is_in_foreground(self) -> bool:
        """Return whether the terminal is this session's, and not a shell's that has it in the background."""
        if self._terminal is None:
            return False
        try:
            return os.tcgetpgrp(self._terminal) == os.getpgrp()
        except OSError:  # it is nobody's
            return True
