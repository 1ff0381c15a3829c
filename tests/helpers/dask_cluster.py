"""A real Dask scheduler and workers, each a process of its own."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from helpers.sessions import own_environment, wait_for

_ADDRESS = re.compile(r"(tcp://127\.0\.0\.1:\d+)")


@contextlib.contextmanager
def _started(
    *command: str, folder: Path, environment: Mapping[str, str], before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / "dask.log", "ab") as log:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "dask", *command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_all(process.pid)
        process.wait()


def end_all(pid: int) -> None:
    """Kill a process that a test has started, with its children."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def scheduler(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler; yield its address, and its process."""
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
    with _started(
        "scheduler", *options, "--scheduler-file", str(told), folder=folder, environment=own_environment()
    ) as process:

        def address() -> str | None:
            text = told.read_text(encoding="utf-8") if told.exists() else ""
            found = _ADDRESS.search(text)
            return found[1] if found else None

        yield wait_for(address, "a scheduler"), process


@contextlib.contextmanager
def worker(
    address: str, folder: Path, name: str, *options: str, before: Sequence[str] = (), **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker with one thread and without a nanny; yield its process.

    Args:
        address: Address of the scheduler.
        folder: Its working directory.
        name: Its name.
        options: Further options.
        before: A command that starts it.
        variables: Further environment variables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _started(
        *("worker", address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"),
        *("--host", "127.0.0.1", "--local-directory", str(folder), *options),
        folder=folder,
        environment=own_environment(**variables),
        before=before,
    ) as process:
        yield process


def processes_in(root: Path) -> list[int]:
    """Return the processes whose working directory is in a project."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.cwd()).is_relative_to(root):
                found.append(process.pid)
    return found
