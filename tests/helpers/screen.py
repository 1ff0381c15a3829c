"""Run a command in a terminal of a given size, and read its screen as a user sees it (POSIX)."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from helpers.sessions import PATIENCE, interruptible, own_environment

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b(.)|([^\x1b])", re.DOTALL)


class Screen:
    """What a terminal shows, and what has left it at the top.

    Args:
        columns: Its width.
        lines: Its height.
    """

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.columns, self.lines = columns, lines
        self.gone: list[str] = []
        self._rows = [[" "] * columns for _ in range(lines)]
        self._row = self._column = 0
        self._kept = (0, 0)
        self._breaks_lines = True
        self._unread = ""

    @property
    def shown(self) -> list[str]:
        """The lines on the screen, without the empty ones at its end."""
        text = ["".join(row).rstrip() for row in self._rows]
        while text and not text[-1]:
            text.pop()
        return text

    @property
    def all(self) -> list[str]:
        return [*self.gone, *self.shown]

    @property
    def cursor(self) -> tuple[int, int]:
        return self._row, self._column

    def resize(self, columns: int) -> None:
        """Make it narrower or wider; as in most terminals without reflow, lines are cut."""
        self._rows = [(row + [" "] * columns)[:columns] for row in self._rows]
        self.columns = columns
        self._column = min(self._column, columns - 1)

    def feed(self, text: str) -> None:
        text = self._unread + text
        self._unread = found[0] if (found := re.search(r"\x1b(\[[0-9;?]*)?$", text)) else ""
        text = text[: len(text) - len(self._unread)]
        for numbers, final, single, letter in _TOKEN.findall(text):
            if final:
                self._control(numbers, final)
            elif single:
                self._escape(single)
            else:
                self._put(letter)

    def _control(self, numbers: str, final: str) -> None:
        first = int(numbers) if numbers.isdecimal() else 0
        if final == "A":
            self._row = max(self._row - max(first, 1), 0)
        elif final == "J" and not first:
            self._rows[self._row][self._column :] = [" "] * (self.columns - min(self._column, self.columns))
            for row in range(self._row + 1, self.lines):
                self._rows[row] = [" "] * self.columns
        elif final in "hl" and numbers == "?7":
            self._breaks_lines = final == "h"
        elif final != "m":
            pytest.fail(f"a sequence that this terminal does not know: {numbers}{final}")

    def _escape(self, single: str) -> None:
        if single == "7":
            self._kept = (self._row, self._column)
        elif single == "8":
            self._row, self._column = self._kept
        elif single == "D":
            self._down()
        else:
            pytest.fail(f"a sequence that this terminal does not know: {single}")

    def _put(self, letter: str) -> None:
        if letter == "\n":
            self._down()
        elif letter == "\r":
            self._column = 0
        else:
            if self._column >= self.columns:
                if self._breaks_lines:
                    self._column = 0
                    self._down()
                else:
                    self._column = self.columns - 1
            self._rows[self._row][self._column] = letter
            self._column += 1

    def _down(self) -> None:
        if self._row == self.lines - 1:
            self.gone.append("".join(self._rows.pop(0)).rstrip())
            self._rows.append([" "] * self.columns)
        else:
            self._row += 1


class Terminal:
    """A command in a terminal of its own.

    Args:
        folder: Its working directory.
        command: The command.
        columns: Width of the terminal.
        lines: Its height.
        environment: More variables.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.screen = Screen(columns, lines)
        self.written = ""
        variables = {**own_environment(), "TERM": "xterm", **(environment or {})}
        reading, writing = os.pipe()  # the size is set before the command begins
        self.process, self._descriptor = pty.fork()
        if self.process == 0:
            interruptible()
            os.chdir(folder)
            os.read(reading, 1)
            os.execve(command[0], list(command), variables)
        self._set_size(columns, lines)
        os.write(writing, b".")
        os.close(reading)
        os.close(writing)

    def _set_size(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, size)

    def resize(self, columns: int) -> None:
        self.screen.resize(columns)
        self._set_size(columns, self.screen.lines)

    def press(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def read_until(self, is_seen: Callable[[Screen], object], what: str) -> Screen:
        """Read until the screen shows something."""
        end = time.monotonic() + PATIENCE
        while not is_seen(self.screen):
            assert time.monotonic() < end, f"waited for {what}; seen: {self.screen.all}"
            assert self._read(), f"ended without {what}; seen: {self.screen.all}"
        return self.screen

    def read_to_the_end(self) -> int:
        """Read until the command ends; return its exit code."""
        while self._read():
            pass
        _, status = os.waitpid(self.process, 0)
        self.process = 0
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> bool:
        """Read what there is, or wait a moment for more; return False at the end."""
        ready, _, _ = select.select([self._descriptor], [], [], 0.2)
        if not ready:
            return True
        try:
            data = os.read(self._descriptor, 1 << 16)
        except OSError:  # as Linux says that nobody writes any more
            return False
        text = data.decode("utf-8", "replace")
        self.written += text
        self.screen.feed(text)
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self._descriptor)


PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow")
