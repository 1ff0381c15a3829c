"""Have the processes of kernels observed, and read the reports; see `observer`."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from .observer.access_log import PAUSE, RESUME
from .observer.process import ASK, OBSERVED, end_file, kept_file
from .observer.seccomp import is_possible

_PARENT = str(Path(__file__).parents[2])
_START = (
    f"import sys; sys.path.insert(0, {_PARENT!r}); from {__package__}.observer.process import main; main()"
)
_PATIENCE = 20.0  # seconds for an answer that takes milliseconds


@lru_cache(maxsize=1)
def can_observe() -> bool:
    """Return whether this system lets us observe which files processes open."""
    return is_possible() and hasattr(os, "pidfd_open")


def observed_command(
    command: Sequence[str], *, folder: str | None = None, report: str | None = None
) -> list[str]:
    """Return the command that starts another one below an observer.

    Args:
        command: The command to start.
        folder: The folder for the observer's sockets, if the command is a fork server.
        report: The file for the report, if the command is observed itself.
    """
    config = {
        "command": list(command),
        "folder": folder,
        "report": report,
        "ignored": [*ignored_folders(), *([os.path.join(os.path.dirname(report), "")] if report else [])],
    }
    return [sys.executable, "-I", "-S", "-c", _START, json.dumps(config)]


@lru_cache(maxsize=1)
def ignored_folders() -> tuple[str, ...]:
    """Return the folders of this interpreter's library and packages, which are tracked by version instead."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(sorted({os.path.join(sysconfig.get_path(name), "") for name in names}))


def connect(server_socket: str) -> socket.socket | None:
    """Return a connection to the observer of a server's kernels; None if the observer is gone.

    Args:
        server_socket: The socket of the server.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_PATIENCE)
    try:
        connection.connect(os.path.join(os.path.dirname(server_socket), ASK))
    except OSError:
        connection.close()
        return None
    return connection


def ask_for_report(observer: socket.socket, key: str) -> dict[str, Any] | None:
    """Return the observer's report on a kernel; None if it was not observed.

    Args:
        observer: A connection that has not been used yet; it is closed.
        key: The key under which the kernel has registered.

    Raises:
        OSError: If the observer does not answer.
    """
    with observer:
        observer.sendall(json.dumps({"report": key}).encode() + b"\n")
        answer, descriptors, _, _ = socket.recv_fds(observer, 4096, 1)
    if not answer:
        raise ConnectionResetError("the observer has ended")
    for descriptor in descriptors:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return read_report(descriptor)
    return None


def read_report(file: Path | int) -> dict[str, Any] | None:
    """Return the report of an observer, from a file or an open descriptor; None if there is none."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            report: dict[str, Any] = json.load(lines)
    except (OSError, ValueError):
        return None
    return report


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Pause the observation of this thread, so that its files do not count as the flow's."""
    with contextlib.suppress(OSError):
        os.stat(PAUSE)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.stat(RESUME)


__all__ = [
    "OBSERVED",
    "ask_for_report",
    "can_observe",
    "connect",
    "end_file",
    "ignored_folders",
    "kept_file",
    "observed_command",
    "read_report",
    "unobserved",
]
