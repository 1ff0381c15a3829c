"""Manage fork servers: warm processes that live as long as this one and fork kernels.

`forkserver` is the code that runs in them, `base.Kernel` the interface of the kernels.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import IO

from ..core.errors import KernelStartError
from ..core.forking.start import SERVER_VARIABLE, SET_BY_KERNELS, folder_for_sockets, variables_at_start
from ..core.instance import Instance
from ..core.settings import Settings
from ..core.system import interrupts
from ..core.system.child_process import is_stopped, may_fork
from ..core.system.machine import SHARED_BY
from ..core.thread_variables import VARIABLES, with_threads
from . import setup_calls
from .observation import can_observe, observed_command
from .preloading.stages import stages_of

_OF_ONE_KERNEL = frozenset(
    (
        *("JPY_PARENT_PID", "JPY_SESSION_NAME", "OLDPWD", "PWD", "PYTEST_CURRENT_TEST", "SHLVL", "_"),
        *("PYTEST_XDIST_TESTRUNUID", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"),
        # IPython sets these, whatever they were.
        *("CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "GIT_PAGER", "PAGER", "TERM"),
    )
)
_SITE = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
_START = 60.0  # seconds for a server to start
_LOOK = 3.0  # seconds between checks whether a starting server is stopped
# The first release with the threads and sockets that the fork server expects, and the first without.
_IPYKERNEL = ((7, 2), (8,))
_SERVER_END = 5.0  # seconds for a server to end
_BACKLOG = 128  # requests that may wait
# Processes that share a server: more share its imports, but it forks, and observes, for one at a time.
_PROCESSES = 4


class ForkServer:
    """A warm process that forks kernels and lives as long as this process.

    Args:
        environment: The environment it starts with; kernels get their own.
        notes_imports: Whether it writes what it imports into its folder, for `freshness.first_change`.

    Raises:
        KernelStartError: If it does not start.
    """

    MODULE = f"{__package__}.forkserver"
    folder = ""
    _life: int | None = None
    _process: subprocess.Popen[bytes] | None = None
    is_used = False  # whether anybody has asked for its socket

    def __init__(self, environment: Mapping[str, str], *, notes_imports: bool = False) -> None:
        try:
            self._start(environment, notes_imports=notes_imports)
        except OSError as error:
            self.close()
            raise KernelStartError(f"the server of kernels did not start: {error}") from error

    def _start(self, environment: Mapping[str, str], *, notes_imports: bool) -> None:
        self.folder = tempfile.mkdtemp(prefix="dk", dir=folder_for_sockets())
        listener = socket.socket(socket.AF_UNIX)  # open here already, so that requests can wait in it
        listener.bind(self.path)
        listener.listen(_BACKLOG)
        lifeline, self._life = os.pipe()
        descriptors = {"lifeline": lifeline, "listener": listener.fileno()}
        config = json.dumps({**descriptors, "modules": setup_calls.MODULES, "notes_imports": notes_imports})
        errors = Path(self.folder, "errors")
        command = [sys.executable, "-m", self.MODULE, config]
        if can_observe():
            command = observed_command(command, folder=self.folder)
        try:
            with open(errors, "wb") as stream:
                self._process = subprocess.Popen(
                    command,
                    cwd=self.folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    pass_fds=list(descriptors.values()),
                    start_new_session=True,
                )
        finally:
            os.close(lifeline)
            listener.close()
        self._told: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        self._errors = errors

    @property
    def socket(self) -> str:
        """The path of its socket; reading this waits until the server takes requests.

        Raises:
            KernelStartError: If the server does not start.
        """
        self.is_used = True
        if not self._told.closed:
            why_not = self._wait_until_ready()
            self._told.close()
            if why_not is not None:
                self.kill()
                raise KernelStartError(f"the server of kernels did not start: {why_not}")
        return self.path

    @property
    def path(self) -> str:
        return os.path.join(self.folder, "server")

    def prepare(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        """Request a first kernel with these modules and this environment; this waits for nothing."""
        imports = environment_of_imports(environment)
        request = {"prepare": stages_of(modules), "env_of_imports": imports, "spare": True}
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.setblocking(False)
            connection.connect(self.path)
            connection.sendall(json.dumps(request).encode() + b"\n")

    def _wait_until_ready(self) -> str | None:
        """Wait until the server takes requests; return why it does not, or None if it does."""
        end = time.monotonic() + _START
        while not interrupts.wait([self._told.fileno()], _LOOK):
            if self._process is not None and is_any_stopped(self._process.pid):
                return "its process is stopped"
            if time.monotonic() > end:
                return f"it says nothing for {_START:g} s"
        if self._told.readline():
            return None
        return self._errors.read_text(encoding="utf-8", errors="replace").strip() or "it says nothing"

    def begin_to_end(self) -> None:
        """Have the server end with all its kernels, without waiting for that."""
        if self._life is not None:
            os.close(self._life)
            self._life = None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End the server and all kernels that still run, and remove its folder."""
        if not self.is_used:
            self.kill()
        self.begin_to_end()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # a template hangs in an import
                self._process.wait(_SERVER_END)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill the server, but keep its folder, which may hold files of other kernels."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._told.close()
        self.begin_to_end()


