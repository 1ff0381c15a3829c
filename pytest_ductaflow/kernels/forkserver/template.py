"""Run a template: a process with a flow's imports that forks kernels and reports to clients how they end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import psutil

from ...core.forking.freshness import Imports
from ...core.system.orphans import adopt_orphans, children, end_orphans, share_fate_of
from . import kernel_app
from .importing import ImportSideEffect, preload
from .protocol import LENGTH, PATIENCE, READ_SIZE, BadRequest, check_signal, receive, send_line
from .shutdown import leave

_END = 3.0  # seconds for a template to end


def _kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def _kill_all(pid: int) -> None:
    """Kill a process, its group, and its descendants that have left the group."""
    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(pid).children(recursive=True)
    _kill_group(pid)
    for process in below:
        with contextlib.suppress(psutil.Error):
            process.kill()


def prepare_for_imports(app: kernel_app.ForkableApp) -> None:
    """Do once what comes before all imports of flows, in a template that no other one has forked."""
    app.make_streams()
    app.shell.init_environment()
    app.tell("before_preload")


def answer_as_template(
    app: kernel_app.ForkableApp,
    folder: str,
    control: socket.socket,
    modules: list[str],
    left_out: Mapping[str, str],
    imports: Imports | None,
    *,
    wants_spare: bool,
) -> NoReturn:
    """Import modules, tell the server, and fork kernels and further templates until the server ends.

    Args:
        app: The application that becomes kernels.
        folder: The folder for sockets.
        control: The socket for the server's requests.
        modules: What to import, in this order.
        left_out: Modules that are not to be imported, and why.
        imports: Notes what is imported, if anybody wants to know.
        wants_spare: Whether to fork a kernel at once.
    """

    def answer(**words: Any) -> None:
        data = json.dumps(words).encode()
        control.sendall(LENGTH.pack(len(data)) + data)

    answer(pid=os.getpid())
    if imports is not None:
        imports.watches = True
    try:
        # As in a cell: modules call `get_ipython` to detect a notebook, or keep what shows results.
        with app.shell.builtin_trap, app.shell.display_trap:
            kernel_app.IMPORTED_ENVIRONMENT.update(preload(modules, left_out))
    except ImportSideEffect as error:
        answer(misbehaved=error.module, deed=error.description)
        os._exit(0)
    app.tell("after_preload")
    if imports is not None:
        imports.write(folder)
        imports.watches = False  # what kernels open is their flows'
    answer(ready=True)
    _Template(app, folder, control, dict(left_out), imports, wants_spare=wants_spare).run()


@dataclass
class _Child:
    """A kernel's process, and the connection of its client once it has one."""

    pid: int
    pidfd: int
    connection: dict[str, Any]
    client: socket.socket | None = None
    unread: bytes = b""
    assign: socket.socket | None = None  # where it waits for its request, until it has one


