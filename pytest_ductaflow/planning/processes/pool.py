"""Start the processes that read sources: each from scratch, or forked from one that has done the imports."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol, Self

from ...core.forking.client import ForkedProcess, WarmProcess
from ...core.forking.place import CONDUCTORS, find
from ...core.system.child_process import may_fork
from ...core.system.interrupts import keyboard_later
from .warm_process import ENDED, STARTED, Request

_PATIENCE = 5.0  # seconds to wait for what takes milliseconds


class Process(Protocol):
    """A process that reads sources, with a subset of `subprocess.Popen`'s methods."""

    def poll(self) -> int | None:
        """Return its exit code; None if it has not ended."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: If it has not ended within `timeout` seconds.
        """

    def kill(self) -> None:
        """Kill it."""


class DeclareProcesses:
    """A starter of processes that read sources; on Linux it forks if several share a working directory.

    Args:
        folders: The working directory of each process that will be started.
        fork: Whether processes may be forked.
        echo: Whether their output goes to the terminal.
    """

    def __init__(self, folders: Sequence[Path], *, fork: bool, echo: bool) -> None:
        self._folders = _repeated(folders) if fork and may_fork() else set()
        self._echo = echo
        self._warm: dict[Path, _Warm] = {}
        self._all = contextlib.ExitStack()
        self._kept = find(CONDUCTORS) if fork and may_fork() else None

    def start(self, asked: Path, result: Path, output: Path, folder: Path) -> Process:
        """Start a process that answers a request.

        Args:
            asked: The file that holds the request.
            result: The file for the answer.
            output: The file for what it prints, unless that goes to the terminal.
            folder: Its working directory.
        """
        request = Request(str(asked), str(result), None if self._echo else str(output))
        if self._kept is not None:
            with contextlib.suppress(OSError):  # it has just ended
                return _forked_from(self._kept, request, folder)
        if folder not in self._folders:
            return _start([request.asked, request.result], folder, request.output)
        warm = self._warm.get(folder)
        if warm is None or not warm.is_alive:
            self._warm[folder] = warm = _Warm(folder, request.output)
            self._all.callback(warm.close)
        return warm.fork(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._all.close()


def _repeated(folders: Sequence[Path]) -> Collection[Path]:
    return {folder for folder, times in Counter(folders).items() if times > 1}


def _start(
    arguments: Sequence[str], folder: Path, output: str | None, descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    # -P: a calendar.py of the project must not shadow the standard library's
    command = [sys.executable, "-P", "-m", f"{__package__}.declare_process", *arguments]
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


def _forked_from(kept: WarmProcess, request: Request, folder: Path) -> ForkedProcess:
    """Return a child of a process that an earlier session has left behind."""
    with contextlib.ExitStack() as stack:
        output = request.output
        sinks = (1, 2) if output is None else (stack.enter_context(open(output, "wb")).fileno(),) * 2
        return kept.popen(
            f"{__package__}.declare_process",
            [request.asked, request.result],
            folder=folder,
            environment={**os.environ, "PYTHONIOENCODING": "utf-8"},
            stdout=sinks[0],
            stderr=sinks[1],
        )


class _Warm:
    """A process that has done the common imports and forks one child at a time; see `warm_process`."""

    def __init__(self, folder: Path, output: str | None) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        try:
            arguments = ["--fork", str(requests), str(answers)]
            self._process = _start(arguments, folder, output, (requests, answers))
        finally:
            os.close(requests)
            os.close(answers)
        self._told = b""
        self._child: _Forked | None = None

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def fork(self, request: Request) -> Process:
        self._told = b""
        with contextlib.suppress(BrokenPipeError):  # it has just ended, noticed by its missing answer
            os.write(self._requests, request.dumps().encode())
        self._child = _Forked(self)
        return self._child

    def told(self, word: str, timeout: float | None) -> int | None:
        """Wait for a message about the child and return its number; None if the process has ended.

        Raises:
            subprocess.TimeoutExpired: If the message does not arrive within `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        line = re.compile(rf"^{word} (-?\d+)\n".encode(), re.MULTILINE)
        while (found := line.search(self._told)) is None:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not wait([self._answers], left):
                raise subprocess.TimeoutExpired(self._process.args, timeout or 0.0)
            with keyboard_later():
                more = os.read(self._answers, 4096)
                self._told += more
            if not more:
                return None
        return int(found[1])

    def exit_code(self) -> int:
        """Return the exit code of the process after it has ended."""
        return self._process.wait()

    def kill(self) -> None:
        """Kill it; its child is killed with it."""
        self._process.kill()

    def close(self) -> None:
        """End the process, and kill a child that has not ended."""
        if self._child is not None:
            self._child.kill()
        os.close(self._requests)
        os.close(self._answers)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()


class _Forked:
    """A child of a warm process."""

    def __init__(self, parent: _Warm) -> None:
        self._parent = parent

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        code = self._parent.told(ENDED, timeout)
        return self._parent.exit_code() if code is None else code  # the child ends with its parent

    def kill(self) -> None:
        if self.poll() is not None:
            return
        try:
            pid = self._parent.told(STARTED, _PATIENCE)  # it may be just starting
        except subprocess.TimeoutExpired:
            self._parent.kill()
            return
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
