"""Ask a warm process for children, and follow these, as `subprocess.Popen` does."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ..system.child_process import umask
from .messages import receive, send

_PATIENCE = 5.0


class WarmProcess:
    """A warm process that forks children for this one.

    Args:
        path: Its socket.
        patience: Seconds for an answer, which takes milliseconds where the process has started.
    """

    def __init__(self, path: Path, patience: float = _PATIENCE) -> None:
        self.path, self._patience = path, patience

    def ask(self, what: str, **more: Any) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            OSError: If there is no such process, or it does not answer.
        """
        with self._connected() as connection:
            return _answer(connection, {"ask": what, **more})

    def popen(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        descriptors: Sequence[int] = (),
    ) -> ForkedProcess:
        """Run the function `main` of a module in a child of the warm process.

        Args:
            module: Its name.
            arguments: Its command-line arguments.
            folder: The working directory.
            environment: The whole environment.
            stdin: A descriptor, `subprocess.DEVNULL`, or `subprocess.PIPE`.
            stdout: A descriptor, or `subprocess.DEVNULL`.
            stderr: As `stdout`.
            descriptors: Further descriptors, which the child has as 3, 4 and so on.

        Raises:
            OSError: If the warm process does not answer.
        """
        request = {
            "ask": "fork",
            "module": module,
            "arguments": list(arguments),
            "folder": str(folder),
            "environment": dict(environment),
            "umask": umask(),
        }
        with contextlib.ExitStack() as ours:
            writer, stdin = _pipe(ours) if stdin == subprocess.PIPE else (None, stdin)
            standard = [
                _nothing(ours) if number == subprocess.DEVNULL else number
                for number in (stdin, stdout, stderr)
            ]
            connection = self._connected()
            try:
                answer = _answer(connection, request, [*standard, *descriptors])
            except OSError:
                connection.close()
                if writer is not None:
                    writer.close()
                raise
        return ForkedProcess(connection, answer["pid"], module, writer)

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._patience)
        try:
            connection.connect(str(self.path))
        except OSError:
            connection.close()
            raise
        return connection


class ForkedProcess:
    """A child of a warm process, with a subset of `subprocess.Popen`'s attributes and methods."""

    def __init__(
        self, connection: socket.socket, pid: int, module: str, stdin: IO[str] | None = None
    ) -> None:
        self.pid = pid
        self.stdin = stdin
        self.returncode: int | None = None
        self._connection = connection
        self._module = module

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: If it has not ended within `timeout` seconds.
        """
        if self.returncode is None:
            ready, _, _ = select.select([self._connection], (), (), timeout)
            if not ready:
                raise subprocess.TimeoutExpired(self._module, timeout or 0.0)
            try:
                self.returncode = receive(self._connection)[0]["exit"]
            except (OSError, EOFError, ValueError, KeyError):  # the warm process has ended, and it as well
                self.returncode = -signal.SIGKILL
            self._connection.close()
        assert self.returncode is not None  # noqa: S101
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of it; the warm process kills it if it still runs."""
        self._connection.close()


def _answer(
    connection: socket.socket, request: dict[str, Any], descriptors: Sequence[int] = ()
) -> dict[str, Any]:
    try:
        send(connection, request, descriptors)
        return receive(connection)[0]
    except (EOFError, ValueError) as error:
        raise OSError(f"a warm process gives no answer: {error}") from error


def _pipe(closed_later: contextlib.ExitStack) -> tuple[IO[str], int]:
    reader, writer = os.pipe()
    closed_later.callback(os.close, reader)
    return open(writer, "w", encoding="utf-8"), reader


def _nothing(closed_later: contextlib.ExitStack) -> int:
    number = os.open(os.devnull, os.O_RDWR)
    closed_later.callback(os.close, number)
    return number
