"""The processes in which sources are read: each started anew, or forked from one that is warm."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol, Self

from .child_process import may_fork
from .planner_forks import Request


class Process(Protocol):
    """One of them."""

    def poll(self) -> int | None:
        """Its exit code; None if it has not ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended.

        Raises:
            subprocess.TimeoutExpired: If it has not after so many seconds.
        """

    def kill(self) -> None:
        """End it now."""


class Planners:
    """Gives such processes; on Linux they are forked if several have the same working directory.

    Args:
        folders: The working directories that will be asked for, as often as they will.
        fork: Whether processes may be forked.
        echo: Whether their output goes to the terminal.
    """

    def __init__(self, folders: Sequence[Path], *, fork: bool, echo: bool) -> None:
        self._folders = _repeated(folders) if fork and may_fork() else set()
        self._echo = echo
        self._warm: dict[Path, _Warm] = {}

    def start(self, asked: Path, result: Path, output: Path, folder: Path) -> Process:
        """A process that answers a request.

        Args:
            asked: The file that holds the request.
            result: The file for the answer.
            output: The file for what it prints, unless that goes to the terminal.
            folder: Its working directory.
        """
        request = Request(str(asked), str(result), None if self._echo else str(output))
        if folder not in self._folders:
            return _start([request.asked, request.result], folder, request.output)
        warm = self._warm.get(folder)
        if warm is None or not warm.is_alive:
            self._warm[folder] = warm = _Warm(folder, request.output)
        return warm.fork(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for warm in self._warm.values():
            warm.close()


def _repeated(folders: Sequence[Path]) -> Collection[Path]:
    return {folder for folder, times in Counter(folders).items() if times > 1}


def _start(
    arguments: Sequence[str], folder: Path, output: str | None, descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    # -P: a calendar.py of the project is not the one that the libraries mean
    command = [sys.executable, "-P", "-m", f"{__package__}.planner", *arguments]
    with contextlib.ExitStack() as stack:
        sink = None if output is None else stack.enter_context(open(output, "wb"))
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            pass_fds=descriptors,
        )


class _Warm:
    """A process that has imported what all need, and forks (see `planner_forks`)."""

    def __init__(self, folder: Path, output: str | None) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        try:
            arguments = ["--fork", str(requests), str(answers)]
            self._process = _start(arguments, folder, output, (requests, answers))
        finally:
            os.close(requests)
            os.close(answers)
        self._unread = b""

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def fork(self, request: Request) -> Process:
        with contextlib.suppress(BrokenPipeError):  # it dies just now, which is seen as it does not answer
            os.write(self._requests, request.dumps().encode())
        return _Forked(self)

    def answer(self, timeout: float | None) -> int | None:
        """The next number that it tells; None if it has died.

        Raises:
            subprocess.TimeoutExpired: If none comes in so many seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._unread:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not wait([self._answers], left):
                raise subprocess.TimeoutExpired(self._process.args, timeout or 0.0)
            if not (heard := os.read(self._answers, 4096)):
                return None
            self._unread += heard
        line, _, self._unread = self._unread.partition(b"\n")
        return int(line)

    def exit_code(self) -> int:
        """How it ended, when it has died."""
        return self._process.wait()

    def close(self) -> None:
        os.close(self._requests)
        os.close(self._answers)
        self._process.wait()


class _Forked:
    """A child of a warm process."""

    def __init__(self, parent: _Warm) -> None:
        self._parent = parent
        self._told: list[int] = []  # its process id, and its exit code

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        while len(self._told) < 2:
            answer = self._parent.answer(timeout)
            if answer is None:  # nobody will tell how the child ends
                self._send_kill()
                return self._parent.exit_code()
            self._told.append(answer)
        return self._told[1]

    def kill(self) -> None:
        if not self._told and (pid := self._parent.answer(None)) is not None:  # it is about to begin
            self._told.append(pid)
        if self.poll() is None:
            self._send_kill()

    def _send_kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            for pid in self._told[:1]:
                os.kill(pid, signal.SIGKILL)
