"""Run `python -m pytest` in a child of a process that has imported it, as `subprocess.run` would (Linux).

To import pytest, its plugins and what runs notebooks takes longer than most sessions of tests do. Each
process that runs tests starts one such process, `session_image`, which ends with it, in whatever way.
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

from helpers.session_image import SESSION
from pytest_ductaflow.core.forking.client import ForkedProcess, WarmProcess
from pytest_ductaflow.core.forking.start import variables_at_start

_START = 60.0  # seconds for the process to start
_PIECE = 1 << 16  # bytes to read at once


class Image(WarmProcess):
    """The process from which the sessions of this one are forked.

    Args:
        environment: What it starts with.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._folder, self._owner = tempfile.mkdtemp(prefix="dt", dir="/tmp"), os.getpid()
        super().__init__(Path(self._folder, "socket"))
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
    return may_fork and is_main and at_start(environment) == at_start(os.environ)


def at_start(environment: Mapping[str, str]) -> dict[str, str]:
    found = dict(variables_at_start(environment))
    if "PYTHONPATH" not in os.environ:
        found.pop("PYTHONPATH", None)
    return found


@cache
def image_of(pid: int) -> Image:
    """Return the one of a process, started with what all environments of its sessions have."""
    del pid  # a fork of this process has none yet
    around = ("PYTEST_", "COV_", "GITHUB_", "CI", "DUCTAFLOW_")
    return Image({name: value for name, value in os.environ.items() if not name.startswith(around)})


def run_forked(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run pytest until it has ended and nobody has its output open any more.

    Args:
        arguments: The command line.
        folder: The working directory.
        environment: The whole environment.
        timeout: Seconds after which it is killed.

    Raises:
        subprocess.TimeoutExpired: If it is.
    """
    image = image_of(os.getpid())
    command = [sys.executable, "-m", "pytest", *arguments]
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with open(out, "rb", 0) as out_stream, open(err, "rb", 0) as err_stream:
        try:
            child = image.popen(
                SESSION, arguments, folder=folder, environment=environment, stdout=out_end, stderr=err_end
            )
        finally:
            os.close(out_end)
            os.close(err_end)
        with contextlib.closing(child):
            end = time.monotonic() + timeout
            texts = [part.decode() for part in read_all([out_stream, err_stream], child, end)]
            code = child.wait(max(0.0, end - time.monotonic()))
    return subprocess.CompletedProcess(command, code, *texts)


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