@dataclass
class _Template:
    """A process that forks kernels, passes signals on to them and reports how they ended."""

    app: kernel_app.ForkableApp
    folder: str
    control: socket.socket
    left_out: dict[str, str]
    imports: Imports | None
    children: dict[int, _Child] = field(default_factory=dict)  # by each of their descriptors
    further: dict[int, int] = field(default_factory=dict)  # templates forked here: pids by their pidfds
    spare: _Child | None = None
    wants_spare: bool = False
    is_retired: bool = False

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
                elif number in self.further:
                    self._reap_template(number)

    def _take_request(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, LENGTH.size, 1)
            if data and LENGTH.unpack(data)[0] == 0:
                self._retire()
                return
            if not data or not descriptors:
                raise EOFError
            line = receive(self.control, LENGTH.unpack(data)[0])
        except (OSError, EOFError):  # the server has gone
            self._end()
        request = json.loads(line)
        if "template" in request:
            self._fork_template(request, descriptors[0])
            return
        client = socket.socket(fileno=descriptors[0])
        client.set_inheritable(False)
        child = self.spare or self._fork(descriptors)
        if child is None or child.assign is None:
            client.close()
            return
        self.spare, self.wants_spare = None, request["spare"]
        child.client = client
        raw = os.path.join(self.folder, f"k{child.pid}.raw")
        send_line(client, pid=child.pid, raw=raw, connection=child.connection, left_out=self.left_out)
        self.children[client.fileno()] = child
        self.poll.register(client, select.POLLIN)
        with contextlib.suppress(OSError), child.assign as assign:
            socket.send_fds(assign, [LENGTH.pack(len(line))], [client.fileno()])
            assign.sendall(line)
        child.assign = None

    def _end(self) -> NoReturn:
        """End all kernels and what these have started; further templates do the same themselves."""
        for each in self.children.values():
            _kill_all(each.pid)
        end_orphans(self.strangers.union(self.further.values()))
        for pidfd, pid in self.further.items():
            if not select.select([pidfd], (), (), _END)[0]:
                _kill_all(pid)
        os._exit(0)

    def _fork_template(self, request: Mapping[str, Any], descriptor: int) -> None:
        """Fork a template that goes on with further imports, and takes requests through a descriptor."""
        try:
            pid = os.fork()
        except OSError:  # too many processes: the server notices that nothing answers
            os.close(descriptor)
            return
        if pid:
            os.close(descriptor)
            pidfd = os.pidfd_open(pid)
            self.further[pidfd] = pid
            self.poll.register(pidfd, select.POLLIN)
            return
        try:
            self._close_all()
            control = socket.socket(fileno=descriptor)
            control.set_inheritable(False)
            answer_as_template(
                self.app,
                self.folder,
                control,
                request["template"],
                request["left_out"],
                self.imports,
                wants_spare=request["spare"],
            )
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(1)

    def _reap_template(self, pidfd: int) -> None:
        self.poll.unregister(pidfd)
        os.waitpid(self.further.pop(pidfd), 0)
        os.close(pidfd)
        self._leave_if_unused()

    def _fork(self, descriptors: Sequence[int] = (), *, is_spare: bool = False) -> _Child | None:
        """Fork a kernel that waits for its request, and read its connection info; None if it failed.

        Args:
            descriptors: Descriptors to close in the kernel, which must not hold open what ends with it.
            is_spare: Whether no client waits for it yet.
        """
        try:
            here, there = socket.socketpair()
            pid = os.fork()
        except OSError:  # too many processes or descriptors: running kernels continue
            return None
        if not pid:
            here.close()
            for descriptor in descriptors:
                os.close(descriptor)
            self._be_kernel(there, is_spare)
        there.close()
        here.settimeout(PATIENCE)
        try:
            length = LENGTH.unpack(receive(here, LENGTH.size))[0]
            child = _Child(pid, os.pidfd_open(pid), json.loads(receive(here, length)), assign=here)
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
            share_fate_of(self.template_pid)
            adopt_orphans()  # descendants stay below this process when their parents end
            self._close_all()  # what belongs to the template and to other kernels
            connection = json.dumps(kernel_app.become_kernel(self.app, self.folder)).encode()
            assigned.sendall(LENGTH.pack(len(connection)) + connection)
            if is_spare:
                kernel_app.rehearse(self.app)
            self.app.kernel.start()
            data, descriptors, _, _ = socket.recv_fds(assigned, LENGTH.size, 1)
            if not data:
                os._exit(0)
            request = json.loads(receive(assigned, LENGTH.unpack(data)[0]))
            assigned.close()
            client = socket.socket(fileno=descriptors[0])
            client.set_inheritable(False)
            os.register_at_fork(after_in_child=client.close)  # else the flow's processes hold it open
        except BaseException:  # no flow has begun, so nothing needs an orderly shutdown
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        code = 1
        try:
            kernel_app.run_flow(self.app, request)
            send_line(client, final_report=kernel_app.final_report(request))
            code = 0
        except SystemExit as exit_:
            code = 0 if exit_.code is None else exit_.code if isinstance(exit_.code, int) else 1
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            leave(code, self.app.flush_streams, partial(send_line, client, done=True))

    def __post_init__(self) -> None:
        self.template_pid = os.getpid()
        self.strangers = children()  # children that imports have started
        adopt_orphans()  # of kernels that die; running kernels adopt their own

    def _close_all(self) -> None:
        self.control.close()
        for child in self.children.values():
            for thing in (child.client, child.assign):
                if thing is not None:
                    thing.close()
            with contextlib.suppress(OSError):
                os.close(child.pidfd)
        for pidfd in self.further:
            os.close(pidfd)

    def _look_at(self, child: _Child, number: int) -> None:
        if number == child.pidfd or child.client is None:
            self._reap(child)
            return
        try:
            heard = child.client.recv(READ_SIZE)
        except OSError:
            heard = b""
        if not heard:
            self._drop_client(child)
            _kill_all(child.pid)
            return
        *lines, child.unread = (child.unread + heard).split(b"\n")
        if len(child.unread) > READ_SIZE:  # no signal has such a long line
            lines, child.unread = [*lines, child.unread], b""
        for line in lines:
            try:
                wanted = check_signal(line)
            except BadRequest as error:
                send_line(child.client, error=str(error))
                continue
            if wanted == signal.SIGKILL:
                _kill_all(child.pid)
            else:
                _kill_group(child.pid, wanted)

    def _retire(self) -> None:
        """Expect no more requests: kill the spare kernel, and end once no kernel runs."""
        self.is_retired = True
        if self.spare is not None:
            _kill_all(self.spare.pid)
        self._leave_if_unused()

    def _leave_if_unused(self) -> None:
        if self.is_retired and not self.children and not self.further:
            os._exit(0)

    def _drop_client(self, child: _Child) -> None:
        if child.client is not None:
            self.poll.unregister(child.client)
            del self.children[child.client.fileno()]
            child.client.close()
            child.client = None

    def _reap(self, child: _Child) -> None:
        """Reap a kernel, kill all that its flow has left running, and report how it ended."""
        self.poll.unregister(child.pidfd)
        del self.children[child.pidfd]
        _kill_group(child.pid)  # before its pid can be reused
        _, status, used = os.wait4(child.pid, 0)
        kernels = {each.pid for each in self.children.values()}
        end_orphans(self.strangers | kernels | {*self.further.values()})
        os.close(child.pidfd)
        if child is self.spare:
            self.spare = None
        if child.assign is not None:
            child.assign.close()
        if child.client is not None:
            send_line(child.client, exit=status, peak_memory=used.ru_maxrss * 1024)
        self._drop_client(child)
        self._leave_if_unused()
