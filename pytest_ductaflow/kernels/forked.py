"""Request kernels from a fork server and control them; Linux only."""

from __future__ import annotations

import contextlib
import datetime
import hmac
import json
import os
import signal
import socket
import struct
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.session import Session

from ..core.errors import KernelStartError, ServerStuck
from ..core.system.child_process import umask
from .base import ARGUMENTS, GROUP_KILL, LOOK, Kernel, Spec, last_printed
from .observation import ask_for_report, can_observe, connect, ignored_folders
from .observer.process import REGISTER
from .preloading.stages import stages_of
from .server_pool import environment_of_imports, is_any_stopped, servers
from .setup_calls import FINAL_CALLS, Setup

_LAUNCHER = os.path.join(sysconfig.get_path("purelib"), "ipykernel_launcher.py")
_START = 60.0  # seconds for a server or a kernel to answer


class _Session(Session):  # type: ignore[misc]
    """A session that reads messages of ipykernel 7's protocol fast.

    jupyter_client's own parses all that looks like a date, in each part, which takes longer than all the
    rest. This one parses only the date that nbclient records: when the message was created.
    """

    def deserialize(self, msg_list: list[Any], *_: bool, **__: bool) -> dict[str, Any]:
        signature, *signed = msg_list[:5]
        if not hmac.compare_digest(signature, self.sign(signed)):
            raise ValueError("its signature is wrong")
        header, parent_header, metadata, body = parts = [self.unpack(part) for part in signed]
        if not all(isinstance(part, dict) for part in parts):
            raise ValueError("its parts are not objects")
        with contextlib.suppress(KeyError, TypeError, ValueError):  # then nbclient records its own time
            header["date"] = datetime.datetime.fromisoformat(header["date"])
        return {
            "header": header,
            "msg_id": header["msg_id"],
            "msg_type": header["msg_type"],
            "parent_header": parent_header,
            "metadata": metadata,
            "content": body,
            "buffers": [memoryview(part) for part in msg_list[5:]],
        }


