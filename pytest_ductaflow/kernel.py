"""Processes of kernels: ordinary ones, and on Linux ones that are forked from a warm server.

The home of jupyter_client. `forkserver` is the other side of the server; any Jupyter client can have its
kernels through the provisioner of this module.
"""

from __future__ import annotations

import asyncio
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
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any, TypeAlias

import psutil
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning import LocalProvisioner
from traitlets import List, Unicode

from . import kernel_setup, kernel_trace
from .errors import DuctaflowError

SETUP_MODULES = {"_ductaflow_kernel": kernel_setup.__file__, "_ductaflow_trace": kernel_trace.__file__}
_SERVER_VARIABLE = "DUCTAFLOW_FORKSERVER"  # for flows that a kernel runs: the server of its own process
_ARGUMENTS = ["--HistoryManager.hist_file=:memory:"]  # hundreds of kernels, and nobody to ask what they ran
_NUMERIC = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMEXPR_")
_PLACES = ("IPYTHON", "JUPYTER_", "LANG", "LC_", "MATPLOTLIB", "MPL", "XDG_")
_AT_START = ("PYTHON", "LD_", "MALLOC_", *_PLACES, *_NUMERIC)  # variables that are read once
_LONG_PATH = 70  # bytes
_SERVER_END = 5.0  # seconds that a server may take to end
# What a kernel, or scikit-learn, sets itself: not what its user wants for the flows that it runs.
_SET_BY_KERNELS = {
    ("MPLBACKEND", "module://matplotlib_inline.backend_inline"),
    ("KMP_DUPLICATE_LIB_OK", "True"),
    ("KMP_INIT_AT_FORK", "FALSE"),
}
_LAUNCHER = os.path.join(sysconfig.get_path("purelib"), "ipykernel_launcher.py")
_START = 60.0  # seconds that a server, or a kernel, may take
_GROUP_KILL = 5.0  # seconds until a killed process must be gone


Spec: TypeAlias = KernelSpec  # what is installed under the name of a kernel


class KernelStartError(DuctaflowError):
    """A kernel could not be started."""


class Kernel(ABC):
    """The process of a kernel, whichever way it was made.

    Attributes:
        client: Not connected yet.
        speaks_python: Whether it takes our setup.
        has_setup: Whether the modules of the setup are there already.
        language_info: What the kernel would say of its language, if it is known without asking.
    """

    client: BlockingKernelClient
    speaks_python = True
    has_setup = False
    language_info: dict[str, Any] | None = None
    is_cut_off = False  # whether nobody is there any more who could tell

    @abstractmethod
    def fileno(self) -> int:
        """Readable when there is something to `look` at."""

    @abstractmethod
    def look(self) -> None:
        """Take notice of what has happened to the process."""

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """Whether nothing of the flow runs any more."""

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """As `subprocess` has it, negative for a signal; None if the process lives, or nobody knows."""

    @abstractmethod
    def interrupt(self) -> None:
        """As Ctrl-C does, also for processes that it has started."""

    @abstractmethod
    def kill(self) -> None:
        """End it and all processes of its group."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds in this process; a kernel that runs is killed."""

    @abstractmethod
    def printed(self) -> str:
        """What the process printed before and after it was a kernel."""

    def wait(self, seconds: float) -> bool:
        """Wait until nothing of the flow runs any more; False if it takes longer."""
        end = time.monotonic() + seconds
        while not self.has_ended:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._wait_for_news(left)
        return True

    def wait_for_exit_code(self, seconds: float) -> int | None:
        """The exit code, as soon as it is known; None if it is not in time."""
        end = time.monotonic() + seconds
        while self.exit_code is None and time.monotonic() < end and not self.is_cut_off:
            self._wait_for_news(end - time.monotonic())
        return self.exit_code

    def _wait_for_news(self, seconds: float) -> None:
        if wait([self.fileno()], max(seconds, 0.0)):
            self.look()


