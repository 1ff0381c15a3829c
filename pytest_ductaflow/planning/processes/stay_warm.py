"""Leave warm processes behind for the next session (`--ductaflow-keep-warm`); Linux only.

`python -m pytest_ductaflow.planning.processes.stay_warm CONFIG` is such a process, in one of two kinds:

    conductors   has imported what conductors import, and forks the processes that read sources
    runs         has imported what runs an instance and writes its page, and forks the processes that do; it
                 has a server of kernels as well
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.forking import place
from ...core.forking.freshness import Imports, first_change
from ...core.forking.place import CONDUCTORS, RUNS
from ...core.forking.start import folder_for_sockets
from ...core.system.child_process import may_fork
from ...core.system.interrupts import keyboard_later

if TYPE_CHECKING:
    from ...core.forking.server import Job

_END = 15.0  # seconds for a stale process to end
_PAUSE = 0.1
_PREPARED = 4  # kinds of flows for which kernels are got ready
_IMPORTS = {
    CONDUCTORS: ("api.as_ductaflow", "api.conduct", "api.run_notebook", "planning.processes.declare_process"),
    RUNS: (
        *(
            "running.attempts",
            "running.clean_start",
            "running.children.runner_process",
            "running.html.page_process",
        ),
        *("running.html.notebook_html", "kernels.start_kernel"),
    ),
}


def leave_behind(seconds: float) -> None:
    """Keep the warm processes that this one may use, or start those that are missing.

    Args:
        seconds: How long they stay after their last use.
    """
    if not may_fork():
        return
    for kind in (CONDUCTORS, RUNS):
        try:
            if (warm := place.find(kind)) is not None:
                warm.ask("keep", seconds=seconds)
                continue
        except OSError:  # it has just ended
            pass
        kernels = sys.modules.get("pytest_ductaflow.kernels.start_kernel")
        preloads = [*kernels.preloaded][-_PREPARED:] if kernels is not None else []
        try:
            _start({"kind": kind, "seconds": seconds, "preloads": preloads})
        except OSError as error:
            print(f"ductaflow: nothing is kept warm for the next session: {error}", file=sys.stderr)
            return


@dataclass(frozen=True)
class WarmState:
    """A warm process of this user.

    Attributes:
        kind: What it has imported.
        children: Number of processes that sessions have forked from it.
        left: Seconds that it stays without being used; 0 while it is starting.
        stale: The file that has changed since it was imported; None if it can be used.
    """

    kind: str
    children: int
    left: float
    stale: str | None


def warm_processes(*, stop: bool = False) -> list[WarmState]:
    """Return the warm processes of this user.

    Args:
        stop: Whether to end them: those without children at once, the others with their last child.
    """
    found = []
    for warm in place.all_of_this_user():
        try:
            state = warm.ask("state")
            if stop:
                warm.ask("stop")
        except OSError:  # it was killed
            warm.path.unlink(missing_ok=True)
        else:
            kind = warm.path.suffix.removeprefix(".")
            found.append(WarmState(kind, state.get("children", 0), state.get("left", 0.0), state["stale"]))
    for path, pid in _starting():
        if stop:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        found.append(WarmState(path.suffix.removeprefix("."), 0, 0.0, None))
    return found


def _starting() -> Iterator[tuple[Path, int]]:
    """Yield the socket and the process id of each warm process of this user that does not answer yet.

    One that was told to end with its last child has no socket either, but also no process id in its file.
    """
    folder = place.private_folder()
    for lock in folder.glob("*.lock") if folder is not None else ():
        path = lock.with_suffix("")
        with contextlib.suppress(OSError, ValueError), open(lock, encoding="ascii") as file:
            if not path.exists() and not _locks(file.fileno()):
                yield path, int(file.read())


def _start(config: dict[str, Any]) -> None:
    """Start a warm process that does not belong to this session.

    Raises:
        OSError: If it cannot be started.
    """
    path = place.socket_of(config["kind"], make=True)
    if path is None:
        return
    lock = _lock_for(path)
    argument = json.dumps({**config, "path": str(path), "lock": lock})
    try:
        with keyboard_later():
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, argument],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[] if lock is None else [lock],
                start_new_session=True,
            )
            process.returncode = 0  # it outlives this process, which must not warn of that
            if lock is not None:
                os.write(lock, str(process.pid).encode())
    finally:
        if lock is not None:
            os.close(lock)


def main() -> None:
    """Import, and then fork children until nobody has needed one for long."""
    from ...core.forking.server import listening, serve

    config = json.loads(sys.argv[1])
    imports = Imports()
    path = Path(config["path"])
    lock = config["lock"] if config["lock"] is not None else _lock_in_time(path)
    if lock is None:
        return
    os.set_inheritable(lock, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # with what is registered for the exit
    folder = tempfile.mkdtemp(prefix="dk", dir=folder_for_sockets())
    atexit.register(_clean_up, os.getpid(), folder, path)
    variables = _import(config["kind"], config["preloads"], folders := [folder])
    imports.write(folder)
    gc.freeze()  # so that children do not copy these pages
    listener = listening(path)
    os.ftruncate(lock, 0)  # it is asked from now on, not killed
    job = serve(listener, config["seconds"], partial(_why_stale, folders))
    if job is not None:
        _work(job, variables)


def _import(kind: str, preloads: Sequence[Sequence[str]], folders: list[str]) -> dict[str, str]:
    """Import what a kind of process needs; return variables for its children.

    Args:
        kind: The kind.
        preloads: Modules of flows that are likely to run.
        folders: Gets the folder with the notes of what the server of kernels has imported.
    """
    for name in _IMPORTS[kind]:
        importlib.import_module(f"pytest_ductaflow.{name}")
    if kind != RUNS:
        return {}
    from ...kernels.self_test import problem_of
    from ...kernels.server_pool import kernel_environment, server_environment, servers
    from ...running.children.rehearsal import rehearse
    from ...running.html.notebook_html import stylesheet

    environment = kernel_environment({})
    servers.notes_imports = True
    servers.start(environment)
    for modules in preloads:
        servers.prepare(modules, environment)
    rehearse()
    with contextlib.suppress(Exception):  # what is broken is reported by the page that needs it
        stylesheet()
    socket = servers.socket(environment)
    problem_of(socket)
    folders.append(os.path.dirname(socket))
    return server_environment(socket, environment)


def _why_stale(folders: Sequence[str]) -> str | None:
    """Return a file that has changed since this process and its server of kernels did their imports, or None.

    A server that has ended counts as well, by its folder.
    """
    kernels = sys.modules.get("pytest_ductaflow.kernels.server_pool")
    if kernels is not None and not kernels.servers.are_alive:
        return folders[-1]
    return first_change(folders)


def _lock_for(path: Path) -> int | None:
    """Return the open lock file of the only process that may serve at a path; None if there is another one.

    The file holds the process id until the process answers, and is locked as long as it or a child runs.
    """
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    if not _locks(lock):
        os.close(lock)
        return None
    os.ftruncate(lock, 0)
    return lock


def _lock_in_time(path: Path) -> int | None:
    """Return `_lock_for` with the id of this process, once a stale process that is ending has ended."""
    end = time.monotonic() + _END
    while (lock := _lock_for(path)) is None and time.monotonic() < end:
        time.sleep(_PAUSE)
    if lock is not None:
        os.write(lock, str(os.getpid()).encode())
    return lock


def _locks(file: int) -> bool:
    """Return whether this process gets the lock of an open file, which it then has."""
    import fcntl  # which Windows has not, and this module is imported there

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _clean_up(owner: int, folder: str, path: Path) -> None:
    """Remove at the end of a warm process, not of its children, what it has left."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
        path.unlink(missing_ok=True)


def _work(job: Job, variables: dict[str, str]) -> None:
    os.environ.update(variables)
    importlib.import_module(job.module).main()


if __name__ == "__main__":
    main()
