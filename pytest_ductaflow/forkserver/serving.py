"""The processes of the server, and the words that pass between them and their clients.

A client connects to the socket `server` in the server's folder once for each kernel and says a line of
JSON; the connection then is the kernel's life line in both directions:

    client:  {"preload": […], "spare": false, "cwd": …, "env": {…}, "argv": […], "umask": …,
              "all_channels": false, "first": [calls], "last": [calls]}
    server:  {"pid": …, "raw": …, "connection": {…}, "left_out": {module: why}}
    client:  {"signal": 2}     to the kernel's process group; as often as wanted
    kernel:  {"last_words": […]}    the answers to the last calls; exit handlers are still to run
    kernel:  {"done": true}    nothing of the flow is left to run
    server:  {"exit": …}       the status of `os.waitpid`

A client that closes the connection ends the kernel. The server hands connections on to the template that
has imported the right modules. When the server goes, its templates notice and end their kernels, with all
that these have started; when a template is killed, its kernels are killed by the system.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import psutil

from . import forked_kernel
from .preloading import Misbehaved, preload

SOCKET = "server"
_LENGTH = struct.Struct("!Q")
_PR_SET_PDEATHSIG = 1
_PATIENCE = 20.0  # seconds for what takes milliseconds
_IMPORTS = 40.0  # seconds that the imports of a template may take
_SENTENCE = 65_536  # bytes that are read at a time


def say(connection: socket.socket, /, **words: Any) -> None:
    """Send a line of JSON; somebody who has gone does not hear it.

    It begins a line of its own, too: whoever spoke before may have died over it.
    """
    with contextlib.suppress(OSError):
        connection.sendall(b"\n" + json.dumps(words).encode() + b"\n")


def _read_line(connection: socket.socket) -> bytes:
    """The first line that a client says; empty if it has gone."""
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(_SENTENCE)
        if not part:
            return b""
        line += part
    return line


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _share_fate_of(parent: int) -> None:
    """Be killed when the parent dies, in whatever way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def _kill_all(pid: int) -> None:
    """End a process, its group, and what has left the group."""
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(pid).children(recursive=True)
    _kill_group(pid)
    for process in below:
        with contextlib.suppress(psutil.Error):
            process.kill()


@dataclass
class _Template:
    """As the server sees it: a process, and the socket on which it takes requests."""

    control: socket.socket
    left_out: dict[str, str]


