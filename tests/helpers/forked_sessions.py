"""Run Python commands in a child of a process that has imported pytest, as `subprocess.run` would (Linux).

To import pytest, its plugins and what runs notebooks takes longer than most sessions and scripts of tests do.
Each process that runs tests starts one such process, `session_image`, which ends with it, in whatever way.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from helpers.session_image import COMMAND, SESSION
from pytest_ductaflow.core.forking.client import ForkedProcess, WarmProcess
from pytest_ductaflow.core.forking.start import variables_at_start

ENVIRONMENT = dict(os.environ)  # from before any test changes it
_START = 300.0  # seconds for the process to start, and to answer; only a bug takes that long
_PIECE = 1 << 16  # bytes to read at once


class Image(WarmProcess):
    """The process from which the sessions of this one are forked.

    Args:
        environment: What it starts with.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder, self._owner = tempfile.mkdtemp(prefix="dt", dir="/tmp"), os.getpid()
        super().__init__(Path(self._folder, "socket"), _START)
        script = Path(__file__).with_name("session_image.py")
        command = [sys.executable, str(script), str(self.path), str(self._owner)]
        self._process = subprocess.Popen(
            command, cwd="/", env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        atexit.register(self.close)
        end = time.monotonic() + _START
        while not self._answers():
            assert self._process.poll() is None, "the process from which sessions are forked has ended"
            assert time.monotonic() < end, f"it has not started after {_START:g} s"
            time.sleep(0.01)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return "children" in self.ask("state")
        return False

    def close(self) -> None:
        if os.getpid() == self._owner:
            self._process.kill()
            self._process.wait()
            shutil.rmtree(self._folder, ignore_errors=True)


def can_be_forked(environment: Mapping[str, str]) -> bool:
    """Return whether a forked session is like one that starts from nothing with this environment.

    What a process reads only when it starts must be as it is here; folders of modules can be added later.
    """
    is_main = threading.current_thread() is threading.main_thread()  # or the other one ends with this thread
    may_fork = sys.platform == "linux" and environment.get("DUCTAFLOW_FORK") != "0"
    return may_fork and is_main and at_start(environment) == at_start(ENVIRONMENT)


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    found = dict(variables_at_start(environment))
    if "PYTHONPATH" not in ENVIRONMENT:
        found.pop("PYTHONPATH", None)
    return found


@cache
def image_of(pid: int) -> Image:
    """Return the one of a process, started with the environment from before any test has changed it."""
    del pid  # a fork of this process has none yet
    around = ("PYTEST_", "COV_", "GITHUB_", "CI", "DUCTAFLOW_")
    return Image({name: value for name, value in ENVIRONMENT.items() if not name.startswith(around)})


def run_forked(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a Python command until it has ended and nobody has its output open any more.

    Args:
        command: The command line after Python's path: `-m`, `-c` or a script, and what follows.
        folder: The working directory.
        environment: The whole environment.
        timeout: Seconds after which it is killed.
        stdin: What it can read; less than a pipe holds.

    Raises:
        subprocess.TimeoutExpired: If it is.
    """
    image = image_of(os.getpid())
    is_session = tuple(command[:2]) == ("-m", "pytest")
    job, arguments = (SESSION, command[2:]) if is_session else (COMMAND, command)
    (out, out_end), (err, err_end), (in_end, given) = os.pipe(), os.pipe(), os.pipe()
    with open(out, "rb", 0) as out_stream, open(err, "rb", 0) as err_stream:
        try:
            with open(given, "wb", 0) as in_stream:
                in_stream.write(stdin.encode())
            child = image.popen(
                *(job, arguments),
                folder=folder,
                environment=environment,
                stdin=in_end,
                stdout=out_end,
                stderr=err_end,
            )
        finally:
            for end in (in_end, out_end, err_end):
                os.close(end)
        with contextlib.closing(child):
            end_time = time.monotonic() + timeout
            texts = [part.decode() for part in read_all([out_stream, err_stream], child, end_time)]
            code = child.wait(max(0.0, end_time - time.monotonic()))
    return subprocess.CompletedProcess([sys.executable, *command], code, *texts)


class ForkedSession:
    """A forked session that runs while the test does something else: a part of `subprocess.Popen`.

    Like one with `start_new_session` it leads a process group; both of its streams are in `stdout`.
    """

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        out, out_end = os.pipe()
        try:
            self._child = image_of(os.getpid()).popen(
                *(SESSION, arguments), folder=folder, environment=environment, stdout=out_end, stderr=out_end
            )
        finally:
            os.close(out_end)
        self.stdout, self.pid = open(out, encoding="utf-8"), self._child.pid  # noqa: SIM115
        self.poll, self.wait, self.kill = self._child.poll, self._child.wait, self._child.kill

    @property
    def returncode(self) -> int | None:
        return self._child.returncode

    def communicate(self, timeout: float) -> tuple[str, None]:
        """Return what it still prints, once it has ended.

        Raises:
            subprocess.TimeoutExpired: If that takes longer, and it was killed.
        """
        if self.stdout.closed:
            return "", None
        watchdog = threading.Timer(timeout, self.kill)
        watchdog.start()
        with self.stdout:
            text = self.stdout.read()
        if not watchdog.is_alive():
            raise subprocess.TimeoutExpired("a forked session", timeout, text)
        watchdog.cancel()
        self.wait(timeout)
        return text, None


def read_all(streams: Sequence[IO[bytes]], child: ForkedProcess, end: float) -> list[bytes]:
    """Return all that there is to read; kill the child if that takes too long."""
    parts: list[list[bytes]] = [[] for _ in streams]
    with selectors.DefaultSelector() as selector:
        for stream, part in zip(streams, parts, strict=True):
            selector.register(stream, selectors.EVENT_READ, part)
        while selector.get_map():
            ready = selector.select(max(0.0, end - time.monotonic()))
            if not ready and time.monotonic() >= end:
                child.kill()
                said = [b"".join(part) for part in parts]
                raise subprocess.TimeoutExpired("a forked session", 0.0, *said)
            for key, _ in ready:
                if piece := os.read(key.fd, _PIECE):
                    key.data.append(piece)
                else:
                    selector.unregister(key.fileobj)
    return [b"".join(part) for part in parts]