class GivenServer(ForkServer):
    """A server that another process has started, and ends.

    Args:
        path: Its socket.
    """

    def __init__(self, path: str) -> None:
        self.folder = os.path.dirname(path)

    @property
    def socket(self) -> str:
        self.is_used = True
        return self.path

    @property
    def is_alive(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            return True
        return False

    def begin_to_end(self) -> None:
        """Leave it to the process that has started it."""

    close = kill = begin_to_end


class ForkServers:
    """The fork servers of this process, one for each environment that modules see at their import.

    Attributes:
        notes_imports: Whether they note what they import, for a process that outlives the session.
    """

    notes_imports = False

    def __init__(self) -> None:
        self.begin_anew()
        atexit.register(self.close)

    def begin_anew(self) -> None:
        """Begin without servers; in a forked process, those of its parent stay what they are."""
        self._servers: dict[tuple[object, ...], ForkServer] = {}
        self._dead: list[ForkServer] = []  # their folders may be in use
        self._for_others: list[ForkServer] = []
        self._failed: dict[tuple[object, ...], str] = {}  # the reason; another attempt would fail, too
        self._owner: int | None = None  # the process that has started servers
        self._lock = threading.RLock()  # several threads may run flows

    @property
    def are_wanted(self) -> bool:
        """Whether forking is allowed, and possible with the installed ipykernel."""
        return may_fork() and _ipykernel_can_be_forked()

    def socket(self, environment: Mapping[str, str]) -> str:
        """Return the socket of the server for kernels with this environment, started if necessary.

        Raises:
            KernelStartError: If there is none.
        """
        key = _start_of(environment)
        if (inherited := _inherited(key)) is not None:
            return inherited
        if self._owner not in (None, os.getpid()):
            raise KernelStartError("a forked process does not start servers")
        with self._lock:
            if key in self._failed:
                raise KernelStartError(self._failed[key])
            try:
                return self._server(key, environment).socket
            except KernelStartError as error:
                self._failed[key] = str(error)
                raise

    def give_up(self, environment: Mapping[str, str], why: str) -> None:
        """Stop using the server for kernels with this environment."""
        with self._lock:
            self._failed[_start_of(environment)] = why

    def start(self, environment: Mapping[str, str]) -> None:
        """Start a server that will be needed soon; a failure is reported only then."""
        if self.are_wanted and self._owner in (None, os.getpid()):
            key = _start_of(environment)
            with self._lock, contextlib.suppress(KernelStartError):
                if key not in self._failed and _inherited(key) is None:
                    self._server(key, environment)

    def start_for(self, process: int, environment: Mapping[str, str]) -> str | None:
        """Start a server for the kernels of another process, or return one that takes more.

        Args:
            process: The number of the process, from 0.
            environment: The environment of its kernels.

        Returns:
            A text for `use` in that process; None if there is no server for it.
        """
        if not self.are_wanted:
            return None
        key = _start_of(environment)
        own = self._servers.get(key)
        if isinstance(own, GivenServer):
            return _description(own.socket, key)
        with contextlib.suppress(KernelStartError):
            while len(self._for_others) <= process // _PROCESSES:
                self._owner = os.getpid()
                self._for_others.append(ForkServer(environment))
            server = self._for_others[process // _PROCESSES]
            server.is_used = True
            return _description(server.path, key)
        return None

    def use(self, description: str) -> None:
        """Use a server that another process has started, as long as it is alive, for kernels like its own."""
        path, key = json.loads(description)
        self._servers[tuple(tuple(map(tuple, part)) for part in key)] = GivenServer(path)

    def end_for_others(self) -> None:
        """Have the servers end that were started for other processes, without waiting for that."""
        for server in self._for_others:
            server.begin_to_end()

    def is_unused(self, environment: Mapping[str, str]) -> bool:
        """Return whether the server for kernels with this environment waits for its first request."""
        server = self._servers.get(_start_of(environment))
        return server is not None and not server.is_used

    def prepare(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        """Have the server import what a kernel will need soon, if this process has started that server."""
        server = self._servers.get(_start_of(environment))
        if server is not None and server.is_alive:
            server.prepare(modules, environment)

    def _server(self, key: tuple[object, ...], environment: Mapping[str, str]) -> ForkServer:
        server = self._servers.get(key)
        if server is not None and not server.is_alive:
            server.kill()
            self._dead.append(server)
            server = None
        if server is None:
            self._owner = os.getpid()
            server = self._servers[key] = ForkServer(environment, notes_imports=self.notes_imports)
        return server

    @property
    def are_alive(self) -> bool:
        """Whether all servers that this process has started still run, with their observers."""
        return all(server.is_alive for server in list(self._servers.values()))

    @property
    def folder(self) -> str:
        """The parent of temporary folders: a server's folder, which it removes even if this process dies."""
        own = (server.folder for server in list(self._servers.values()) if server.is_alive)
        return next(own, None) or _inherited_folder() or folder_for_sockets()

    def begin_to_end(self) -> None:
        """Have the servers end that this process has started, where no more kernels are needed.

        A later request starts another one.
        """
        if self._owner == os.getpid():
            with self._lock:
                for server in self._servers.values():
                    server.begin_to_end()
                self._dead += self._servers.values()
                self._servers.clear()

    def close(self) -> None:
        if self._owner in (None, os.getpid()):  # also where no server was needed
            interrupts.let_threads_end()
            for server in (*self._servers.values(), *self._dead, *self._for_others):
                server.close()
        for each in (self._servers, self._dead, self._for_others):
            each.clear()


@lru_cache(maxsize=1)
def _ipykernel_can_be_forked() -> bool:
    """Return whether the installed ipykernel can be split as `forkserver.kernel_app` does it."""
    try:
        release = metadata.version("ipykernel").split(".")[:2]
        return _IPYKERNEL[0] <= tuple(int(part) for part in release) < _IPYKERNEL[1]
    except (metadata.PackageNotFoundError, ValueError):
        return False


def server_environment(socket: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that passes a kernel's server on to the flows that run inside it."""
    return {SERVER_VARIABLE: _description(socket, _start_of(environment))}


def _description(socket: str, key: tuple[object, ...]) -> str:
    return json.dumps([socket, key])


def _inherited(key: tuple[object, ...]) -> str | None:
    text = os.environ.get(SERVER_VARIABLE)
    if text is None:
        return None
    socket, known = json.loads(text)
    return socket if known == json.loads(json.dumps(key)) and os.path.exists(socket) else None


def _inherited_folder() -> str | None:
    text = os.environ.get(SERVER_VARIABLE)
    folder = os.path.dirname(json.loads(text)[0]) if text else ""
    return folder if os.path.isdir(folder) else None


def _start_of(environment: Mapping[str, str]) -> tuple[object, ...]:
    """Return what is fixed once a process has started: variables read at its start, installed packages."""
    packages = tuple((name, os.stat(name).st_mtime_ns) for name in _SITE if os.path.isdir(name))
    fixed = variables_at_start(environment)
    if "LD_PRELOAD" not in environment:  # no numeric library is loaded before a template, which has its own
        fixed = tuple(each for each in fixed if each[0] not in VARIABLES)
    return fixed, packages


def environment_of_imports(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what packages may see of a kernel's environment when they are preloaded for it.

    Variables that differ between kernels, or that each kernel sets, are left out, so they share templates.
    """
    given = dict(environment.items() - SET_BY_KERNELS)
    return {
        name: value
        for name, value in given.items()
        if name not in _OF_ONE_KERNEL and not name.startswith(("DUCTAFLOW_", "_DUCTAFLOW_"))
    }


def is_any_stopped(pid: int) -> bool:
    """Return whether a process or one of its children is stopped (SIGSTOP)."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return any(map(is_stopped, (pid, *(child.pid for child in psutil.Process(pid).children()))))
    return False


def kernel_environment(extra: Mapping[str, str | None]) -> dict[str, str]:
    """Return the environment of a kernel: that of this process, without what is meant for this one alone.

    Args:
        extra: Variables that differ; None removes one.
    """
    without = {"PYTEST_CURRENT_TEST": None, SHARED_BY: None}
    environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **without, **extra}
    return {name: value for name, value in environment.items() if value is not None}


def environment_of(
    instance: Instance, settings: Settings, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of an instance's kernel.

    Args:
        instance: The instance.
        settings: Say how many threads its libraries use.
        more: Further variables.
    """
    own = kernel_environment({**dict(instance.variables), **(more or {})})
    return with_threads(own, settings.threads, instance.cores)


servers = ForkServers()
