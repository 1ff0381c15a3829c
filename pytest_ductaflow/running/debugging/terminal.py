"""Define the terminal at which debuggers ask: that of this process, or of the session around a build.

A flow of a build runs in another process than the session. It connects to a socket of the session, and both
send lines of JSON:

    flow:     {"enter": [title, text, …]}       the debugger opens; it is closed with the connection
    session:  {"entered": true}                 false if it is not to open
    flow:     {"show": text}                    something was printed meanwhile
    flow:     {"ask": prompt, "password": …}
    session:  {"answer": text}                  null if the user is done
    session:  {"interrupt": true}               Ctrl-C while the debugger evaluates
    flow:     {"refuse": why}                   there is nothing to debug
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import Any, Protocol

_VARIABLE = "_DUCTAFLOW_TERMINAL"  # tells the flows of a build of the session's terminal
_READ_SIZE = 65_536  # bytes read at a time


class Terminal(Protocol):
    """A terminal, at which one debugger asks at a time.

    Attributes:
        after_failure: Whether a debugger opens where a cell has failed.
        allows_input: Whether flows may ask, too, with `input()`.
    """

    after_failure: bool
    allows_input: bool

    @property
    def address(self) -> str:
        """The path of the socket on which it serves other processes; "" if there is none."""

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when there is something to `take`; None if there is none."""

    def take(self) -> None:
        """Take what has arrived: serve another process, or be interrupted.

        Raises:
            KeyboardInterrupt: After Ctrl-C while the debugger evaluates.
        """

    def enter(self, title: str, text: str, *, only_first: bool = False) -> bool:
        """Show that a debugger opens, and why.

        Args:
            title: What is debugged.
            text: Why.
            only_first: Whether none is to open if one was open for the same item: a build fails after its
                flow.

        Returns:
            Whether it is to open.
        """

    def leave(self) -> None:
        """Show that it is closed."""

    def show(self, text: str) -> None:
        """Show what was printed while a debugger is open."""

    def ask(self, prompt: str, *, password: bool = False) -> str:
        """Return the user's answer. The last line of the prompt is the question.

        Raises:
            EOFError: If the user is done: after Ctrl-D, Ctrl-C, or the end of the input.
        """

    def refuse(self, why: str) -> None:
        """Note why no debugger opens."""


class Lines:
    """The lines of JSON that arrive on a connection, none of which gets lost at Ctrl-C."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""

    def next(self) -> dict[str, Any]:
        """Wait for a line.

        Raises:
            EOFError: If the peer is gone.
        """
        while b"\n" not in self._unread:
            try:
                heard = self._connection.recv(_READ_SIZE)
            except OSError:
                heard = b""
            if not heard:
                raise EOFError
            self._unread += heard
        line, _, self._unread = self._unread.partition(b"\n")
        words: dict[str, Any] = json.loads(line)
        return words


def send(connection: socket.socket, **words: object) -> None:
    """Send a line, unless the peer is gone."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(words).encode() + b"\n")


class RemoteTerminal:
    """The terminal of the session around the build to which this process belongs; see `Terminal`."""

    def __init__(self, address: str, *, after_failure: bool, allows_input: bool) -> None:
        self._address, self.after_failure, self.allows_input = address, after_failure, allows_input
        self._connection: socket.socket | None = None
        self._lines: Lines | None = None

    @property
    def address(self) -> str:
        return self._address

    def fileno(self) -> int | None:
        return self._connection.fileno() if self._connection is not None else None

    def take(self) -> None:
        if self._lines is None:
            return
        try:
            words = self._lines.next()
        except EOFError:
            self.leave()
            return
        if "interrupt" in words:
            raise KeyboardInterrupt

    def enter(self, title: str, text: str, *, only_first: bool = False) -> bool:
        self._send(enter=[title, text, only_first])
        return bool(self._received("entered"))

    def show(self, text: str) -> None:
        self._send(show=text)

    def leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._lines = None

    def ask(self, prompt: str, *, password: bool = False) -> str:
        is_alone = self._connection is None  # at a breakpoint, which nothing closes
        self._send(ask=prompt, password=password)
        try:
            if (answer := self._received("answer")) is None:
                raise EOFError
            return str(answer)
        finally:
            if is_alone:
                self.leave()

    def refuse(self, why: str) -> None:
        self._send(refuse=why)
        self.leave()

    def _received(self, word: str) -> object:
        """Return the value that the session sends under a word; None if it is gone."""
        with contextlib.suppress(EOFError):
            while self._lines is not None:
                words = self._lines.next()
                if word in words:
                    found: object = words[word]
                    return found
        return None

    def _send(self, **words: object) -> None:
        """Send a line, connected if necessary; without a session there is nobody to ask."""
        if self._connection is None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self._address)
            except OSError:
                connection.close()
                return
            self._connection, self._lines = connection, Lines(connection)
        send(self._connection, **words)


_own: Terminal | None = None


def use(terminal: Terminal | None) -> None:
    """Have the flows that this process runs debugged at a terminal, or at none."""
    global _own  # noqa: PLW0603 - of this process
    _own = terminal
    os.environ.pop(_VARIABLE, None)  # of a build that has started this session


def terminal_here() -> Terminal | None:
    """Return the terminal for the flows that this process runs; None if there is none."""
    if _own is not None:
        return _own
    text = os.environ.get(_VARIABLE)
    return RemoteTerminal(**json.loads(text)) if text else None


def variable_for_flows(terminal: Terminal | None, *, after_failure: bool) -> dict[str, str]:
    """Return the variable by which the flows of a build find the terminal.

    Args:
        terminal: The terminal, if there is one.
        after_failure: Whether a debugger may open where one of them fails.
    """
    address = terminal.address if terminal is not None else ""
    if terminal is None or not address:
        return {_VARIABLE: ""} if _VARIABLE in os.environ else {}
    opens = after_failure and terminal.after_failure
    words = {"address": address, "after_failure": opens, "allows_input": terminal.allows_input}
    return {_VARIABLE: json.dumps(words)}