class _Server:
    def __init__(self, app: forked_kernel.ForkableApp, folder: str, lifeline: int) -> None:
        self.app = app
        self.folder = folder
        self.lifeline = lifeline
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(folder, SOCKET))
        self.listener.listen(128)
        self.templates: dict[tuple[str, ...], _Template] = {}
        self.left_out: dict[str, str] = {}

    def run(self) -> NoReturn:
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        poll.register(self.lifeline, select.POLLIN)
        print(json.dumps({"ready": True}), flush=True)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)  # whoever started the server reads to the end of its output
        while True:
            for number, _ in poll.poll():
                if number == self.lifeline:
                    os._exit(0)
                self._take(self.listener.accept()[0])

    def _take(self, client: socket.socket) -> None:
        with client:
            client.settimeout(_PATIENCE)
            try:
                line = _read_line(client)
            except OSError:
                return
            if not line:
                return
            client.settimeout(None)
            wanted = tuple(json.loads(line)["preload"])
            for _ in range(2):  # a template may have been killed
                try:
                    template = self._template(wanted, client)
                    socket.send_fds(template.control, [_LENGTH.pack(len(line))], [client.fileno()])
                    template.control.sendall(line)
                    return
                except (OSError, EOFError, ValueError):
                    self._forget(wanted)

    def _forget(self, wanted: tuple[str, ...]) -> None:
        if (template := self.templates.pop(wanted, None)) is not None:
            template.control.close()

    def _template(self, wanted: tuple[str, ...], client: socket.socket) -> _Template:
        """The process that has imported what a client wants, less what cannot be imported unnoticed."""
        while wanted not in self.templates:
            modules = [name for name in wanted if name not in self.left_out]
            control, pid = self._fork_template(modules, client)
            answer = self._answer_of(control, pid)
            if answer is None:  # it hangs, or has crashed: let flows import that themselves
                control.close()
                if not modules:
                    raise EOFError
                self.left_out |= dict.fromkeys(modules, "cannot be imported beforehand")
                continue
            if "misbehaved" in answer:
                control.close()
                self.left_out[answer["misbehaved"]] = answer["deed"]
                continue
            told = {name: deed for name, deed in self.left_out.items() if name in wanted}
            self.templates[wanted] = _Template(control, told)
        return self.templates[wanted]

    def _answer_of(self, control: socket.socket, pid: int) -> dict[str, Any] | None:
        """What a template says when it has imported its modules; None if it does not come to that."""
        poll = select.poll()
        poll.register(control, select.POLLIN)
        poll.register(self.lifeline, select.POLLIN)
        for number, _ in poll.poll(1000 * _IMPORTS):
            if number == self.lifeline:
                os.kill(pid, signal.SIGKILL)
                os._exit(0)
            with contextlib.suppress(EOFError, OSError):
                return dict(json.loads(_receive(control, _LENGTH.unpack(_receive(control, _LENGTH.size))[0])))
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        return None

    def _fork_template(self, modules: list[str], client: socket.socket) -> tuple[socket.socket, int]:
        here, there = socket.socketpair()
        pid = os.fork()
        if pid:
            there.close()
            return here, pid
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (here, client, self.listener, *(t.control for t in self.templates.values())):
                other.close()
            os.close(self.lifeline)
            _answer_as_template(self.app, self.folder, there, modules, self.left_out)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _answer_as_template(
    app: forked_kernel.ForkableApp,
    folder: str,
    control: socket.socket,
    modules: list[str],
    left_out: Mapping[str, str],
) -> NoReturn:
    def answer(**words: Any) -> None:
        data = json.dumps(words).encode()
        control.sendall(_LENGTH.pack(len(data)) + data)

    app.tell("before_preload")
    try:
        with app.shell.builtin_trap:  # as in a cell: modules ask `get_ipython` where they are
            forked_kernel.IMPORTED_ENVIRONMENT.update(preload(modules, left_out))
    except Misbehaved as error:
        answer(misbehaved=error.module, deed=error.deed)
        os._exit(0)
    app.tell("after_preload")
    answer(ready=True)
    _TemplateProcess(app, folder, control, dict(left_out)).run()


@dataclass
class _Child:
    """A kernel: its process, and the connection of its client once it has one."""

    pid: int
    pidfd: int
    connection: dict[str, Any]
    client: socket.socket | None = None
    unread: bytes = b""
    assign: socket.socket | None = None  # of a spare: where it waits for its client


