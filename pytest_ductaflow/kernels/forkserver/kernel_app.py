"""Set up an ipykernel in two halves: one once before the fork, the other in each forked process."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler  # noqa: F401
import linecache
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import comm  # noqa: F401 - imported here and below, so that kernels find it imported
import IPython.core.logger  # noqa: F401
import tornado.platform.asyncio  # noqa: F401
import zmq
import zmq.utils.garbage
from ipykernel import displayhook, ipkernel, kernelapp
from ipykernel.control import ControlThread
from ipykernel.heartbeat import Heartbeat
from IPython.core.application import ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS, BaseIPythonApplication
from IPython.core.interactiveshell import InteractiveShell
from tornado.ioloop import IOLoop
from zmq.eventloop.zmqstream import ZMQStream

from ..observer.process import registration
from ..observer.seccomp import install, is_possible, make_filter
from .iopub import IOPubThread, OutStream
from .ipython_kernel import IPythonKernel, ZMQInteractiveShell
from .shutdown import remember_modules

_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
# The variables that determine the folder for temporary files, as they were when it was determined.
_TEMPORARY = {name: os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")}
_PLACE = os.getcwd()  # the temporary folder if there is no other


class ForkableApp(kernelapp.IPKernelApp):  # type: ignore[misc]
    """ipykernel's application, split at the fork."""

    kernel_class = IPythonKernel
    listeners: ClassVar[dict[str, list[Callable[[], None]]]] = {"before_preload": [], "after_preload": []}

    def tell(self, event: str) -> None:
        """Call the listeners of an event: modules are going to be preloaded, or have been."""
        for listener in self.listeners[event]:
            listener()

    def prepare(self) -> None:
        """Set up the half before the fork: no sockets, no threads, nothing that depends on the flow."""
        # Libraries detect a notebook by what -f sets.
        BaseIPythonApplication.initialize(self, ["-f", "", "--HistoryManager.hist_file=:memory:"])
        self.log.setLevel(logging.ERROR)  # its warnings are about what is done here on purpose
        self.init_pdb()
        self.kernel = self.kernel_class.instance(
            parent=self,
            session=self.session,
            log=self.log,
            profile_dir=self.profile_dir,
            user_ns=None,
            shell_class=ZMQInteractiveShell,
        )
        self.init_shell()
        self.init_extensions()
        self._has_startup_code = self._finds_startup_code()
        if not self._has_startup_code:
            self.init_code()  # still hides names from %who
        self.configure_tornado_logger()
        self.patch_io()
        with contextlib.suppress(OSError):  # there is none at the moment
            tempfile.gettempdir()

    def make_streams(self) -> None:
        """Replace stdout and stderr by a kernel's streams, which are connected after the fork."""
        self.stdout = sys.stdout = OutStream("stdout")
        self.stderr = sys.stderr = OutStream("stderr")

    def flush_streams(self) -> None:
        """Take what is left of what programs and code other than Python have printed."""
        self.stdout.flush()
        self.stderr.flush()

    def connect(self, folder: str) -> dict[str, Any]:
        """Set up the first part of the other half: sockets in a folder, threads, streams.

        Returns:
            What a client needs to connect, as in a connection file.
        """
        connection: dict[str, Any] = {
            "transport": "ipc",
            "ip": os.path.join(folder, f"k{os.getpid()}"),
            "key": os.urandom(16).hex(),
            "signature_scheme": "hmac-sha256",
            "language_info": self.kernel.language_info,
            **{f"{channel}_port": number for number, channel in enumerate(_CHANNELS, 1)},
        }
        self.transport, self.ip = connection["transport"], connection["ip"]
        self.session.key = connection["key"].encode()
        self.session.pid = os.getpid()
        self.session.session = os.urandom(16).hex()
        self._ports = {channel: connection[f"{channel}_port"] for channel in _CHANNELS}
        self.context = zmq.Context()
        self.shell_socket = self._bound(zmq.ROUTER, "shell")
        self._start_publishing()
        self.init_signal()
        self._attach_kernel()
        return connection

    def _bound(self, kind: int, channel: str) -> zmq.Socket[Any]:
        socket = self.context.socket(kind)
        socket.linger = 1000
        if kind == zmq.ROUTER:
            socket.router_handover = 1
        elif kind == zmq.XPUB:
            socket.sndhwm = 0  # no limit: by default messages are dropped if the reader is too slow
        socket.bind(f"ipc://{self.ip}-{self._ports[channel]}")
        return socket

    def _start_publishing(self) -> None:
        socket, place = self._bound(zmq.XPUB, "iopub"), f"{self.ip}-forked"
        self.iopub_thread = IOPubThread(socket, pipe=True, session=self.session, place=place)
        self.iopub_thread.thread.start()
        self.iopub_socket = self.iopub_thread.background_socket
        for stream in (self.stdout, self.stderr):
            stream.connect(self.session, self.iopub_thread)
        self.displayhook = sys.displayhook = displayhook.ZMQDisplayHook(self.session, self.iopub_socket)

    def _attach_kernel(self) -> None:
        """Give the kernel, created without them, its streams and threads; as in `init_kernel`."""
        kernel, shell = self.kernel, self.shell
        kernel._stdout, kernel._stderr = self.stdout, self.stderr
        kernel.ident = os.urandom(16).hex()
        kernel._main_asyncio_lock = asyncio.Lock()
        with kernel.hold_trait_notifications():
            kernel.shell_stream = ZMQStream(self.shell_socket)
        kernel.iopub_thread, kernel.iopub_socket = self.iopub_thread, self.iopub_socket
        kernel.record_ports({f"{name}_port": port for name, port in self._ports.items()})
        shell.displayhook.pub_socket = shell.display_pub.pub_socket = self.iopub_socket
        shell.displayhook.topic = kernel._topic("execute_result")
        self.displayhook.get_execution_count = lambda: kernel.execution_count

    def open_stdin(self) -> None:
        """Open the channel on which the kernel asks its client's user, as debuggers do."""
        self.stdin_socket = self.kernel.stdin_socket = self._bound(zmq.ROUTER, "stdin")

    def open_other_channels(self) -> None:
        """Open what clients other than ours may need: requests during a cell, stdin, a heartbeat."""
        kernel = self.kernel
        self.iopub_thread.expect_no_reader()
        self.open_stdin()
        self.control_socket = self._bound(zmq.ROUTER, "control")
        self.control_thread = kernel.control_thread = ControlThread(daemon=True)
        kernel.control_stream = ZMQStream(self.control_socket, self.control_thread.io_loop)
        kernel.control_stream.on_recv(kernel.dispatch_control, copy=False)
        self.control_thread.start()
        self.heartbeat = Heartbeat(zmq.Context(), (self.transport, self.ip, self._ports["hb"]))
        self.heartbeat.start()

    def begin(self) -> None:
        """Set up the second part: what depends on working directory, environment and arguments."""
        self.init_path()
        self.shell.init_environment()
        if self.shell.history_manager is not None:
            self.shell.history_manager.dir_hist[:] = [os.getcwd()]
        self.init_gui_pylab()
        if self._has_startup_code:
            self.init_code()
            sys.stdout.flush()
            sys.stderr.flush()

    def _finds_startup_code(self) -> bool:
        """Return whether the user's profile or environment runs code in each kernel."""
        folders = [Path(folder, "startup") for folder in (*ENV_CONFIG_DIRS, *SYSTEM_CONFIG_DIRS)]
        folders.append(Path(self.profile_dir.startup_dir))
        files = any(path.suffix in (".py", ".ipy") for folder in folders for path in folder.glob("*"))
        return bool(files or self.exec_lines or self.exec_files or os.environ.get("PYTHONSTARTUP"))


