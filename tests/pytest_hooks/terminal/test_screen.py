"""A line below what is written to a terminal: neither comes in the way of the other."""

from __future__ import annotations

import os

import pytest

if os.name != "posix":
    pytest.skip("terminals are POSIX", allow_module_level=True)

import fcntl
import pty
import select
import struct
import termios
from collections.abc import Iterator

from helpers import screen as emulated

from pytest_ductaflow.pytest_hooks.terminal.screen import Screen

COLUMNS, LINES = 30, 6


class Shown:
    """A stream to a terminal, with a line below it, and what the terminal shows of both."""

    def __init__(self, columns: int = COLUMNS) -> None:
        self._reading, terminal = pty.openpty()
        self.stream = open(terminal, "w", encoding="utf-8")  # noqa: SIM115
        self.seen = emulated.Screen(columns, LINES)
        self.resize(columns)
        self.line = "3 of 9 done"
        self.screen = Screen(self.stream, lambda width: self.line[:width])

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        self.seen.resize(columns)

    def write(self, text: str) -> None:
        self.screen.write(text)
        self.screen.flush()

    @property
    def lines(self) -> list[str]:
        self.screen.flush()
        while select.select([self._reading], [], [], 0.01)[0]:
            self.seen.feed(os.read(self._reading, 1 << 16).decode())
        return self.seen.all

    def close(self) -> None:
        self.screen.close()
        self.stream.close()
        os.close(self._reading)


@pytest.fixture
def shown() -> Iterator[Shown]:
    made = Shown()
    yield made
    made.close()


def test_the_line_is_below_and_what_follows_goes_on_where_it_was(shown: Shown) -> None:
    shown.write("conductor.py .")
    shown.screen.draw()
    assert shown.lines == ["conductor.py .", "3 of 9 done"]
    assert shown.seen.cursor == (0, 14)
    shown.write(".F")
    assert shown.lines == ["conductor.py ..F", "3 of 9 done"]
    shown.line = "5 done"
    shown.screen.draw()
    assert shown.lines == ["conductor.py ..F", "5 done"]
    shown.screen.erase()
    assert shown.lines == ["conductor.py ..F"]


def test_line_breaks_push_it_down_and_nothing_of_it_scrolls_out_of_sight(shown: Shown) -> None:
    shown.screen.draw()
    for number in range(20):
        shown.write(f"{number}\n")
        shown.write(f"\x1b[32m{number}\x1b[0m .")
    assert shown.lines[-3:] == ["18 .19", "19 .", "3 of 9 done"]
    shown.screen.close()
    assert "done" not in "".join(shown.lines)
    shown.write("\nafter it\n")
    assert shown.lines[-2:] == ["19 .", "after it"]


def test_a_long_line_that_breaks_by_itself_is_whole(shown: Shown) -> None:
    shown.screen.draw()
    for letter in 50 * "x":
        shown.write(letter)
    shown.write("\nnext")
    assert shown.lines == [30 * "x", 20 * "x", "next", "3 of 9 done"]


def test_the_line_is_not_drawn_where_the_next_letter_would_break_the_other(shown: Shown) -> None:
    shown.write(COLUMNS * "x")
    shown.screen.draw()
    assert shown.lines == [COLUMNS * "x"]
    shown.write("y")
    shown.screen.draw()
    assert shown.lines == [COLUMNS * "x", "y", "3 of 9 done"]


def test_what_pytest_writes_anew_in_a_line_is_right(shown: Shown) -> None:
    shown.write("collecting ...")
    shown.screen.draw()
    shown.write("\rcollected 3   ")
    shown.write("\n")
    assert shown.lines == ["collected 3", "", "3 of 9 done"]


def test_it_is_never_wider_than_the_terminal_whose_width_may_change(shown: Shown) -> None:
    shown.line = 100 * "="
    shown.screen.draw()
    assert shown.lines == ["", (COLUMNS - 1) * "="]
    shown.resize(12)
    shown.write("a\n")
    shown.screen.draw()
    assert shown.lines == ["a", "", 11 * "="]
    shown.resize(60)
    shown.screen.draw()
    assert shown.lines == ["a", "", 59 * "="]


def test_a_terminal_that_is_gone_or_too_low_stops_nothing(shown: Shown) -> None:
    fcntl.ioctl(shown.stream.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 1, COLUMNS, 0, 0))
    shown.screen.draw()
    assert shown.lines == []
    shown.resize(COLUMNS)
    os.close(shown.screen._terminal)
    shown.screen._terminal = os.open(os.devnull, os.O_RDONLY)  # as little takes what is written
    shown.screen.draw()
    shown.screen.erase()
    assert shown.lines == []


def test_a_stream_without_a_terminal_is_refused() -> None:
    import io

    with pytest.raises(OSError, match="fileno"):
        Screen(io.StringIO(), lambda _: "")


def test_other_calls_are_those_of_the_stream(shown: Shown) -> None:
    assert shown.screen.encoding == "utf-8"
    assert shown.screen.isatty()
