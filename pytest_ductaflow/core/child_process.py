"""A Python process whose output is followed, and which does not outlive the process that started it."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

_LOOK = 0.1  # seconds between looks at what it has printed
_PATIENCE = 5.0  # seconds for a process that was asked to end


def run_module(
    module: str, arguments: Sequence[str], *, folder: Path, printed: Path, take: Callable[[str], None]
) -> int:
    """Run a module of ours in a process of its own until it ends.

    Its output goes through a file: what the process has started and left behind cannot hold it open.

    Args:
        module: Its full name; it calls `end_with_parent` first.
        arguments: Of its command line.
        folder: The working directory.
        printed: The file for the output.
        take: Gets the output in pieces, as it comes.

    Returns:
        The exit code.
    """
    command = [sys.executable, "-P", "-m", module, *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with (
        open(printed, "wb") as sink,
        open(printed, "rb") as stream,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,  # nothing is written into it: it tells the process of our end
            stdout=sink,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            is_over = False
            while not is_over:
                is_over = _has_ended(process)
                take(decoder.decode(stream.read()))
        except BaseException:
            _end(process)
            raise
    return process.returncode


def may_fork() -> bool:
    """Whether processes may be forked from warm ones: this is Linux, and nobody says `DUCTAFLOW_FORK=0`."""
    return sys.platform == "linux" and os.environ.get("DUCTAFLOW_FORK") != "0"


def end_with_parent() -> None:
    """In the process: end when the one that started it has ended, and leave an empty standard input."""
    life = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(life, 1)
        os._exit(1)

    threading.Thread(target=wait, name="ductaflow-parent", daemon=True).start()


def is_stopped(pid: int) -> bool:
    """Return whether somebody has sent SIGSTOP to a process."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return False


def signal_name(number: int) -> str:
    """Return the name of a signal, such as SIGKILL."""
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"signal {number}"


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process end by itself, as Ctrl-C has reached it as well, or end it."""
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
