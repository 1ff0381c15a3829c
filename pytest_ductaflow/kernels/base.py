"""Define the common interface of kernels, and look up installed kernelspecs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from ..core.errors import HelperFrozen
from ..core.system import interrupts
from ..core.system.child_process import is_stopped

if TYPE_CHECKING:
    import socket

ARGUMENTS = ["--HistoryManager.hist_file=:memory:"]  # no history: hundreds of kernels
_PRINTED = 1_000_000  # bytes read of what the process printed before and after it served as a kernel
GROUP_KILL = 5.0  # seconds for a killed process to be gone
LOOK = 3.0  # seconds without news after which we check that our helper processes run


Spec: TypeAlias = KernelSpec  # the kernelspec installed under a kernel's name


class Kernel(ABC):
    """A kernel and its process, however it was started.

    Attributes:
        client: Its client, not connected yet.
        speaks_python: Whether it is a Python kernel and takes our setup.
        has_setup: Whether the setup runs there by itself, and the final report is sent unasked.
        language_info: The kernel's `language_info`, if known without asking.
        final_report: The results of the calls in `FINAL_CALLS`, once received.
        peak_memory: Peak memory of its process in bytes, once it has ended and if known.
        lost: The role of the helper process whose loss ended the kernel; empty if none was lost.
    """

    client: BlockingKernelClient
    speaks_python = True
    has_setup = False
    language_info: dict[str, Any] | None = None
    final_report: list[Any] | None = None
    is_forked = False  # from a process that has imported packages
    has_lost_server = False  # whether the process that reports its end is gone
    peak_memory: int | None = None
    lost = ""
    is_held = False  # whether it is paused until its output is read
    is_kept = False  # whether it goes on running after `close`, and the end of this process
    _look_at: float | None = None  # when to check the helpers next
    _frozen: int | None = None  # the helper that was stopped at the last check

    @abstractmethod
    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to `look` at."""

    @abstractmethod
    def look(self) -> None:
        """Update the state from what has happened to the process."""

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """Whether no code of the flow runs any more."""

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """The exit code as in `subprocess`, negative for a signal; None while it runs or if unknown."""

    @abstractmethod
    def shut_down(self) -> None:
        """Ask the kernel to end regularly, as a program does."""

    @abstractmethod
    def interrupt(self) -> None:
        """Interrupt the kernel and the processes that it has started, as Ctrl-C does."""

    def group(self) -> int | None:
        """Return the process group that `interrupt` reaches, which the kernel leads; None if unknown."""
        return None

    def process(self) -> int | None:
        """Return the process in which the flow runs; None if unknown."""
        return self.group()

    @abstractmethod
    def kill(self) -> None:
        """Kill the kernel and all processes of its group."""

    @abstractmethod
    def hold(self) -> None:
        """Pause the kernel, where possible, because it is ahead of its reader."""

    @abstractmethod
    def go_on(self) -> None:
        """Resume the kernel after `hold`."""

    @abstractmethod
    def close_channels(self) -> None:
        """Close the channels of its client that are in use."""

    @abstractmethod
    def close(self) -> None:
        """Release its resources in this process; kill the kernel if it still runs."""

    def keep(self) -> str:
        """Let it go on running after `close`, and the end of this process; return its connection file.

        Raises:
            NotImplementedError: If it cannot.
        """
        raise NotImplementedError

    @abstractmethod
    def observation(self) -> dict[str, Any] | None:
        """Return the observer's report on an ended kernel; None if it was not observed."""

    @abstractmethod
    def printed(self) -> str:
        """Return what the process printed before and after it served as a kernel."""

    @abstractmethod
    def helpers(self) -> Mapping[int, str]:
        """Return the helper processes that the kernel depends on, and the role of each, by pid."""

    def look_at_helpers(self) -> None:
        """Check every few seconds whether a helper is stopped, as the kernel would then hang.

        Raises:
            HelperFrozen: If one is stopped at two checks in a row, so not only together with this process.
                It is killed, and with it all kernels that depend on it.
        """
        now = time.monotonic()
        self._look_at = self._look_at or now + LOOK
        if now < self._look_at:
            return
        self._look_at = now + LOOK
        helpers = self.helpers()
        frozen = next(filter(is_stopped, helpers), None)
        if frozen is not None and frozen == self._frozen:
            with contextlib.suppress(OSError):
                os.kill(frozen, signal.SIGKILL)
            what = f"{helpers[frozen]} (pid {frozen})"
            raise HelperFrozen(f"the helper process that {what} was stopped, by SIGSTOP say")
        self._frozen = frozen

    def wait(self, seconds: float) -> bool:
        """Wait until no code of the flow runs any more; return whether that is so in time.

        Raises:
            HelperFrozen: As in `look_at_helpers`.
        """
        end = time.monotonic() + seconds
        while not self.has_ended:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._wait_for_news(min(left, LOOK))
            self.look_at_helpers()
        return True

    def wait_for_exit_code(self, seconds: float) -> int | None:
        """Wait for the exit code and return it; None if it is not known in time."""
        end = time.monotonic() + seconds
        while self.exit_code is None and time.monotonic() < end and not self.has_lost_server:
            self._wait_for_news(end - time.monotonic())
        return self.exit_code

    def _wait_for_news(self, seconds: float) -> None:
        # The object and not its descriptor, which Windows would take for a process or event handle.
        if interrupts.wait([cast("socket.socket", self)], seconds):
            self.look()


def last_printed(path: Path) -> str:
    """Return the end of what a process printed into a file, which may be huge."""
    with open(path, "rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _PRINTED, 0))
        return file.read(_PRINTED).decode("utf-8", "replace")


def kernel_specs() -> list[str]:
    """Return the names of the installed kernels."""
    return sorted(KernelSpecManager().find_kernel_specs())


@lru_cache(maxsize=64)
def kernel_files(name: str, folder: str = "") -> tuple[str, ...]:
    """Return the files that decide which kernel a name means: its own, and those that would precede it.

    Args:
        name: The kernel's name.
        folder: The folder of its kernelspec, empty if there is none. The file of a kernelspec in this
            environment belongs to the interpreter and is left out.
    """
    places = [os.path.join(place, name, "kernel.json") for place in KernelSpecManager().kernel_dirs]
    own = os.path.join(folder, "kernel.json") if folder else ""
    earlier = list(takewhile(lambda place: place != own, places))
    is_ours = own.startswith(os.path.join(sys.prefix, "")) or not os.path.exists(own)
    return tuple(earlier if is_ours else [*earlier, own])


def kernel_spec(name: str) -> Spec | None:
    """Return the kernelspec installed under a name; None if there is none."""
    try:
        return KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        return None