def make_app(modules: Mapping[str, str]) -> ForkableApp:
    """Return an application that is ready to be forked.

    Args:
        modules: Source files by module name, with the functions that clients want called. Their functions
            `before_preload` and `after_preload` are called before and after modules are preloaded.
    """
    ipkernel._accepts_parameters = _remembered(ipkernel._accepts_parameters)
    app: ForkableApp = ForkableApp.instance()
    app.prepare()
    _warm_up(app.shell)
    if is_possible():
        make_filter()
    for name, path in modules.items():
        module = type(sys)(name)
        with open(path, encoding="utf-8") as source:
            exec(compile(source.read(), "ductaflow", "exec"), vars(module))  # noqa: S102
        sys.modules[name] = module
        for event, listeners in app.listeners.items():
            if hasattr(module, event):
                listeners.append(getattr(module, event))
    return app


def _remembered(accepts_parameters: Callable[[Any, list[str]], Any]) -> Callable[[Any, list[str]], Any]:
    """Cache the results of a check that each cell repeats for the same methods."""
    remembered = lru_cache(lambda method, names: accepts_parameters(method, list(names)))
    return lambda method, names: remembered(method, tuple(names))


def _warm_up(shell: InteractiveShell) -> None:
    """Trigger what is initialised at first use, so that this happens once and not in every kernel."""
    with _unnoticed(shell):
        shell.run_cell("pass", store_history=False, silent=True)
        shell.display_formatter.format(1)
        code = "def ductaflow():\n    return 1 / 0\nductaflow()\n"
        name = shell.compile.cache(code, 0, raw_code=code)
        try:
            exec(compile(code, name, "exec"), {"__name__": "__main__"})  # noqa: S102
        except ZeroDivisionError as error:
            lines = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
            shell.InteractiveTB.stb2text(lines)


