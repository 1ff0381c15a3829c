"""A child of a warm process that runs instances for this one; see `process` for what both say."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ...core.forking.client import WarmProcess

_MODULE = f"{__package__}.runner_process"
_PATIENCE = 10.0  # seconds for an interrupted instance to end


class Child:
    """A child of a warm process, and the connection to it.

    Args:
        warm: The warm process.
        output: Descriptors for its stdout and stderr; by default it has none.

    Raises:
        OSError: If it forks no child.
    """

    def __init__(
        self, warm: WarmProcess, output: tuple[int, int] = (subprocess.DEVNULL, subprocess.DEVNULL)
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = warm.popen(
                    _MODULE,
                    [str(warm.path)],
                    folder=Path.cwd(),
                    environment=os.environ,
                    stdout=output[0],
                    stderr=output[1],
                    descriptors=[theirs.fileno()],
                )
            except BaseException:
                ours.close()
                raise
        self._connection = Connection(ours.detach())

    def send(self, *message: object) -> None:
        self._connection.send(message)

    def send_value(self, value: object) -> None:
        """Send the answer to a question, which is no message with a word."""
        self._connection.send(value)

    def receive(self) -> Any:
        return self._connection.recv()

    def answer(self) -> Any:
        """Return the next message; pass Ctrl-C on to the child, which is in a session of its own."""
        try:
            return self._connection.recv()
        except KeyboardInterrupt:
            self._process.send_signal(signal.SIGINT)
            if not self._connection.poll(_PATIENCE):
                raise
            return self._connection.recv()

    def kill(self) -> bool:
        """Kill it if it runs, as it does not end after Ctrl-C; return whether it did."""
        if self._process.poll() is not None:
            return False
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        return True

    def close(self) -> None:
        """Let it end."""
        self._connection.close()
        self._process.close()
