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
has imported the right modules. When the server ends, its templates notice and end their kernels, with all
that these have started; when a template is killed, the system kills its kernels.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from ...core.forking.freshness import Imports
from . import kernel_app
from .protocol import LENGTH, LONGEST, READ_SIZE, BadRequest, check_request, receive, send_line
from .template import answer_as_template, prepare_for_imports

_BACKLOG = 128  # requests that may wait
_TEMPLATES = 16  # that take requests; each holds in memory what its last stage imports
_END = 3  # whole seconds after which the system ends a server that does not
_IMPORTS = 40.0  # seconds for the imports of a template


class _Wanted(NamedTuple):
    """The modules that a template has imported, in stages, and the environment at their import."""

    stages: tuple[tuple[str, ...], ...]
    environment: tuple[tuple[str, str], ...]


def _wanted(request: Mapping[str, Any]) -> _Wanted:
    stages = tuple(map(tuple, request["preload"]))
    environment = request["env_of_imports"] if stages else {}  # else it is not used
    return _Wanted(stages, tuple(sorted(environment.items())))


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
        self.retired: list[socket.socket] = []  # of templates with kernels that may still run
        self.left_out: dict[str, str] = {}
        self.clients: dict[socket.socket, bytearray] = {}  # the part of their request received so far
        self.poll = select.poll()

    def run(self) -> NoReturn:
        self.poll.register(self.listener, select.POLLIN)
        self.poll.register(self.lifeline, select.POLLIN)
        print(json.dumps({"ready": True}), flush=True)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)  # the process that started the server reads to the end of its output
        while True:
            ready = {number for number, _ in self.poll.poll()}
            if self.lifeline in ready:
                self._leave()
            for client in [each for each in self.clients if each.fileno() in ready]:
                self._hear(client)
            if self.listener.fileno() in ready:
                self._accept()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone already
            client = self.listener.accept()[0]
            self.clients[client] = bytearray()
            self.poll.register(client, select.POLLIN)

    @property
    def _controls(self) -> list[socket.socket]:
        return [*self.templates.values(), *self.retired]

    def _leave(self) -> NoReturn:
        """End the templates, which end their kernels, and remove the folder, as the client may be gone."""
        signal.alarm(_END)
        for control in self._controls:
            control.close()
        with contextlib.suppress(ChildProcessError):  # when all have ended
            while True:
                os.waitpid(-1, 0)
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(0)

    def _hear(self, client: socket.socket) -> None:
        """Read a part of a client's line without blocking others; handle the line once it is complete."""
        said = self.clients[client]
        try:
            part = client.recv(READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        said += part
        if part and not said.endswith(b"\n") and len(said) <= LONGEST:
            return
        self.poll.unregister(client)
        del self.clients[client]
        with client:
            if part:
                self._take(client, bytes(said))

    def _take(self, client: socket.socket, line: bytes) -> None:
        """Pass a request on to the right template; reply to an invalid one with what is wrong."""
        try:
            request = check_request(line)
            if (stages := request.get("prepare")) is not None:
                self._prepare({**request, "preload": stages}, client)
                return
            wanted = _wanted(request)
        except BadRequest as error:
            send_line(client, error=str(error))
            return
        for _ in range(len(wanted.stages) + 2):  # templates may have been killed
            with contextlib.suppress(OSError, EOFError, ValueError):
                _pass_on(self._template(wanted, client), line, client.fileno())
                return
            self._forget(wanted)

    def _prepare(self, request: Mapping[str, Any], client: socket.socket) -> None:
        """Make a template that is going to be asked for; a failure shows when it is."""
        with contextlib.suppress(OSError, EOFError, ValueError):
            self._template(_wanted(request), client, spare=request["spare"])

    def _forget(self, wanted: _Wanted) -> None:
        if (control := self.templates.pop(wanted, None)) is not None:
            control.close()

    def _template(self, wanted: _Wanted, client: socket.socket, *, spare: bool = False) -> socket.socket:
        """Return the socket of the template that has imported what a client wants.

        Modules with side effects are left out.

        Args:
            wanted: What it has imported.
            client: The client's connection.
            spare: Whether a new template forks a kernel at once.

        Raises:
            OSError, EOFError, ValueError: If a template has ended.
        """
        path = [wanted._replace(stages=wanted.stages[:end]) for end in range(1, len(wanted.stages))]
        path.append(wanted)
        before = None
        for each in path:
            if each not in self.templates:
                self._make(each, before, client, spare=spare and each == wanted)
            before = each
        for each in reversed(path):  # where others branch off is used more often than the last ones
            self.templates[each] = self.templates.pop(each)
        while len(self.templates) > _TEMPLATES:
            self._retire(next(iter(self.templates)))
        return self.templates[wanted]

    def _make(self, wanted: _Wanted, before: _Wanted | None, client: socket.socket, *, spare: bool) -> None:
        """Make a template, forked from the one with the stages before its last one, or from this process."""
        while True:
            last = wanted.stages[-1] if wanted.stages else ()
            modules = [name for name in last if name not in self.left_out]
            if before is None:
                control = self._fork_template(modules, dict(wanted.environment), client, spare=spare)
            else:
                control = self._ask_for_template(modules, before, spare=spare)
            try:
                answer = self._answer_of(control)
            except EOFError:  # it has not been forked
                control.close()
                if before is not None:
                    self._forget(before)
                raise
            if answer is None:  # it hangs or has crashed: flows import that themselves
                control.close()
                if not modules:
                    raise EOFError
                self.left_out |= dict.fromkeys(modules, "cannot be imported beforehand")
                continue
            if "misbehaved" in answer:
                control.close()
                self.left_out[answer["misbehaved"]] = answer["deed"]
                continue
            self.templates[wanted] = control
            return

    def _ask_for_template(self, modules: list[str], before: _Wanted, *, spare: bool) -> socket.socket:
        """Have a template fork another one; return the socket for requests to that."""
        here, there = socket.socketpair()
        request = {"template": modules, "left_out": self.left_out, "spare": spare}
        with there:
            try:
                _pass_on(self.templates[before], json.dumps(request).encode(), there.fileno())
            except OSError:
                here.close()
                self._forget(before)
                raise
        return here

    def _retire(self, wanted: _Wanted) -> None:
        """Make a template end as soon as none of its kernels runs any more."""
        control = self.templates.pop(wanted)
        with contextlib.suppress(OSError):
            control.sendall(LENGTH.pack(0))
        ended, _, _ = select.select(self.retired, (), (), 0)
        for each in ended:
            each.close()
        self.retired = [*(each for each in self.retired if each not in ended), control]

    def _answer_of(self, control: socket.socket) -> dict[str, Any] | None:
        """Return the reply of a new template after its imports; None if there is none in time.

        Raises:
            EOFError: If there is no such template.
        """
        first = self._next_answer(control, None)
        if first is None:
            raise EOFError
        answer = self._next_answer(control, first["pid"])
        if answer is None:
            with contextlib.suppress(OSError):
                os.kill(first["pid"], signal.SIGKILL)
        return answer

    def _next_answer(self, control: socket.socket, pid: int | None) -> dict[str, Any] | None:
        poll = select.poll()
        poll.register(control, select.POLLIN)
        poll.register(self.lifeline, select.POLLIN)
        for number, _ in poll.poll(1000 * _IMPORTS):
            if number == self.lifeline:
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                self._leave()
            with contextlib.suppress(EOFError, OSError):
                return dict(json.loads(receive(control, LENGTH.unpack(receive(control, LENGTH.size))[0])))
        return None

    def _fork_template(
        self, modules: list[str], environment: Mapping[str, str], client: socket.socket, *, spare: bool
    ) -> socket.socket:
        here, there = socket.socketpair()
        if os.fork():
            there.close()
            return here
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (here, client, self.listener, *self.clients, *self._controls):
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
