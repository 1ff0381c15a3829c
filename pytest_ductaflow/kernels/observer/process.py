"""Run the observer's process: start a command, and record the calls of what is observed below it.

`kernels.observation.observed_command` makes the command line; its last argument is JSON:

    command   what to start
    folder    for the sockets `REGISTER`, for kernels, and `ASK`, for clients; null if the command itself is
              observed
    report    a file for the report on the command, if it is observed itself; once it has ended, `end_file`
              exists in any case and holds its peak memory in bytes
    ignored   prefixes of paths that are not recorded in that report

A kernel registers with one datagram, {"observe": key, "ignored": [prefixes]}, together with the listener of
its filter. It needs no reply: its first observed call waits until it is registered.

A client sends a line, {"report": key}, and receives one, {"problem": null}, together with the descriptor of
a file that holds the notes, or the reason why there are none.

The process ends as the command did, once nothing is observed any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from ...core.system.orphans import adopt_orphans, end_orphans, share_fate_of
from .seccomp import install, let_go_on, prefer_same_core, receive

if TYPE_CHECKING:
    import select
    import socket
    from collections.abc import Sequence

    from .access_log import Notes

REGISTER, ASK = "observed", "observer"  # names of sockets
OBSERVED = "_DUCTAFLOW_OBSERVED"  # set in the environment of an observed ordinary kernel
_LONGEST_LINE = 65_536


def main() -> NoReturn:
    config: dict[str, Any] = json.loads(sys.argv[-1])
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the command
    if config["folder"] is None:
        child, observer = _start_observed(config)
    else:
        child = _start(config["command"])
        observer = _listening(config["folder"])
    observer.run(child, parent)


def _start(command: list[str]) -> int:
    """Start a command that ends when this process does."""
    me = os.getpid()
    child = os.fork()
    if not child:
        share_fate_of(me)
        _execute(command, os.environ)
    return child


def _execute(command: list[str], environment: Any) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - as it is given
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _start_observed(config: dict[str, Any]) -> tuple[int, Observer]:
    """Start a command that is observed from its first call on, if the system allows it."""
    import socket

    adopt_orphans()
    me, (here, there) = os.getpid(), socket.socketpair(type=socket.SOCK_DGRAM)
    child = os.fork()
    if not child:
        here.close()
        os.setsid()  # a kernel leads a session of its own
        share_fate_of(me)
        # A kernel ends when its parent is not the one given here.
        environment = {**os.environ, "JPY_PARENT_PID": str(me)}
        environment.pop(OBSERVED, None)
        with contextlib.suppress(OSError):  # it runs unobserved, as its record will show
            listener = install()
            socket.send_fds(there, [registration("", config["ignored"])], [listener])
            os.close(listener)
            environment[OBSERVED] = "1"
        there.close()
        _execute(config["command"], environment)
    there.close()
    signal.signal(signal.SIGINT, lambda number, _: _signal_group(child, number))
    return child, Observer(here, None, config["report"])


def _listening(folder: str) -> Observer:
    import socket

    kernels = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    kernels.bind(os.path.join(folder, REGISTER))
    clients = socket.socket(socket.AF_UNIX)
    clients.bind(os.path.join(folder, ASK))
    clients.listen(128)
    return Observer(kernels, clients)


def registration(key: str, ignored: Sequence[str]) -> bytes:
    """Return the datagram with which a kernel registers, together with the listener of its filter."""
    return json.dumps({"observe": key, "ignored": list(ignored)}).encode()


class Observer:
    """An event loop that records observed calls, registers kernels, and sends reports.

    Args:
        kernels: The socket on which kernels register.
        clients: The socket that accepts clients that request reports; None if there are none.
        report: The file for the report on a command that is observed as a whole.
    """

    def __init__(
        self, kernels: socket.socket, clients: socket.socket | None, report: str | None = None
    ) -> None:
        import select

        self._poll: select.poll = select.poll()
        self._kernels, self._clients = kernels, clients
        self._report = report
        self._connections: dict[int, socket.socket] = {}
        self._notes_of: dict[int, Notes] = {}  # by the listener of a kernel's filter
        self._notes: dict[str, Notes] = {}  # by key
        self._end = self._parents_end = -1
        self._status: int | None = None
        self._was_kept = False
        for each in (kernels, clients):
            if each is not None:
                self._watch(each.fileno())

    def _watch(self, descriptor: int) -> None:
        import select

        self._poll.register(descriptor, select.POLLIN)

    def run(self, child: int, parent: int) -> NoReturn:
        """Handle events until the command has ended, and then end as it did.

        Args:
            child: The command's process.
            parent: The process that has started this one; the command does not outlive it.
        """
        self._end = os.pidfd_open(child)
        self._watch(self._end)
        if self._report is not None:  # a server itself detects that its client is gone
            self._parents_end = os.pidfd_open(parent)
            self._watch(self._parents_end)
        while self._status is None or not self._is_done():
            for number, event in self._poll.poll():
                if number == self._end:
                    self._poll.unregister(number)
                    self._status = self._end_of(child)
                else:
                    self._take(number, event)
        _end_as(self._status)

    def _take(self, number: int, event: int) -> None:
        """Handle an event of a descriptor."""
        if number in self._notes_of:
            self._answer(number, event)
        elif number == self._kernels.fileno():
            self._register()
        elif number in self._connections:
            self._take_question(number)
        elif number == self._parents_end:
            self._poll.unregister(number)
            if not self._is_kept():
                end_orphans()  # the command as well
                os._exit(1)
        elif self._clients is not None:
            connection = self._clients.accept()[0]
            self._connections[connection.fileno()] = connection
            self._watch(connection.fileno())

    def _end_of(self, child: int) -> int:
        """Reap the command, kill all that a kernel has left running, and return the exit code."""
        if self._report is None:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        _signal_group(child, signal.SIGKILL)  # before its pid can be reused
        _, status, used = os.wait4(child, 0)
        end_orphans()
        if self._is_kept():  # it has not removed its folder, if it was killed
            import shutil

            shutil.rmtree(os.path.dirname(self._report), ignore_errors=True)
        with contextlib.suppress(OSError), open(end_file(self._report), "w", encoding="ascii") as file:
            file.write(str(used.ru_maxrss * 1024))
        return os.waitstatus_to_exitcode(status)

    def _is_kept(self) -> bool:
        """Return whether the command is to outlive its parent, or was when that ended."""
        if self._report is not None and os.path.exists(kept_file(self._report)):
            self._was_kept = True
        return self._was_kept

    def _is_done(self) -> bool:
        """Return whether nothing is observed any more; write the report if it goes to a file."""
        if self._report is not None:
            if "" in self._notes:
                # Its folder has gone with a kernel that was kept.
                with contextlib.suppress(FileNotFoundError), open(self._report, "wb") as file:
                    file.write(_report(self._notes[""]))
            return True
        return not self._notes_of

    def _answer(self, listener: int, event: int) -> None:
        if event & ~1:  # POLLHUP: its last process has ended
            self._poll.unregister(listener)
            del self._notes_of[listener]
            os.close(listener)
            return
        notification = receive(listener)
        if notification is None:
            return
        notes = self._notes_of[listener]
        try:
            notes.take(notification)
        except Exception as error:  # all calls of all kernels would fail without this process
            notes.unseen[f"a file that is used ({type(error).__name__}: {error})"] = None
        finally:
            let_go_on(listener, notification)

    def _register(self) -> None:
        """Read a kernel's datagram, and observe the kernel from now on."""
        import socket

        from .access_log import Notes

        data, descriptors, _, _ = socket.recv_fds(self._kernels, _LONGEST_LINE, 1)
        try:
            request = json.loads(data)
            key, notes, (listener,) = request["observe"], Notes(tuple(request["ignored"])), descriptors
        except (ValueError, KeyError, TypeError):  # not a datagram of ours
            for descriptor in descriptors:
                os.close(descriptor)
            return
        prefer_same_core(listener)
        self._notes[key] = self._notes_of[listener] = notes
        self._watch(listener)

    def _take_question(self, number: int) -> None:
        connection = self._connections.pop(number)
        self._poll.unregister(number)
        with connection, contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            self._send_report(json.loads(connection.recv(_LONGEST_LINE))["report"], connection)

    def _send_report(self, key: str, connection: socket.socket) -> None:
        """Send the notes on a kernel as a file in memory: a client that does not read blocks nothing."""
        import socket

        notes = self._notes.pop(key, None)
        if notes is None:
            connection.sendall(_answer("it is not observed"))
            return
        with open(os.memfd_create("report"), "wb") as file:
            file.write(_report(notes))
            file.flush()
            socket.send_fds(connection, [_answer(None)], [file.fileno()])


def kept_file(report: str) -> str:
    """Return the file that exists if a command that is observed itself is to outlive its parent."""
    return f"{report}.kept"


def end_file(report: str) -> str:
    """Return the file that exists once a command that is observed itself has ended."""
    return f"{report}.end"


def _report(notes: Notes) -> bytes:
    return json.dumps(notes.to_json(), ensure_ascii=False).encode("utf-8", "surrogateescape")


def _answer(problem: str | None) -> bytes:
    return json.dumps({"problem": problem}).encode() + b"\n"


def _signal_group(leader: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(leader, number)


def _end_as(status: int) -> NoReturn:
    """End with an exit code, or by a signal if the code is negative."""
    if status < 0:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has dumped its core, if enabled
        signal.signal(-status, signal.SIG_DFL) if -status not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -status)
    os._exit(max(status, 1) if status < 0 else status)
