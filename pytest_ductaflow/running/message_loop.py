"""Exchange messages with a kernel: an event loop without polling, in place of nbclient's.

It waits for the first of these: a published message, a reply, the end of the kernel's process, the time to
save the notebook, or a deadline.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import zmq
from nbclient.exceptions import CellExecutionComplete, DeadKernelError

from ..core.errors import NoAnswer
from ..core.system.interrupts import keyboard_later, moments, raise_if_pressed
from ..kernels.base import LOOK, Kernel
from ..kernels.flow_control import ReadCounter
from .debugging.terminal import Terminal
from .notebook.writer import NotebookFile

START = 60.0  # seconds that a kernel may take to answer its first requests
LOST = 10.0  # seconds to wait for a message that should already have arrived
_EXIT_CODE = 1.0  # seconds to wait for the exit code of a process that has ended
_PRINTED = 10  # milliseconds in which what was printed before a question arrives
_END_OF_INPUT = "\x04"  # as a terminal sends it for Ctrl-D
_SILENCE = 0.2  # seconds without a message about a request with a reply: the subscription came too late
# Amounts after which to check the clock and whether the kernel is alive:
_AT_A_TIME = 100  # messages
_BYTES_AT_A_TIME = 4_000_000
_BYTES_AHEAD = 1_000_000  # after so many at once, a kernel that does not wait by itself is paused

_contexts: dict[int, zmq.Context[Any]] = {}  # by process: a context does not survive a fork
_lock = threading.Lock()  # of the contexts


class Cell(Protocol):
    """A running cell, which takes the messages about its request."""

    def take_published(self, message: dict[str, Any]) -> None:
        """Take a message that the kernel published.

        Raises:
            CellExecutionComplete: If it was the last one.
        """

    def take_reply(self, reply: dict[str, Any]) -> None:
        """Take the reply."""


class TimeLimit(Protocol):
    """A limit of the time that a request may take, and what Ctrl-C does meanwhile; see `Deadline`."""

    def expire(self) -> float:
        """Stop the request, as its time is up, and return when to call this again."""

    def interrupt(self) -> float | None:
        """Stop the request after Ctrl-C, and return when its time is up from now on."""

    def extend(self, seconds: float) -> None:
        """Leave out so many seconds, in which a debugger was open."""


class KernelDied(DeadKernelError):  # type: ignore[misc]
    """The process of a kernel has ended; `exit_code` is negative for a signal, None if unknown."""

    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        super().__init__("Kernel died")


@dataclass
class _Request:
    """A request that waits for its reply and for all that is published about it.

    Attributes:
        id: Id of the message.
        until: When to give up, on the clock of `time.monotonic`.
        cell: The cell that it runs, None for other requests.
        deadline: Action when the cell's time is up.
        is_complete: Whether nothing more will be published about it, or that does not matter.
        reply: The reply.
        active_at: Time of the last message about it.
    """

    id: str
    until: float | None
    cell: Cell | None = None
    deadline: TimeLimit | None = None
    is_complete: bool = False
    reply: dict[str, Any] | None = None
    active_at: float = field(default_factory=time.monotonic)

    @property
    def silence(self) -> float:
        """Seconds since the last message about it."""
        return time.monotonic() - self.active_at


class MessageLoop:
    """The messages between this process and a kernel, between `connect` and `close`.

    Args:
        kernel: The kernel, started and not connected.
        heard: Counter of received bytes, for a kernel that waits for its reader.
        file: The notebook, saved when due.
        terminal: Where the kernel's questions are asked, as those of a debugger; None if they are not.

    Attributes:
        kernel_waits: Whether the kernel itself waits when it prints faster than its output is read.
    """

    def __init__(
        self, kernel: Kernel, read_counter: ReadCounter, file: NotebookFile, terminal: Terminal | None = None
    ) -> None:
        self.kernel_waits = kernel.has_setup
        self._kernel, self._read_counter, self._file = kernel, read_counter, file
        self._replies: dict[str | None, dict[str, Any]] = {}
        self._poller = zmq.Poller()
        self._is_connected = False
        self._terminal, self._stdin = terminal, None
        self._door: int | None = None  # the terminal's descriptor, as far as it is polled

    def connect(self) -> Any:
        """Connect the channels, and return the kernel's client.

        Raises:
            NoAnswer: If the kernel's sockets cannot be used.
        """
        client = self._kernel.client
        client.context = _context()
        client.allow_stdin = self._terminal is not None and self._terminal.allows_input
        self._session = client.session
        try:
            self._iopub, self._shell = client.iopub_channel.socket, client.shell_channel.socket
            if self._terminal is not None:
                self._stdin = client.stdin_channel.socket
        except zmq.ZMQError as error:
            raise NoAnswer(f"its sockets cannot be used: {error}") from error
        for thing in (self._iopub, self._shell, self._kernel.fileno()):
            self._poller.register(thing, zmq.POLLIN)
        if self._stdin is not None:
            self._poller.register(self._stdin, zmq.POLLIN)
        self._is_connected = True
        return client

    def close(self) -> None:
        """Close the channels, if they are connected."""
        if self._is_connected:
            self._is_connected = False
            self._kernel.close_channels()
            if self._stdin is not None:
                self._kernel.client.stdin_channel.close()

    def reply_to(
        self, request: str, *, until: float, again: Callable[[], str] | None = None
    ) -> dict[str, Any]:
        """Return the reply to a request that runs no cell.

        Args:
            request: The id of its message.
            until: When to give up.
            again: Sends the very first request again, for which the kernel may have published before the
                channel was subscribed to; only published messages prove the subscription.

        Raises:
            NoAnswer: If the reply does not come in time.
            KernelDied: If the kernel ends before.
        """
        return self._finish(_Request(request, until, is_complete=again is None), again)

    def run_cell(self, request: str, cell: Cell, deadline: TimeLimit, until: float | None) -> dict[str, Any]:
        """Return the reply to the request of a cell, after all that the kernel publishes about it.

        Args:
            request: The id of its message.
            cell: Takes the messages.
            deadline: What stops the cell.
            until: When its time is up.

        Raises:
            CellTimeoutError: If the cell does not react to the interrupt of a time-out.
            KernelDied: If the kernel ends before.
            KeyboardInterrupt: After Ctrl-C, if the cell does not react to the interrupt.
        """
        return self._finish(_Request(request, until, cell, deadline))

    def _finish(self, request: _Request, again: Callable[[], str] | None = None) -> dict[str, Any]:
        while request.reply is None or not request.is_complete:
            if request.reply is None and request.id in self._replies:
                request.reply, request.active_at = self._replies.pop(request.id), time.monotonic()
                if request.cell is not None:
                    request.cell.take_reply(request.reply)
                continue
            try:
                self._handle_event(request)
            except KeyboardInterrupt:
                if request.deadline is None:
                    raise
                request.until = request.deadline.interrupt()
            if again is not None and request.reply is not None and request.silence > _SILENCE:
                request.id, request.active_at = again(), time.monotonic()
            elif request.reply is not None and request.silence > LOST:
                break
        return request.reply

    def _handle_event(self, request: _Request) -> None:
        """Wait for the next event, and handle it."""
        if self._terminal is not None:
            self._watch_terminal(self._terminal)
        ready = dict(self._poller.poll(math.ceil(1000 * moments(self._patience(request)))))
        raise_if_pressed()
        if not ready:
            self._kernel.look_at_helpers()
        if self._iopub not in ready:
            self._kernel.go_on()
        with keyboard_later():  # otherwise a message could be in the log but not in the notebook
            if self._iopub in ready:
                self._take_published(request)
            if self._shell in ready:
                self._take_replies()
        if self._terminal is not None and {self._stdin, self._door} & ready.keys():
            self._serve_debugger(self._terminal, request, ready)
        self._look_at_process(ready)
        now = time.monotonic()
        if (due := self._file.due_at) is not None and now >= due:
            self._file.write()
        late = request.until is not None and now >= request.until
        if late and (request.reply is None or request.deadline is None) and request.id not in self._replies:
            if request.deadline is None:
                raise NoAnswer(f"it does not answer within {START:g} s")
            request.until = request.deadline.expire()

    def _watch_terminal(self, terminal: Terminal) -> None:
        """Poll the terminal, too, as long as it has a descriptor."""
        if (door := terminal.fileno()) != self._door:
            if self._door is not None:
                self._poller.unregister(self._door)
            if door is not None:
                self._poller.register(door, zmq.POLLIN)
            self._door = door

    def _serve_debugger(self, terminal: Terminal, request: _Request, ready: Mapping[Any, int]) -> None:
        """Answer what the kernel asks, or serve a debugger in another process; no time limit runs meanwhile.

        Raises:
            KeyboardInterrupt: After Ctrl-C while the debugger evaluates.
        """
        began = time.monotonic()
        try:
            if self._stdin in ready:
                self._answer(terminal, request)
            if self._door in ready:
                terminal.take()
        finally:
            paused = time.monotonic() - began
            request.until = None if request.until is None else request.until + paused
            if request.deadline is not None:
                request.deadline.extend(paused)

    def _answer(self, terminal: Terminal, request: _Request) -> None:
        """Ask what the kernel asks, after what the cell has printed before."""
        asked = self._received(self._stdin)["content"]
        while self._iopub.poll(_PRINTED):
            self._take_published(request)
        try:
            answer = terminal.ask(asked["prompt"], password=asked.get("password", False))
        except EOFError:
            answer = _END_OF_INPUT
        self._session.send(self._stdin, "input_reply", {"value": answer})

    def _look_at_process(self, ready: Mapping[Any, int]) -> None:
        """Raise an error once the kernel's process has ended and all that it sent has been taken."""
        had_ended = self._kernel.has_ended
        if self._kernel.fileno() in ready:
            self._kernel.look()
            if self._kernel.has_ended:
                self._poller.unregister(self._kernel.fileno())
        if had_ended and not {self._iopub, self._shell} & ready.keys():
            raise KernelDied(self._kernel.wait_for_exit_code(_EXIT_CODE))

    def _patience(self, request: _Request) -> float:
        """Return the seconds until there is something to do without an event."""
        times = [time for time in (self._file.due_at, request.until) if time is not None]
        times.append(time.monotonic() + LOOK)
        if request.reply is not None:
            times = [time.monotonic() + _SILENCE]
        if self._kernel.is_held:
            return 0.05  # for what it has sent already
        if self._kernel.has_ended:
            return 0.02  # for what is still under way
        return max(0.0, min(times) - time.monotonic())

    def _take_replies(self) -> None:
        """Store replies that have arrived: a request may be sent before the previous one is answered."""
        with contextlib.suppress(zmq.Again):
            for _ in range(_AT_A_TIME):
                message = self._received(self._shell)
                self._replies[message["parent_header"].get("msg_id")] = message

    def _take_published(self, request: _Request) -> None:
        """Process what has arrived; a kernel that does not wait by itself is paused until that is done."""
        arrived, is_ahead = self._published()
        (self._kernel.hold if is_ahead and not self.kernel_waits else self._kernel.go_on)()
        with contextlib.suppress(CellExecutionComplete):
            for parts in arrived:
                message = self._message(parts)
                if message["parent_header"].get("msg_id") == request.id:
                    request.active_at = time.monotonic()
                    self._hand_over(message, request)

    def _published(self) -> tuple[list[list[bytes]], bool]:
        """Return the parts of the messages that have arrived, and whether there may be more."""
        arrived: list[list[bytes]] = []
        enough = self._read_counter.count + (_BYTES_AT_A_TIME if self.kernel_waits else _BYTES_AHEAD)
        with contextlib.suppress(zmq.Again):
            while len(arrived) < _AT_A_TIME and self._read_counter.count < enough:
                arrived.append(self._iopub.recv_multipart(zmq.NOBLOCK))
                self._read_counter.add(sum(map(len, arrived[-1])))
            return arrived, True
        return arrived, False

    def _hand_over(self, message: dict[str, Any], request: _Request) -> None:
        try:
            if request.cell is not None:
                request.cell.take_published(message)
            elif message["content"].get("execution_state") == "idle":
                raise CellExecutionComplete
        except CellExecutionComplete:
            request.is_complete = True
            raise

    def _received(self, channel: Any) -> dict[str, Any]:
        return self._message(channel.recv_multipart(zmq.NOBLOCK))

    def _message(self, parts: list[bytes]) -> dict[str, Any]:
        try:
            _, frames = self._session.feed_identities(parts)
            return dict(self._session.deserialize(frames))
        except (ValueError, TypeError, KeyError) as error:
            raise RuntimeError(f"the kernel sends what is no message: {error}") from error


def _context() -> zmq.Context[Any]:
    with _lock:
        context = _contexts.get(os.getpid())
        if context is None:
            _contexts.clear()
            context = _contexts[os.getpid()] = zmq.Context()
            context.setsockopt(zmq.RECONNECT_IVL, 5)  # ms between attempts to connect to a starting kernel
            context.setsockopt(zmq.LINGER, 0)
            # Lose nothing of a flow that prints faster than it is read; set before a socket connects.
            context.setsockopt(zmq.RCVHWM, 0)
    return context