def rehearse(app: ForkableApp) -> None:
    """Do once what each cell does, so that the pages that it writes to are copied already.

    This is before the kernel takes requests: the first one may be waiting, and the rehearsal must not run it.
    """
    content = {"code": "pass", "silent": True, "store_history": False, "allow_stdin": False}
    message = app.session.msg("execute_request", {**content, "user_expressions": {}, "stop_on_error": True})
    frames = [zmq.Frame(part) for part in app.session.serialize(message, ident=b"nobody")]
    with _unnoticed(app.shell):
        IOLoop.current().run_sync(partial(app.kernel.dispatch_shell, frames))
    app.kernel.set_parent([], {}, channel="shell")
    _become_random()


@contextlib.contextmanager
def _unnoticed(shell: InteractiveShell) -> Iterator[None]:
    """Let a cell run that leaves no traces and sends no events to extensions."""
    heard = shell.events.callbacks
    shell.events.callbacks = {event: [] for event in heard}
    known = [(sources, len(sources)) for sources in (linecache.cache, shell.compile._filename_map)]
    try:
        yield
    finally:
        shell.events.callbacks = heard
        for sources, count in known:
            while len(sources) > count:
                sources.popitem()
        for stream in (sys.stdout, sys.stderr):
            # IPython overrides it while a cell runs, and leaves the original there.
            getattr(stream, "__dict__", {}).pop("write", None)


def become_kernel(app: ForkableApp, folder: str) -> dict[str, Any]:
    """Turn a forked process into a kernel that is ready for a flow.

    Returns:
        The connection info for its client.
    """
    os.setsid()
    # A file and not the server's streams: what the process prints when it dies belongs to its flow.
    raw = os.open(os.path.join(folder, f"k{os.getpid()}.raw"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(raw, 1)
    os.dup2(raw, 2)
    os.close(raw)
    return app.connect(folder)


def run_flow(app: ForkableApp, request: Mapping[str, Any]) -> None:
    """Run the kernel until the client shuts it down.

    Args:
        app: The application, connected.
        request: Working directory, environment, arguments and umask of the kernel; whether it needs all
            channels, or the one for input; the first calls.
    """
    remember_modules()
    if not request["all_channels"]:
        signal.signal(signal.SIGINT, app.kernel.note_interrupt)
    os.chdir(request["cwd"])
    if (processes := sys.modules.get("multiprocessing.process")) is not None:
        vars(processes)["ORIGINAL_DIR"] = os.getcwd()  # from which spawned processes import
    os.umask(request["umask"])
    take_environment(request["env"])
    sys.argv[:] = request["argv"]
    _become_random()
    app.begin()
    if request["all_channels"]:
        app.open_other_channels()
    elif request["stdin"]:
        app.open_stdin()
    call(request["first"])
    loop = app.io_loop = IOLoop.current()
    if request["observe"] is not None and _is_observed(request["observe"]):
        call(request["observe"]["calls"])
    with contextlib.suppress(KeyboardInterrupt):
        loop.start()


def _is_observed(observe: Mapping[str, Any]) -> bool:
    """Let the server's observer see all files that this process uses; return whether it can."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as observer:
            observer.connect(observe["socket"])
            listener = install()
            try:
                socket.send_fds(observer, [registration(observe["key"], observe["ignored"])], [listener])
            finally:
                os.close(listener)
    except OSError:
        return False
    return True


def call(calls: Sequence[tuple[str, str, Sequence[Any]]]) -> list[Any]:
    """Call functions of the client's modules, each given as module, name and arguments."""
    return [getattr(sys.modules[module], name)(*arguments) for module, name, arguments in calls]


def final_report(request: Mapping[str, Any]) -> list[Any]:
    """Return the results of the calls to make at the end; None for a call that fails."""
    answers = []
    for question in request["last"]:
        try:
            answers += call([question])
        except Exception:
            traceback.print_exc(file=sys.__stderr__)
            answers.append(None)
    return answers


def _is_temporary_folder_of(environment: Mapping[str, str]) -> bool:
    """Return whether the temporary folder found before the fork is the right one for an environment."""
    given = {name: environment.get(name) for name in _TEMPORARY}
    depends_on_place = any(value and not os.path.isabs(value) for value in given.values())
    found = tempfile.tempdir
    if given != _TEMPORARY or depends_on_place or found is None or found == _PLACE:
        return False
    return os.access(found, os.W_OK)


def take_environment(environment: Mapping[str, str]) -> None:
    """Set the environment, and what preloaded modules have set in it, as their import would have done."""
    by_imports = {
        name: value
        for name, (before, value) in IMPORTED_ENVIRONMENT.items()
        if name not in environment or before is not None  # else it may be only a default
    }
    wanted = {**environment, **by_imports}
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    if not _is_temporary_folder_of(wanted):
        tempfile.tempdir = None  # is determined again, in this environment
    time.tzset()


IMPORTED_ENVIRONMENT: dict[str, tuple[str | None, str]] = {}


def _become_random() -> None:
    """Seed NumPy's legacy random generator, which does not notice a fork as Python's own do."""
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed(list(os.urandom(16)))  # None would use far more