class OrdinaryKernel(Kernel):
    """A kernel as its kernelspec starts it.

    Args:
        name: Of the kernelspec.
        cwd: Its working directory.
        env: Its whole environment.
        folder: A private folder for its files.
    """

    def __init__(self, name: str, *, cwd: str, env: Mapping[str, str], folder: str) -> None:
        self.manager = manager = KernelManager(kernel_name=name)
        if os.name == "posix":  # no ports that others may see or snatch
            manager.transport = "ipc"
            manager.connection_file = os.path.join(folder, "k.json")
            manager.ip = os.path.join(folder, "k")
        spec = manager.kernel_spec
        self.speaks_python = spec.language == "python"
        arguments = _ARGUMENTS if manager.ipykernel else []
        self._raw = Path(folder, "raw")
        with open(self._raw, "wb") as stream:
            manager.start_kernel(
                cwd=cwd, env=dict(env), stdout=stream, stderr=stream, extra_arguments=arguments
            )
        self.client = manager.client()
        process = getattr(manager.provisioner, "process", None)
        if process is None:
            manager.shutdown_kernel(now=True)
            raise KernelStartError(f"kernel {name} runs elsewhere: its provisioner has no process here")
        self._process: subprocess.Popen[bytes] = process
        # A thread that waits is what all systems have; the socket ends when the process does.
        self._bell, self._ringing = socket.socketpair()
        threading.Thread(target=self._ring_at_end, args=(self._process,), daemon=True).start()

    def _ring_at_end(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(OSError), self._ringing:
            process.wait()

    def fileno(self) -> int:
        return self._bell.fileno()

    def look(self) -> None:
        self._process.poll()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def kill(self) -> None:
        below: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(self._process.pid).children(recursive=True)
        if os.name == "posix":
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)  # also when it is gone and others are left
        elif self._process.poll() is None:
            self._process.kill()
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GROUP_KILL)

    def close(self) -> None:
        self.kill()
        self.manager.cleanup_resources()
        self._bell.close()

    def printed(self) -> str:
        return self._raw.read_text(encoding="utf-8", errors="replace")


class ForkedKernel(Kernel):
    """A kernel that a server has forked.

    Args:
        server: The socket of the server.
        preload: The modules that shall be there already.
        cwd: Its working directory.
        env: Its whole environment.
        spare: Whether the server should have the next one ready; for machines with an idle core.

    Raises:
        KernelStartError: If the server does not answer as it should.
    """

    has_setup = True

    def __init__(
        self,
        server: str,
        *,
        preload: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        argv: Sequence[str] = (),
        spare: bool = False,
    ) -> None:
        self.client = BlockingKernelClient()
        request = {
            "preload": list(preload),
            "cwd": cwd,
            "env": {**env, "JPY_PARENT_PID": str(os.getpid())},
            "argv": list(argv) or [_LAUNCHER, "-f", os.path.join(cwd, "kernel.json"), *_ARGUMENTS],
            "umask": _umask(),
            "spare": spare,
        }
        self.pid: int | None = None
        self.left_out: dict[str, str] = {}
        self._status: int | None = None
        self._done = False
        self._unread = b""
        self._connection = socket.socket(socket.AF_UNIX)
        try:
            self._connection.connect(server)
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            self._wait_until_connected()
        except (OSError, ValueError, KeyError) as error:
            self._connection.close()
            raise KernelStartError(f"the server of kernels does not answer: {error}") from error

    def _wait_until_connected(self) -> None:
        end = time.monotonic() + _START
        while self.pid is None:
            if self.is_cut_off or time.monotonic() > end:
                raise OSError("it ended" if self.is_cut_off else f"nothing for {_START:g} s")
            self._wait_for_news(end - time.monotonic())

    def fileno(self) -> int:
        return self._connection.fileno()

    def look(self) -> None:
        try:
            heard = self._connection.recv(65_536)
        except OSError:
            heard = b""
        if not heard:
            self.is_cut_off = True  # the server is gone; the system kills the kernel, not what it has started
            if self.pid is not None and self._status is None:
                with contextlib.suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
            return
        *lines, self._unread = (self._unread + heard).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, words: dict[str, Any]) -> None:
        if "pid" in words:
            self.pid, self.left_out = words["pid"], words["left_out"]
            self._raw = Path(words["raw"])
            self.connection: dict[str, Any] = words["connection"]
            self.language_info = self.connection.pop("language_info")
            self.client.load_connection_info(self.connection)
        self._done = self._done or "done" in words
        self._status = words.get("exit", self._status)

    @property
    def has_ended(self) -> bool:
        return self._done or self.is_cut_off or self._status is not None

    @property
    def exit_code(self) -> int | None:
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def signal(self, number: int) -> None:
        """Send a signal to its process group."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps({"signal": number}).encode() + b"\n")

    def interrupt(self) -> None:
        self.signal(signal.SIGINT)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait_for_exit_code(_GROUP_KILL)

    def close(self) -> None:
        self._connection.close()
        for path in (self._raw, *Path(self.connection["ip"]).parent.glob(f"k{self.pid}-*")):
            path.unlink(missing_ok=True)

    def printed(self) -> str:
        with contextlib.suppress(OSError):
            return self._raw.read_text(encoding="utf-8", errors="replace")
        return ""


def _umask() -> int:
    """Without setting it, as `os.umask` does: other threads may be making files."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next((int(line.split()[1], 8) for line in status if line.startswith("Umask")), 0o022)