class ForkedKernel(Kernel):
    """A kernel that a server has forked.

    Args:
        server: The socket of the server.
        preload: The modules to import before the fork.
        cwd: Its working directory.
        env: Its whole environment.
        spare: Whether the server should have the next one ready; for machines with an idle core.
        setup: The setup that runs before the first cell. None for a client that is not ours: no setup
            runs, and the kernel has all channels of an ordinary one instead of the two or three that we use.

    Raises:
        KernelStartError: If the server does not answer as it should.
    """

    is_forked = True

    def __init__(
        self,
        server: str,
        *,
        preload: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        argv: Sequence[str] = (),
        spare: bool = False,
        setup: Setup | None = None,
    ) -> None:
        self.client = BlockingKernelClient(session=_Session())
        self.has_setup = setup is not None
        self._server, self._setup = server, setup
        self._is_observed = setup is not None and setup.observe == "all" and can_observe()
        self._observer: socket.socket | None = None
        self._has_lost_observer = False
        self.pid: int | None = None
        self.left_out: dict[str, str] = {}
        self._status: int | None = None
        self._done = False
        self._unread = b""
        self._connection = socket.socket(socket.AF_UNIX)
        request = {
            "preload": stages_of(preload),
            "env_of_imports": environment_of_imports(env),
            "cwd": cwd,
            "env": {**env, "JPY_PARENT_PID": str(os.getpid())},
            "argv": list(argv) or [_LAUNCHER, "-f", os.path.join(cwd, "kernel.json"), *ARGUMENTS],
            "umask": umask(),
            "spare": spare,
            **self._calls(),
        }
        try:
            self._connection.connect(server)
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            self._wait_until_connected()
        except (OSError, ValueError, KeyError) as error:
            self._connection.close()
            kind = ServerStuck if isinstance(error, TimeoutError) else KernelStartError
            raise kind(f"the server of kernels does not answer: {error}") from error

    def _calls(self) -> dict[str, Any]:
        """Return the part of the request on what the kernel runs besides cells, and on its observer."""
        setup = self._setup
        if setup is None:
            return {"all_channels": True, "stdin": False, "first": [], "last": [], "observe": None}
        observe = {
            "socket": os.path.join(os.path.dirname(self._server), REGISTER),
            "key": str(setup.report),
            "ignored": ignored_folders(),
            "calls": setup.calls_if_observed,
        }
        return {
            "all_channels": False,
            "stdin": setup.has_terminal,
            "first": setup.calls,
            "last": FINAL_CALLS,
            "observe": observe if self._is_observed else None,
        }

    def _wait_until_connected(self) -> None:
        look, end = time.monotonic() + LOOK, time.monotonic() + _START
        while self.pid is None:
            if self.has_lost_server:
                raise OSError("it ended")
            if time.monotonic() > end:
                raise TimeoutError(f"nothing for {_START:g} s")
            if time.monotonic() > look and self._server_is_frozen():
                raise TimeoutError("its process is stopped")
            self._wait_for_news(min(LOOK, end - time.monotonic()))

    def _server_is_frozen(self) -> bool:
        """Return whether the server is stopped (SIGSTOP) and so would never answer."""
        with contextlib.suppress(OSError):
            return is_any_stopped(self._pid_of_server())
        return False

    def _pid_of_server(self) -> int:
        peer = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", peer)[0])

    def helpers(self) -> dict[int, str]:
        found = {}
        if self._is_observed and (observer := _parent(self._pid_of_server())):
            found[observer] = "observes kernels"
        if self.pid is not None and (template := _parent(self.pid)):
            found[template] = "forks kernels"
        return found

    @property
    def lost(self) -> str:  # type: ignore[override]
        if self.has_lost_server and self._status is None:
            return "forks and observes kernels"
        return "observes kernels" if self._has_lost_observer else ""

    def fileno(self) -> int:
        return self._connection.fileno()

    def look(self) -> None:
        try:
            heard = self._connection.recv(65_536)
        except OSError:
            heard = b""
        if not heard:
            self.has_lost_server = (
                True  # the server is gone; the system kills the kernel, but not its children
            )
            if self.pid is not None and self._status is None:
                with contextlib.suppress(OSError):
                    os.killpg(self.pid, signal.SIGKILL)
            return
        *lines, self._unread = (self._unread + heard).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):  # an incomplete line of a kernel that died
                self._hear(json.loads(line))

    def _hear(self, words: dict[str, Any]) -> None:
        if self.pid is None and "error" in words:
            raise OSError(words["error"])
        if "pid" in words:
            self.pid, self.left_out = words["pid"], words["left_out"]
            self._raw = Path(words["raw"])
            self.connection: dict[str, Any] = words["connection"]
            self.language_info = self.connection.pop("language_info")
            self.client.load_connection_info(self.connection)
        self.final_report = words.get("final_report", self.final_report)
        self._done = self._done or "done" in words
        self._status = words.get("exit", self._status)
        self.peak_memory = words.get("peak_memory", self.peak_memory)

    @property
    def has_ended(self) -> bool:
        return self._done or self.has_lost_server or self._status is not None

    @property
    def exit_code(self) -> int | None:
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def signal(self, number: int) -> None:
        """Send a signal to the kernel's process group."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps({"signal": number}).encode() + b"\n")

    def shut_down(self) -> None:
        if self._is_observed:  # while the kernel still runs, off the critical path
            self._observer = connect(self._server)
        request = self.client.session.msg("shutdown_request", {"restart": False})
        self.client.shell_channel.send(request)

    def close_channels(self) -> None:
        for channel in (self.client.iopub_channel, self.client.shell_channel):
            channel.close()

    def interrupt(self) -> None:
        self.signal(signal.SIGINT)

    def group(self) -> int | None:
        return self.pid

    def hold(self) -> None:
        """Do nothing: a forked kernel waits for its reader by itself."""

    def go_on(self) -> None:
        """Do nothing, like `hold`."""

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self.wait_for_exit_code(GROUP_KILL) is None and self.pid is not None:  # no template passes it on
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self._connection.close()
        if self._observer is not None:
            self._observer.close()
        ports = (number for name, number in self.connection.items() if name.endswith("_port"))
        sockets = [f"{self.connection['ip']}-{number}" for number in ports]
        for path in (str(self._raw), *sockets):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def observation(self) -> dict[str, Any] | None:
        if self._setup is None or not self._is_observed:
            return None
        observer, self._observer = self._observer or connect(self._server), None
        if observer is not None:
            with contextlib.suppress(OSError):
                return ask_for_report(observer, str(self._setup.report))
        self._has_lost_observer = True
        return None

    def printed(self) -> str:
        with contextlib.suppress(OSError):
            return last_printed(self._raw)
        return ""


def _parent(pid: int) -> int | None:
    import psutil

    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).ppid())
    return None


def can_fork(spec: Spec) -> bool:
    """Return whether the server can fork the kernels of a kernelspec: ipykernel of this interpreter."""
    command = [part for part in spec.argv if part != "-Xfrozen_modules=off"]
    own = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
    is_own = command[1:] == own and _is_this_interpreter(command[0])
    return servers.are_wanted and is_own and not spec.env and not spec.metadata.get("kernel_provisioner")


def _is_this_interpreter(executable: str) -> bool:
    # As in jupyter_client, a bare name means the interpreter of the current process.
    major, minor = sys.version_info[:2]
    return executable in ("python", f"python{major}", f"python{major}.{minor}", sys.executable)
