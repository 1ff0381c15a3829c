"""Serve requests for children: the main loop of a warm process.

A client connects to the socket and sends messages, each an object with a key `ask`:

    {"ask": "state"}                  answered by {"stale": why it must not be used, or null, "children":
                                      their number, "left": seconds that it stays without requests}
    {"ask": "keep", "seconds": 600}   to stay for so long after the last child has ended
    {"ask": "stop"}                   to take no further requests, and to end with the last child
    {"ask": "fork", "module": …, …}   to run a module's `main` in a child, with the descriptors that come
                                      along as 0, 1, 2 and so on; answered by {"pid": …}, later by
                                      {"exit": …}

A client that closes the connection on which it asked for a child kills that child. All children end with the
warm process, in whatever way it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system.orphans import share_fate_of
from .messages import receive, send

_PATIENCE = 10.0  # seconds for the rest of a message
_OUT_OF_THE_WAY = 100  # descriptors from here on are not those that a child is given


@dataclass(frozen=True)
class Job:
    """What a child has to do: run the function `main` of a module; its arguments are in `sys.argv`."""

    module: str


@dataclass
class _Child:
    pid: int
    pidfd: int
    client: socket.socket


class _Ended(Exception):
    """Nobody needs the warm process any more."""


def serve(
    listener: socket.socket,
    seconds: float,
    why_stale: Callable[[], str | None],
    lifeline: int | None = None,
) -> Job | None:
    """Serve requests; return in each child its job, and None once the process is not needed any more.

    Args:
        listener: The listening socket.
        seconds: Time to stay after the last child has ended, until a client asks for another one.
        why_stale: Returns why no child must be forked any more; None while all is well.
        lifeline: A descriptor at its end once the process is not needed any more, if that is to be noticed.
    """
    with contextlib.suppress(_Ended):
        return _Server(listener, seconds, why_stale, lifeline).run()
    return None


class _Server:
    def __init__(
        self,
        listener: socket.socket,
        seconds: float,
        why_stale: Callable[[], str | None],
        lifeline: int | None,
    ) -> None:
        self.listener = listener
        self.lifeline = lifeline
        self.seconds = seconds
        self.end = time.monotonic() + seconds
        self.why_stale = why_stale
        self.clients: dict[int, socket.socket] = {}
        self.children: dict[int, _Child] = {}  # by their pidfd
        self.is_stopping = False
        self.poll = select.poll()
        self.poll.register(listener, select.POLLIN)
        if lifeline is not None:
            self.poll.register(lifeline, select.POLLIN)

    def run(self) -> Job:
        """Take requests until one asks for a child; return its job in that child.

        Raises:
            _Ended: When the process is not needed any more.
        """
        while True:
            waits = self.children or self.seconds == math.inf
            left = None if waits else 1000 * max(0.0, self.end - time.monotonic())
            ready = self.poll.poll(left)
            if not (self.children or ready) and time.monotonic() >= self.end:
                raise _Ended
            for number, _ in ready:
                if number == self.lifeline:
                    raise _Ended
                if number == self.listener.fileno():
                    self._accept()
                elif number in self.children:
                    self._reap(self.children[number])
                elif number in self.clients and (job := self._hear(self.clients[number])) is not None:
                    return job
            if self.is_stopping and not self.children:
                raise _Ended

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self.listener.accept()
            client.settimeout(_PATIENCE)
            self.clients[client.fileno()] = client
            self.poll.register(client, select.POLLIN)

    def _hear(self, client: socket.socket) -> Job | None:
        """Take a client's message; return the job in a child that it has asked for."""
        try:
            message, descriptors = receive(client)
        except (OSError, EOFError, ValueError):
            self._drop(client)
            return None
        try:
            return self._answer(client, message, descriptors)
        except (OSError, KeyError, TypeError, ValueError):  # it has gone, or is none of ours
            self._drop(client)
        finally:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        return None

    def _answer(self, client: socket.socket, message: dict[str, Any], descriptors: list[int]) -> Job | None:
        match message["ask"]:
            case "state":
                left = self.end - time.monotonic()
                send(client, {"stale": self.why_stale(), "children": len(self.children), "left": left})
            case "keep":
                self.seconds = float(message["seconds"])
                self.end = time.monotonic() + self.seconds
                send(client, {})
            case "stop":
                self._stop()
                send(client, {"children": len(self.children)})
            case "fork":
                return self._fork(client, message, descriptors)
        return None

    def _stop(self) -> None:
        """Take no further clients."""
        self.is_stopping = True
        with contextlib.suppress(OSError):
            os.unlink(self.listener.getsockname())
        with contextlib.suppress(KeyError):
            self.poll.unregister(self.listener)

    def _drop(self, client: socket.socket) -> None:
        """Forget a client, and kill the children that it has asked for."""
        for child in self.children.values():
            if child.client is client:
                _kill(child.pid)
        self.poll.unregister(client)
        del self.clients[client.fileno()]
        client.close()

    def _fork(self, client: socket.socket, message: dict[str, Any], descriptors: list[int]) -> Job | None:
        me, pid = os.getpid(), os.fork()
        if not pid:
            try:
                share_fate_of(me)
                self._close_all()
                _become(message, descriptors)
                return Job(message["module"])
            except BaseException:  # it must not go on as a second server
                traceback.print_exc()
                os._exit(1)
        child = _Child(pid, os.pidfd_open(pid), client)
        self.children[child.pidfd] = child
        self.poll.register(child.pidfd, select.POLLIN)
        send(client, {"pid": pid})
        return None

    def _close_all(self) -> None:
        """Close in a child what belongs to its parent, without a word to any client."""
        self.listener.close()
        if self.lifeline is not None:
            os.close(self.lifeline)
        for client in self.clients.values():
            client.close()
        for child in self.children.values():
            os.close(child.pidfd)

    def _reap(self, child: _Child) -> None:
        self.end = time.monotonic() + self.seconds
        self.poll.unregister(child.pidfd)
        del self.children[child.pidfd]
        os.close(child.pidfd)
        _kill(child.pid)  # the rest of its group
        _, status = os.waitpid(child.pid, 0)
        with contextlib.suppress(OSError):
            send(child.client, {"exit": os.waitstatus_to_exitcode(status)})


def _kill(pid: int) -> None:
    """Kill a child, which may not lead its group yet, and all processes of that group."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(pid, signal.SIGKILL)


def _become(message: dict[str, Any], descriptors: list[int]) -> None:
    """Turn a forked child into the process that a client has asked for."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    apart = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY) for number in descriptors]
    for number, descriptor in enumerate(apart):
        os.dup2(descriptor, number, inheritable=number <= 2)
        os.close(descriptor)
    descriptors.clear()  # these numbers may mean something else now
    os.environ.clear()
    os.environ.update(message["environment"])
    os.chdir(message["folder"])
    os.umask(message["umask"])
    tempfile.tempdir = None  # the environment may say another one
    sys.argv[:] = [message["module"], *message["arguments"]]
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _stream(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, errors="backslashreplace")  # type: ignore[misc]


def _stream(number: int, errors: str = "strict") -> Any:
    """Return the text stream that a new process has on a descriptor."""
    is_by_line = number == 2 or os.isatty(number)
    return open(
        number, "w", encoding="utf-8", errors=errors, buffering=1 if is_by_line else -1, closefd=False
    )


def listening(path: Path) -> socket.socket:
    """Return a socket that listens at a path; what was there before is removed."""
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(32)
    return listener