class ForkServer:
    """A warm process that forks kernels, for the life of this one.

    Args:
        environment: What it starts with; kernels get their own.

    Raises:
        KernelStartError: If it does not start.
    """

    MODULE = f"{__package__}.forkserver"
    folder = ""
    _life: int | None = None
    _process: subprocess.Popen[bytes] | None = None

    def __init__(self, environment: Mapping[str, str]) -> None:
        try:
            self._start(environment)
        except OSError as error:
            self.close()
            raise KernelStartError(f"the server of kernels did not start: {error}") from error

    def _start(self, environment: Mapping[str, str]) -> None:
        self.folder = tempfile.mkdtemp(prefix="dk", dir=folder_for_sockets())
        lifeline, self._life = os.pipe()
        config = json.dumps({"lifeline": lifeline, "modules": SETUP_MODULES})
        errors = Path(self.folder, "errors")
        try:
            with open(errors, "wb") as stream:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", self.MODULE, config],
                    cwd=self.folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    pass_fds=[lifeline],
                    start_new_session=True,
                )
        finally:
            os.close(lifeline)
        self._told: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        self._errors = errors

    @property
    def socket(self) -> str:
        """Where it takes requests; waits until it does.

        Raises:
            KernelStartError: If it never will.
        """
        if not self._told.closed:
            ready = wait([self._told.fileno()], _START) and self._told.readline()
            self._told.close()
            if not ready:
                said = self._errors.read_text(encoding="utf-8", errors="replace").strip()
                self.close()
                raise KernelStartError(f"the server of kernels did not start: {said or 'it says nothing'}")
        return os.path.join(self.folder, "server")

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End it, and with it all kernels that still run."""
        life, self._life = self._life, None
        if life is not None:
            os.close(life)
        if self._process is not None:
            try:
                self._process.wait(_SERVER_END)
            except subprocess.TimeoutExpired:  # a template imports something that does not end
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._told.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class ForkServers:
    """The servers of this process, one for each environment that modules see when they are imported."""

    def __init__(self) -> None:
        self._servers: dict[tuple[object, ...], ForkServer] = {}
        self._pid = os.getpid()
        atexit.register(self.close)

    @property
    def are_wanted(self) -> bool:
        """Whether this is Linux, and nobody has said `DUCTAFLOW_FORK=0`."""
        return sys.platform == "linux" and os.environ.get("DUCTAFLOW_FORK") != "0"

    def socket(self, environment: Mapping[str, str]) -> str:
        """The socket of the server for kernels with this environment.

        Raises:
            KernelStartError: If there is none.
        """
        key = _start_of(environment)
        if (inherited := _inherited(key)) is not None:
            return inherited
        if self._pid != os.getpid():
            raise KernelStartError("a forked process does not start servers")
        return self._server(key, environment).socket

    def start(self, environment: Mapping[str, str]) -> None:
        """Let a server start that will be wanted soon; whether it does is seen then."""
        if self.are_wanted and self._pid == os.getpid():
            key = _start_of(environment)
            if _inherited(key) is None:
                with contextlib.suppress(KernelStartError):
                    self._server(key, environment)

    def _server(self, key: tuple[object, ...], environment: Mapping[str, str]) -> ForkServer:
        server = self._servers.get(key)
        if server is not None and not server.is_alive:
            server.close()
            server = None
        if server is None:
            server = self._servers[key] = ForkServer(environment)
        return server

    def close(self) -> None:
        if self._pid == os.getpid():
            for server in self._servers.values():
                server.close()
        self._servers.clear()


def server_environment(socket: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What tells the flows inside a kernel of the server from which it came."""
    return {_SERVER_VARIABLE: json.dumps([socket, _start_of(environment)])}


