"""Run a Python module in a child process that does not outlive its parent, and follow its output."""

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

_LOOK = 0.1  # seconds between reads of its output
_PATIENCE = 5.0  # seconds for a process to end after SIGTERM


def run_module(
    module: str, arguments: Sequence[str], *, folder: Path, printed: Path, take: Callable[[str], None]
) -> int:
    """Run a module of ours in a child process until it ends.

    Its output goes to a file, as orphaned grandchildren could hold a pipe open.

    Args:
        module: Full name; the module has to call `end_with_parent` first.
        arguments: Command-line arguments.
        folder: Working directory.
        printed: File for the output.
        take: Callback for each piece of output as it arrives.

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
            stdin=subprocess.PIPE,  # nothing is written to it: end of file means that we have ended
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
    """Return whether processes may be forked from warm ones: on Linux, unless `DUCTAFLOW_FORK=0`."""
    return sys.platform == "linux" and os.environ.get("DUCTAFLOW_FORK") != "0"


def end_with_parent() -> None:
    """Make this process exit when its parent ends, and replace its stdin by an empty one."""
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
    """Return whether a process is stopped by SIGSTOP."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return False


def umask() -> int:
    """Return the umask without setting it, as other threads may be creating files (Linux)."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next((int(line.split()[1], 8) for line in status if line.startswith("Umask")), 0o022)


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
    """Send SIGTERM to a process, which Ctrl-C has reached as well; kill it if it does not end."""
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