@dataclass
class _TemplateProcess:
    """Forks kernels, passes signals on to them and tells how they ended."""

    app: forked_kernel.ForkableApp
    folder: str
    control: socket.socket
    left_out: dict[str, str]
    children: dict[int, _Child] = field(default_factory=dict)  # by every descriptor that belongs to one
    spare: _Child | None = None
    wants_spare: bool = False

    def run(self) -> NoReturn:
        self.poll = select.poll()
        self.poll.register(self.control, select.POLLIN)
        while True:
            ready = self.poll.poll(0 if self.wants_spare else None)
            if not ready:
                self.spare, self.wants_spare = self._fork(is_spare=True), False
            for number, _ in ready:
                if number == self.control.fileno():
                    self._take_request()
                elif number in self.children:
                    self._look_at(self.children[number], number)

    def _take_request(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, _LENGTH.size, 1)
            if not data or not descriptors:
                raise EOFError
            line = _receive(self.control, _LENGTH.unpack(data)[0])
        except (OSError, EOFError):  # the server has gone
            for each in self.children.values():
                _kill_all(each.pid)
            os._exit(0)
        request = json.loads(line)
        client = socket.socket(fileno=descriptors[0])
        client.set_inheritable(False)
        child = self.spare or self._fork(descriptors)
        if child is None or child.assign is None:
            client.close()
            return
        self.spare, self.wants_spare = None, request["spare"]
        child.client = client
        raw = os.path.join(self.folder, f"k{child.pid}.raw")
        say(client, pid=child.pid, raw=raw, connection=child.connection, left_out=self.left_out)
        self.children[client.fileno()] = child
        self.poll.register(client, select.POLLIN)
        with contextlib.suppress(OSError), child.assign as assign:
            socket.send_fds(assign, [_LENGTH.pack(len(line))], [client.fileno()])
            assign.sendall(line)
        child.assign = None

    def _fork(self, descriptors: Sequence[int] = (), *, is_spare: bool = False) -> _Child | None:
        """A kernel that waits for its request, and has told how to connect to it; None if it died at once.

        Args:
            descriptors: Not for the kernel, which must not hold open what ends when it ends.
            is_spare: Whether nobody waits for it yet.
        """
        try:
            here, there = socket.socketpair()
            pid = os.fork()
        except OSError:  # too many processes, or descriptors: those that run shall go on
            return None
        if not pid:
            here.close()
            for descriptor in descriptors:
                os.close(descriptor)
            self._be_kernel(there, is_spare)
        there.close()
        here.settimeout(_PATIENCE)
        try:
            length = _LENGTH.unpack(_receive(here, _LENGTH.size))[0]
            child = _Child(pid, os.pidfd_open(pid), json.loads(_receive(here, length)), assign=here)
        except (OSError, EOFError):
            here.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        here.settimeout(None)
        self.children[child.pidfd] = child
        self.poll.register(child.pidfd, select.POLLIN)
        return child

    def _be_kernel(self, assigned: socket.socket, is_spare: bool) -> NoReturn:
        try:
            _share_fate_of(self.template_pid)
            self._close_all()  # what belongs to the template and to other kernels
            connection = json.dumps(forked_kernel.become_kernel(self.app, self.folder)).encode()
            assigned.sendall(_LENGTH.pack(len(connection)) + connection)
            if is_spare:
                forked_kernel.rehearse(self.app)
            data, descriptors, _, _ = socket.recv_fds(assigned, _LENGTH.size, 1)
            if not data:
                os._exit(0)
            request = json.loads(_receive(assigned, _LENGTH.unpack(data)[0]))
            assigned.close()
            client = socket.socket(fileno=descriptors[0])
            client.set_inheritable(False)
            os.register_at_fork(after_in_child=client.close)  # else the flow's processes hold it open
        except BaseException:  # no flow has begun, so there is nothing to be ended in good order
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        code = 1
        try:
            forked_kernel.run_flow(self.app, request)
            say(client, last_words=forked_kernel.last_words(request))
            code = 0
        except SystemExit as exit_:
            code = 0 if exit_.code is None else exit_.code if isinstance(exit_.code, int) else 1
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            forked_kernel.leave(code, partial(say, client, done=True))

    def __post_init__(self) -> None:
        self.template_pid = os.getpid()

    def _close_all(self) -> None:
        self.control.close()
        for child in self.children.values():
            for thing in (child.client, child.assign):
                if thing is not None:
                    thing.close()
            with contextlib.suppress(OSError):
                os.close(child.pidfd)

    def _look_at(self, child: _Child, number: int) -> None:
        if number == child.pidfd or child.client is None:
            self._bury(child)
            return
        try:
            heard = child.client.recv(_SENTENCE)
        except OSError:
            heard = b""
        if not heard:
            self._drop_client(child)
            _kill_all(child.pid)
            return
        *lines, child.unread = (child.unread + heard).split(b"\n")
        for wanted in (json.loads(line)["signal"] for line in lines):
            if wanted == signal.SIGKILL:
                _kill_all(child.pid)
            else:
                _kill_group(child.pid, wanted)

    def _drop_client(self, child: _Child) -> None:
        if child.client is not None:
            self.poll.unregister(child.client)
            del self.children[child.client.fileno()]
            child.client.close()
            child.client = None

    def _bury(self, child: _Child) -> None:
        """A kernel is gone: say how, and let nothing of its process group survive it."""
        self.poll.unregister(child.pidfd)
        del self.children[child.pidfd]
        _kill_group(child.pid)  # before its number is free for others
        _, status = os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        if child is self.spare:
            self.spare = None
        if child.assign is not None:
            child.assign.close()
        if child.client is not None:
            say(child.client, exit=status)
        self._drop_client(child)


def serve(app: forked_kernel.ForkableApp, folder: str, lifeline: int) -> NoReturn:
    """Answer requests until the life line is cut.

    Args:
        app: The application that becomes kernels.
        folder: Where sockets are; private to the user.
        lifeline: A descriptor that ends when whoever started the server is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # templates that were killed leave nothing behind
    _Server(app, folder, lifeline).run()