def _inherited(key: tuple[object, ...]) -> str | None:
    text = os.environ.get(_SERVER_VARIABLE)
    if text is None:
        return None
    socket, known = json.loads(text)
    return socket if known == json.loads(json.dumps(key)) and os.path.exists(socket) else None


def _start_of(environment: Mapping[str, str]) -> tuple[object, ...]:
    """What a warm process cannot take on later: variables that count at the start, and what is installed."""
    given = environment.items() - _SET_BY_KERNELS
    variables = tuple(sorted((name, value) for name, value in given if name.startswith(_AT_START)))
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    return variables, tuple((name, os.stat(name).st_mtime_ns) for name in folders if os.path.isdir(name))


def can_fork(spec: Spec) -> bool:
    """Whether the kernels of a kernelspec are what the server forks: ipykernel, of this interpreter."""
    command = [part for part in spec.argv if part != "-Xfrozen_modules=off"]
    own = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
    is_own = command[1:] == own and _is_this_interpreter(command[0])
    return servers.are_wanted and is_own and not spec.env and not spec.metadata.get("kernel_provisioner")


def _is_this_interpreter(executable: str) -> bool:
    # As jupyter_client reads it: a bare name means the interpreter that asks.
    major, minor = sys.version_info[:2]
    return executable in ("python", f"python{major}", f"python{major}.{minor}", sys.executable)


def folder_for_sockets() -> str:
    """Where temporary folders with sockets lie; the system allows about a hundred characters for a path."""
    folder = tempfile.gettempdir()
    return "/tmp" if os.name == "posix" and len(os.fsencode(folder)) > _LONG_PATH else folder  # noqa: S108


def kernel_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a kernel: that of this process, less what pytest has put there."""
    environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **extra}
    environment.pop("PYTEST_CURRENT_TEST", None)
    return environment


def kernel_specs() -> list[str]:
    """The names of the kernels that are installed."""
    return sorted(KernelSpecManager().find_kernel_specs())


def kernel_spec(name: str) -> Spec | None:
    """What is installed under a name; None if nothing is."""
    try:
        return KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        return None


servers = ForkServers()


class ForkProvisioner(LocalProvisioner):  # type: ignore[misc]
    """Forked kernels for any Jupyter client.

    In a kernelspec: `"metadata": {"kernel_provisioner": {"provisioner_name": "ductaflow-fork"}}`; a
    `"config": {"preload": ["pandas"]}` beside the name says what its kernels find imported. The kernel
    listens on sockets of the server's choice. Where nothing can be forked it is an ordinary one.
    """

    preload = List(Unicode(), help="Modules that the kernels find imported.", config=True)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        spec = KernelSpec(argv=[*cmd[:-1], "{connection_file}"] if "-f" in cmd else cmd)
        environment = kwargs.get("env") or os.environ
        try:
            if not can_fork(spec):
                raise KernelStartError("not a kernel of this interpreter")
            kernel = await asyncio.to_thread(
                lambda: ForkedKernel(
                    servers.socket(environment),
                    preload=self.preload,
                    cwd=kwargs.get("cwd") or os.getcwd(),
                    env=environment,
                    argv=cmd[2:],
                )
            )
        except KernelStartError:
            return dict(await super().launch_kernel(cmd, **kwargs))
        self.process, self.pid = _AsPopen(kernel), kernel.pid
        self.connection_info = {**kernel.connection, "key": kernel.connection["key"].encode()}
        return dict(self.connection_info)


class _AsPopen:
    """A forked kernel with the methods of the child process for which jupyter_client takes it."""

    stdin = stdout = stderr = None

    def __init__(self, kernel: ForkedKernel) -> None:
        self.kernel = kernel
        self.pid = kernel.pid

    def poll(self) -> int | None:
        while not self.kernel.is_cut_off and wait([self.kernel.fileno()], 0):
            self.kernel.look()
        return -signal.SIGKILL if self.kernel.is_cut_off else self.kernel.exit_code

    def wait(self, timeout: float | None = None) -> int | None:
        while (code := self.poll()) is None:
            if not wait([self.kernel.fileno()], timeout):
                raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
        self.kernel.close()
        return code

    def send_signal(self, number: int) -> None:
        self.kernel.signal(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
