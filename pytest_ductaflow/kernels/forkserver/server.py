"""Run the server, which passes requests for kernels on to its templates.

A client connects to the socket in the server's folder once for each kernel and sends a line of JSON; the
connection then is the kernel's lifeline in both directions:

    client:  {"preload": […], "env_of_imports": {…}, "spare": false, "cwd": …, "env": {…}, "argv": […],
              "umask": …, "all_channels": false, "first": [calls], "last": [calls], "observe": null}
    server:  {"pid": …, "raw": …, "connection": {…}, "left_out": {module: why}}
    client:  {"signal": 2}     to the kernel's process group; as often as wanted
    kernel:  {"final_report": […]}    the results of the last calls; exit handlers have not run yet
    kernel:  {"done": true}    nothing of the flow is left to run
    server:  {"exit": …, "peak_memory": …}    the status of `os.wait4`, and bytes
    server:  {"error": …}      what is wrong with a line of the client, which is ignored otherwise

A client that will need a kernel soon sends {"prepare": […], "env_of_imports": {…}, "spare": true}, and waits
for nothing. Modules come in stages, lists of names: a template with the first stages forks those that go on
from there.
A client that closes the connection ends the kernel. The server passes connections on to the template that
has imported the right modules; while one still imports, requests for others are served. When the server ends,
its templates notice and end their kernels, with all that these have started; when a template is killed, the
system kills its kernels.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import psutil

from ...core.forking.freshness import Imports
from . import kernel_app
from .protocol import LENGTH, LONGEST, READ_SIZE, BadRequest, check_request, receive, send_line
from .template import answer_as_template, prepare_for_imports

_BACKLOG = 128  # requests that may wait
# How many templates take requests, each of which holds in memory what its last stage imports (about 40 MB).
_TEMPLATES = 16
_TEMPLATES_IN_MUCH_MEMORY = 64  # while at least this share of the machine's memory is available:
_MUCH_MEMORY = 1 / 3
_END = 3  # whole seconds after which the system ends a server that does not
_IMPORTS = 40.0  # seconds for the imports of a template


class _Wanted(NamedTuple):
    """The modules that a template has imported, in stages, and the environment at their import."""

    stages: tuple[tuple[str, ...], ...]
    environment: tuple[tuple[str, str], ...]

    @property
    def path(self) -> list[_Wanted]:
        """The templates on the way to this one, each forked from the one before, and this one."""
        ends = range(1, len(self.stages))
        return [*(self._replace(stages=self.stages[:end]) for end in ends), self]


@dataclass
class _Request:
    """A request of a client, for a kernel or the preparation of one.

    Attributes:
        client: The connection.
        line: The request as it came.
        wanted: What the template has imported that is to serve it.
        is_preparation: Whether the template is all that is asked for.
        attempts: How often it may still be begun anew, as templates may have been killed.
    """

    client: socket.socket
    line: bytes
    wanted: _Wanted
    is_preparation: bool
    attempts: int


@dataclass
class _Beginning:
    """A template that is still importing.

    Attributes:
        wanted: What it will have imported.
        before: The template that forks it; None if the server does.
        modules: What it imports itself.
        control: The socket for requests to it.
        until: When it is given up, by the clock of `time.monotonic`.
        pid: Its process, once it has answered.
        waiting: The requests that wait for it.
    """

    wanted: _Wanted
    before: _Wanted | None
    modules: list[str]
    control: socket.socket
    until: float
    pid: int | None = None
    waiting: list[_Request] = field(default_factory=list)


class _Server:
    def __init__(
        self,
        app: kernel_app.ForkableApp,
        folder: str,
        lifeline: int,
        listener: int,
        imports: Imports | None,
    ) -> None:
        self.app = app
        self.imports = imports
        self.folder = folder
        self.lifeline = lifeline
        self.listener = socket.socket(fileno=listener)
        self.listener.listen(_BACKLOG)  # again, so that clients see this process as their peer
        # Where templates take requests; the most recently used one is last.
        self.templates: dict[_Wanted, socket.socket] = {}
        self.beginning: dict[int, _Beginning] = {}  # templates that still import, by their descriptors
        self.retired: list[socket.socket] = []  # of templates with kernels that may still run
        self.left_out: dict[str, str] = {}
        self.clients: dict[int, tuple[socket.socket, bytearray]] = {}  # parts of requests received so far
        self.poll = select.poll()

    def run(self) -> NoReturn:
        self.poll.register(self.listener, select.POLLIN)
        self.poll.register(self.lifeline, select.POLLIN)
        print(json.dumps({"ready": True}), flush=True)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)  # the process that started the server reads to the end of its output
        while True:
            ready = [number for number, _ in self.poll.poll(self._milliseconds_left())]
            if self.lifeline in ready:
                self._leave()
            for number in ready:
                if number in self.clients:
                    self._read_request(number)
                elif number in self.beginning:
                    self._read_answer(self.beginning[number])
                elif number == self.listener.fileno():
                    self._accept()
            for each in [each for each in self.beginning.values() if time.monotonic() > each.until]:
                self._abandon(each)

    def _milliseconds_left(self) -> float | None:
        """Return the time until the first template that still imports is given up."""
        first = min((each.until for each in self.beginning.values()), default=None)
        return None if first is None else 1000 * max(0.0, first - time.monotonic()) + 1

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone already
            client = self.listener.accept()[0]
            self.clients[client.fileno()] = client, bytearray()
            self.poll.register(client, select.POLLIN)

    def _leave(self) -> NoReturn:
        """End the templates, which end their kernels, and remove the folder, as the client may be gone."""
        signal.alarm(_END)
        for each in self.beginning.values():  # it may hang
            _kill(each.pid)
        for control in self._controls:
            control.close()
        with contextlib.suppress(ChildProcessError):  # when all have ended
            while True:
                os.waitpid(-1, 0)
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(0)

    @property
    def _controls(self) -> list[socket.socket]:
        beginning = (each.control for each in self.beginning.values())
        return [*self.templates.values(), *self.retired, *beginning]

    def _read_request(self, number: int) -> None:
        """Read a part of a client's line without blocking others; handle the line once it is complete."""
        client, line = self.clients[number]
        try:
            part = client.recv(READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        line += part
        if part and not line.endswith(b"\n") and len(line) <= LONGEST:
            return
        self.poll.unregister(number)
        del self.clients[number]
        try:
            if not part:
                raise EOFError
            request = _request_of(client, bytes(line))
        except EOFError:
            client.close()
        except BadRequest as error:
            with client:
                send_line(client, error=str(error))
        else:
            self._serve(request)

    def _serve(self, request: _Request) -> None:
        """Pass a request on to its template, or have it wait until there is one."""
        while request.attempts > 0:
            before = None
            for each in request.wanted.path:
                if each not in self.templates:
                    break
                before = each
            else:
                if self._passed_on(request):
                    break
                request.attempts -= 1
                continue
            beginning = self._beginning_of(each) or self._begin(each, before, request)
            if beginning is not None:
                beginning.waiting.append(request)
                return
            request.attempts -= 1
        request.client.close()

    def _passed_on(self, request: _Request) -> bool:
        """Pass a request on to its template; return whether the template still takes requests."""
        for each in reversed(request.wanted.path):  # where others branch off is used more often
            self.templates[each] = self.templates.pop(each)
        while len(self.templates) > _TEMPLATES and len(self.templates) > _most_templates():
            self._retire(next(iter(self.templates)))
        if request.is_preparation:
            return True
        try:
            _pass_on(self.templates[request.wanted], request.line, request.client.fileno())
        except OSError:
            self._forget(request.wanted)
            return False
        return True

    def _beginning_of(self, wanted: _Wanted) -> _Beginning | None:
        return next((each for each in self.beginning.values() if each.wanted == wanted), None)

    def _begin(self, wanted: _Wanted, before: _Wanted | None, request: _Request) -> _Beginning | None:
        """Begin a template, forked from the one with the stages before its last one, or from this process.

        Modules with side effects are left out.

        Returns:
            The template; None if the one before has ended.
        """
        last = wanted.stages[-1] if wanted.stages else ()
        modules = [name for name in last if name not in self.left_out]
        spare = request.is_preparation and wanted == request.wanted
        if before is None:
            control = self._fork_template(modules, dict(wanted.environment), request.client, spare=spare)
        else:
            asked = self._ask_for_template(modules, before, spare=spare)
            if asked is None:
                return None
            control = asked
        found = _Beginning(wanted, before, modules, control, time.monotonic() + _IMPORTS)
        self.beginning[control.fileno()] = found
        self.poll.register(control, select.POLLIN)
        return found

    def _read_answer(self, beginning: _Beginning) -> None:
        """Take what a template says of its imports."""
        control = beginning.control
        try:
            answer = json.loads(receive(control, LENGTH.unpack(receive(control, LENGTH.size))[0]))
        except (EOFError, OSError, ValueError):
            self._abandon(beginning)
            return
        if "pid" in answer:
            beginning.pid, beginning.until = answer["pid"], time.monotonic() + _IMPORTS
            return
        self._let_go(beginning)
        if "misbehaved" in answer:
            control.close()
            self.left_out[answer["misbehaved"]] = answer["deed"]
        else:
            self.templates[beginning.wanted] = control
        for request in beginning.waiting:
            self._serve(request)

    def _abandon(self, beginning: _Beginning) -> None:
        """Give up a template that hangs or has crashed: flows import themselves what it was importing."""
        self._let_go(beginning)
        beginning.control.close()
        _kill(beginning.pid)
        if beginning.pid is None and beginning.before is not None:  # that one has not forked it
            self._forget(beginning.before)
        elif beginning.pid is not None:
            self.left_out |= dict.fromkeys(beginning.modules, "cannot be imported beforehand")
        for request in beginning.waiting:
            if beginning.pid is None or not beginning.modules:
                request.attempts -= 1
            self._serve(request)

    def _let_go(self, beginning: _Beginning) -> None:
        """Remove a template from those that still import."""
        self.poll.unregister(beginning.control)
        del self.beginning[beginning.control.fileno()]

    def _forget(self, wanted: _Wanted) -> None:
        if (control := self.templates.pop(wanted, None)) is not None:
            control.close()

    def _retire(self, wanted: _Wanted) -> None:
        """Make a template end as soon as none of its kernels runs any more."""
        control = self.templates.pop(wanted)
        with contextlib.suppress(OSError):
            control.sendall(LENGTH.pack(0))
        ended, _, _ = select.select(self.retired, (), (), 0)
        for each in ended:
            each.close()
        self.retired = [*(each for each in self.retired if each not in ended), control]

    def _ask_for_template(self, modules: list[str], before: _Wanted, *, spare: bool) -> socket.socket | None:
        """Have a template fork another one; return the socket for requests to that, None if it has ended."""
        here, there = socket.socketpair()
        request = {"template": modules, "left_out": self.left_out, "spare": spare}
        with there:
            try:
                _pass_on(self.templates[before], json.dumps(request).encode(), there.fileno())
            except OSError:
                here.close()
                self._forget(before)
                return None
        return here

    def _fork_template(
        self, modules: list[str], environment: Mapping[str, str], client: socket.socket, *, spare: bool
    ) -> socket.socket:
        here, there = socket.socketpair()
        if os.fork():
            there.close()
            return here
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            clients = (other for other, _ in self.clients.values())
            waiting = (request.client for each in self.beginning.values() for request in each.waiting)
            for other in (here, client, self.listener, *clients, *waiting, *self._controls):
                other.close()
            os.close(self.lifeline)
            if modules:
                kernel_app.take_environment(environment)
            prepare_for_imports(self.app)
            answer_as_template(
                self.app, self.folder, there, modules, self.left_out, self.imports, wants_spare=spare
            )
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _request_of(client: socket.socket, line: bytes) -> _Request:
    """Return the request in a client's line.

    Raises:
        BadRequest: If it is not a valid one.
    """
    request = check_request(line)
    is_preparation = "prepare" in request
    stages = tuple(map(tuple, request["prepare" if is_preparation else "preload"]))
    environment = request["env_of_imports"] if stages else {}  # else it is not used
    wanted = _Wanted(stages, tuple(sorted(environment.items())))
    return _Request(client, line, wanted, is_preparation, attempts=len(stages) + 2)


def _most_templates() -> int:
    """Return how many templates may take requests, given the memory that is available now."""
    memory = psutil.virtual_memory()
    has_much = memory.available > _MUCH_MEMORY * memory.total
    return _TEMPLATES_IN_MUCH_MEMORY if has_much else _TEMPLATES


def _kill(pid: int | None) -> None:
    if pid is not None:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _pass_on(control: socket.socket, line: bytes, descriptor: int) -> None:
    """Send a template a request, with the connection to which it replies."""
    socket.send_fds(control, [LENGTH.pack(len(line))], [descriptor])
    control.sendall(line)


def serve(
    app: kernel_app.ForkableApp, folder: str, *, lifeline: int, listener: int, imports: Imports | None
) -> NoReturn:
    """Answer requests until the lifeline is closed.

    Args:
        app: The application that becomes kernels.
        folder: The folder for sockets; private to the user.
        lifeline: A descriptor at its end once the process that started the server is gone.
        listener: The descriptor of the listening socket.
        imports: Notes what is imported, if anybody wants to know.
    """
    for descriptor in (lifeline, listener):
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # killed templates leave no zombies
    _Server(app, folder, lifeline, listener, imports).run()
