"""The process of a kernel, in whatever way it was started, and the kernels that are installed."""

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
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from ..core.child_process import is_stopped
from ..core.errors import HelperFrozen

if TYPE_CHECKING:
    import socket

ARGUMENTS = ["--HistoryManager.hist_file=:memory:"]  # hundreds of kernels, and nobody to ask what they ran
_PRINTED = 1_000_000  # bytes that are read of what the process printed when it was no kernel
GROUP_KILL = 5.0  # seconds until a killed process must be gone
LOOK = 3.0  # seconds of silence until it is looked whether our own processes run


Spec: TypeAlias = KernelSpec  # what is installed under the name of a kernel


class Kernel(ABC):
    """The process of a kernel, whichever way it was made.

    Attributes:
        client: Not connected yet.
        speaks_python: Whether it takes our setup.
        has_setup: Whether it has taken the setup already, and tells its last words without being asked.
        language_info: What the kernel would say of its language, if it is known without asking.
        last_words: The answers to `LAST_WORDS`, once they are told.
        peak_memory: Bytes that its process has used at most, once it has ended and if that is known.
        lost: What the helper process was for whose death ended the kernel; empty if none died.
    """

    client: BlockingKernelClient
    speaks_python = True
    has_setup = False
    language_info: dict[str, Any] | None = None
    last_words: list[Any] | None = None
    is_forked = False  # from a process that has imported packages
    is_cut_off = False  # whether nobody is there any more who could tell
    peak_memory: int | None = None
    lost = ""
    is_held = False  # whether it pauses until it is read
    _look_at: float | None = None  # when to look at the helpers
    _frozen: int | None = None  # the one that was stopped when that was done last

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
    def shut_down(self) -> None:
        """Ask it to end as a program does."""

    @abstractmethod
    def interrupt(self) -> None:
        """As Ctrl-C does, also for processes that it has started."""

    @abstractmethod
    def kill(self) -> None:
        """End it and all processes of its group."""

    @abstractmethod
    def hold(self) -> None:
        """Let it pause, where that is possible: it is ahead of its reader."""

    @abstractmethod
    def go_on(self) -> None:
        """Let it go on after `hold`."""

    @abstractmethod
    def close_channels(self) -> None:
        """Close those of its client that are in use."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds in this process; a kernel that runs is killed."""

    @abstractmethod
    def observation(self) -> dict[str, Any] | None:
        """Return what an observer has seen of it, once it has ended; None if it was not observed."""

    @abstractmethod
    def printed(self) -> str:
        """What the process printed before and after it was a kernel."""

    @abstractmethod
    def helpers(self) -> Mapping[int, str]:
        """Return the processes of ours without which it cannot go on, and what each does."""

    def look_at_helpers(self) -> None:
        """Look from time to time whether somebody has stopped a helper: it would never go on.

        Raises:
            HelperFrozen: If one was stopped at two looks, so that it was not only stopped together with this
                process. It is killed, and all kernels that depend on it.
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
        """Wait until nothing of the flow runs any more; False if it takes longer.

        Raises:
            HelperFrozen: As `look_at_helpers`.
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
        """The exit code, as soon as it is known; None if it is not in time."""
        end = time.monotonic() + seconds
        while self.exit_code is None and time.monotonic() < end and not self.is_cut_off:
            self._wait_for_news(end - time.monotonic())
        return self.exit_code

    def _wait_for_news(self, seconds: float) -> None:
        # Itself, and not its number, which Windows would take for that of a process or an event.
        if wait([cast("socket.socket", self)], max(seconds, 0.0)):
            self.look()


def last_printed(path: Path) -> str:
    """The end of what a process has printed into a file: it may have had no end."""
    with open(path, "rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _PRINTED, 0))
        return file.read(_PRINTED).decode("utf-8", "replace")


def kernel_specs() -> list[str]:
    """The names of the kernels that are installed."""
    return sorted(KernelSpecManager().find_kernel_specs())


@lru_cache(maxsize=64)
def kernel_files(name: str, folder: str = "") -> tuple[str, ...]:
    """Return the files that decide which kernel a name means: its own, and those that would come before it.

    Args:
        name: Of the kernel.
        folder: Where its kernelspec lies, empty if there is none. One of this environment goes with the
            interpreter and is left out.
    """
    places = [os.path.join(place, name, "kernel.json") for place in KernelSpecManager().kernel_dirs]
    own = os.path.join(folder, "kernel.json") if folder else ""
    earlier = list(takewhile(lambda place: place != own, places))
    is_ours = own.startswith(os.path.join(sys.prefix, "")) or not os.path.exists(own)
    return tuple(earlier if is_ours else [*earlier, own])


def kernel_spec(name: str) -> Spec | None:
    """What is installed under a name; None if nothing is."""
    try:
        return KernelSpecManager().get_kernel_spec(name)
    except NoSuchKernel:
        return None
