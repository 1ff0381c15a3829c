"""Run ordinary kernels, as their kernelspecs start them: of any language, on any system."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.manager import KernelManager

from ..core.errors import KernelStartError
from .base import ARGUMENTS, GROUP_KILL, Kernel, last_printed
from .observation import can_observe, end_file, kept_file, observed_command, read_report

_REPORT = 2.0  # seconds for an observer to write its report


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


class _Manager(KernelManager):  # type: ignore[misc]
    """A kernel manager that starts its kernel below an observer.

    Attributes:
        report: The file for the observer's report; None if nothing is observed.
    """

    report: Path | None = None

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        command: list[str] = super().format_kernel_cmd(extra_arguments)
        return command if self.report is None else observed_command(command, report=str(self.report))


class OrdinaryKernel(Kernel):
    """A kernel started from its kernelspec.

    Args:
        name: The name of the kernelspec.
        cwd: Its working directory.
        env: Its whole environment.
        folder: A private folder for its files.
        report: A file for an observer's report; None if nothing is to be observed.
    """

    def __init__(
        self, name: str, *, cwd: str, env: Mapping[str, str], folder: str, report: Path | None = None
    ) -> None:
        self.manager = manager = _Manager(kernel_name=name)
        self._report = manager.report = report if can_observe() else None
        self._end = None if self._report is None else Path(end_file(str(self._report)))
        self._below: list[psutil.Process] = []  # started by the flow, if no observer ends them
        if os.name == "posix":  # no ports, which others may see or take
            manager.transport = "ipc"
            manager.connection_file = os.path.join(folder, "k.json")
            manager.ip = os.path.join(folder, "k")
        spec = manager.kernel_spec
        self.speaks_python = spec.language == "python"
        # Kernels of other languages that are written in Python are based on ipykernel, too.
        self._ends_over_shell = manager.ipykernel or Path(spec.argv[0]).name.startswith("python")
        arguments = ARGUMENTS if manager.ipykernel else []
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
        # A waiting thread works on all systems; it closes the socket when the process ends.
        self._bell, self._ringing = socket.socketpair()
        threading.Thread(target=self._ring_at_end, args=(self._process,), daemon=True).start()

    def _ring_at_end(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(OSError), self._ringing:
            process.wait()

    def fileno(self) -> int:
        return self._bell.fileno()

    def helpers(self) -> dict[int, str]:
        return {} if self._report is None else {self._process.pid: "observes kernels"}

    @property
    def peak_memory(self) -> int | None:  # type: ignore[override]
        with contextlib.suppress(OSError, ValueError):
            return None if self._end is None else int(self._end.read_text(encoding="ascii"))
        return None

    @property
    def lost(self) -> str:  # type: ignore[override]
        is_lost = self._end is not None and self.has_ended and not self._end.exists()
        return "observes kernels" if is_lost else ""

    def look(self) -> None:
        self._process.poll()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def shut_down(self) -> None:
        self.go_on()
        if self._report is None:  # their parent will be gone, so they could not be found later
            self._below = self._started()
        # On the control channel another thread of ipykernel answers, which may wait forever for a third
        # thread that has stopped meanwhile.
        channel = self.client.shell_channel if self._ends_over_shell else self.client.control_channel
        channel.send(self.client.session.msg("shutdown_request", {"restart": False}))

    def close_channels(self) -> None:
        for channel in (self.client.iopub_channel, self.client.shell_channel, self.client.control_channel):
            channel.close()

    def interrupt(self) -> None:
        self.go_on()
        self.manager.interrupt_kernel()

    def group(self) -> int | None:
        with contextlib.suppress(psutil.Error, ValueError, OSError):
            return self._group if os.name == "posix" else None
        return None

    def process(self) -> int | None:
        return self.group() if os.name == "posix" else self._process.pid

    def hold(self) -> None:
        if os.name != "posix" or self.is_held:
            return
        with contextlib.suppress(psutil.Error, ValueError, OSError):
            os.killpg(self._group, signal.SIGSTOP)
            self.is_held = True

    def go_on(self) -> None:
        if self.is_held:
            with contextlib.suppress(OSError):  # it has ended
                os.killpg(self._group, signal.SIGCONT)
            self.is_held = False

    @cached_property
    def _group(self) -> int:
        """The process group of the kernel and its child processes, without its observer."""
        process = psutil.Process(self._process.pid)
        if self._report is not None:  # its first child: later ones are orphans of the kernel
            process = min(process.children(), key=psutil.Process.create_time)
        return int(process.pid)

    def _started(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return list(psutil.Process(self._process.pid).children(recursive=True))
        return []

    def kill(self) -> None:
        below = [*self._started(), *self._below]
        if self._report is not None:  # the observer then ends and writes its report
            _kill(below)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_REPORT)
        if os.name == "posix":
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)  # even if only others of its group are left
        elif self._process.poll() is None:
            self._process.kill()
        _kill(below)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GROUP_KILL)

    def keep(self) -> str:
        if self._report is not None:
            Path(kept_file(str(self._report))).touch()
        self.is_kept = True
        return str(self.manager.connection_file)

    def close(self) -> None:
        if not self.is_kept:
            self.kill()
            self.manager.cleanup_resources()
        self._bell.close()

    def observation(self) -> dict[str, Any] | None:
        return read_report(self._report) if self._report is not None else None

    def printed(self) -> str:
        return last_printed(self._raw)
