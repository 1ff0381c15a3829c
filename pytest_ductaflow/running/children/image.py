"""Keep a warm process of this one, whose children run the flows of its builds (Linux).

`python -m pytest_ductaflow.running.children.image CONFIG` is the warm process. It has imported what runs a
flow, is not observed as kernels are, and ends with the process that has started it.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping

from ...core.forking.start import RUNNERS_VARIABLE, folder_for_sockets, variables_at_start
from ...core.system.child_process import may_fork
from ...core.system.interrupts import keyboard_later
from ...core.thread_variables import VARIABLES
from ...kernels.preloading.rules import RUN_FLOWS
from ...sources.notebooks import Source

_END = 5.0  # seconds for the process to end
_IMPORTS = (
    "running.attempts",
    "running.clean_start",
    "running.children.runner_process",
    "kernels.start_kernel",
)


class _Image:
    """The warm process.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._folder = tempfile.mkdtemp(prefix="dk", dir=folder_for_sockets())
        self.socket = os.path.join(self._folder, "runners")
        lifeline, self._life = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX) as listener:  # open already, so that requests can wait in it
                listener.bind(self.socket)
                listener.listen()
                self._process = _started(self._folder, lifeline, listener.fileno())
        except OSError:
            os.close(self._life)
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        finally:
            os.close(lifeline)
        atexit.register(self.close)

    @property
    def is_alive(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        if self.owner != os.getpid():  # a child of this process, which has only inherited it
            return
        os.close(self._life)
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:  # it is still importing
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _started(folder: str, lifeline: int, listener: int) -> subprocess.Popen[bytes]:
    config = {"folder": folder, "lifeline": lifeline, "listener": listener}
    with keyboard_later():
        return subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, json.dumps(config)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lifeline, listener),
            start_new_session=True,
        )


_lock = threading.Lock()
_own: _Image | None = None
_given: str | None = None


def fork_runners_from(warm: str) -> None:
    """Have flows of builds run by children of a warm process that exists, given its socket."""
    global _given  # noqa: PLW0603 - of this process
    _given = warm


def may_run_flows(source: Source) -> bool:
    """Return whether a flow has the name of a function that runs flows in its code."""
    return any(name in cell.source for cell in source.code_cells for name in RUN_FLOWS)


def variable_for_builds(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable by which a build in a kernel with this environment finds the warm process.

    It is started if necessary. The result is empty if there is none, or if Python and its libraries would
    start in another way with the build's environment.
    """
    if not may_fork() or _of_start(environment) != _of_start(os.environ):
        return {}
    with contextlib.suppress(OSError):
        return {RUNNERS_VARIABLE: json.dumps([sys.executable, _given or _socket()])}
    return {}


def _of_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what decides how a process starts, less the number of threads, as it does not compute."""
    return {name: value for name, value in variables_at_start(environment) if name not in VARIABLES}


def _socket() -> str:
    global _own  # noqa: PLW0603 - of this process
    with _lock:
        if _own is None or not _own.is_alive:
            _own = _Image()
        return _own.socket


def main() -> None:
    """Import what runs a flow, and fork children for builds until the process that has started this ends."""
    from ...core.forking.server import serve
    from .rehearsal import rehearse

    config = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _IMPORTS:
        importlib.import_module(f"pytest_ductaflow.{name}")
    rehearse()
    gc.collect()
    gc.freeze()  # so that children do not copy these pages
    listener, lifeline = socket.socket(fileno=config["listener"]), config["lifeline"]
    job = serve(listener, math.inf, lambda: None, lifeline)
    if job is None:
        shutil.rmtree(config["folder"], ignore_errors=True)  # the process that made it may have been killed
        os._exit(0)  # nothing is left to be written
    importlib.import_module(job.module).main()


if __name__ == "__main__":
    main()
