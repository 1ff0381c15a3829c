"""Open a debugger in a kernel where a cell has failed, and relay it to the terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbclient.exceptions import CellExecutionComplete

from ...core.masking.masker import Masker
from ...kernels.base import Kernel
from ...kernels.setup_calls import post_mortem_code
from .terminal import Terminal

if TYPE_CHECKING:
    from ..message_loop import MessageLoop

_ATTEMPTS = 5  # a kernel drops requests for a moment after an error: "aborted"
_MOMENT = 0.05  # seconds between two
_LEFT = "BdbQuit"  # the error with which the user has left a breakpoint
_OF_BUILDS = "FlowExecutionError"  # the error of a build in which a flow has failed
_GOOD_EXITS = ("", "0", "None")


def is_good_exit(reply: Mapping[str, Any]) -> bool:
    """Return whether a kernel's reply for a cell says that it has ended the flow early, without a failure."""
    return reply.get("ename") == "SystemExit" and reply.get("evalue") in _GOOD_EXITS


@dataclass(frozen=True)
class CellDebugger:
    """What the cells of one run are debugged with.

    Attributes:
        terminal: The terminal.
        after_failure: Whether a debugger opens where a cell fails: no more attempts follow.
        label: What is debugged.
        mask: Masks secrets in the traceback; in the debugger, variables have their values.
    """

    terminal: Terminal
    after_failure: bool
    label: str
    mask: Masker

    def look_into(self, kernel: Kernel, client: Any, loop: MessageLoop, reply: dict[str, Any]) -> None:
        """Let the user look into the frames of a cell that has failed.

        Args:
            kernel: Its kernel.
            client: The kernel's client.
            loop: The loop that handles its messages.
            reply: The kernel's reply for the cell.

        Raises:
            KernelDied: If the kernel ends meanwhile.
            KeyboardInterrupt: If it does not react to Ctrl-C.
        """
        name = reply.get("ename", "")
        if not self.after_failure or is_good_exit(reply) or name == _LEFT:
            return
        if not kernel.speaks_python:
            self.terminal.refuse("its kernel is not Python's, and only those have a debugger")
            return
        text = self.mask("\n".join(reply.get("traceback", [])) or f"{name}: {reply.get('evalue', '')}")
        title = f"post-mortem of {self.label}"
        try:
            if self.terminal.enter(title, text, only_first=name == _OF_BUILDS):
                self._open(kernel, client, loop)
        finally:
            self.terminal.leave()

    def _open(self, kernel: Kernel, client: Any, loop: MessageLoop) -> None:
        for _ in range(_ATTEMPTS):
            request = client.execute(
                post_mortem_code(), silent=True, store_history=False, allow_stdin=True, stop_on_error=False
            )
            reply = loop.run_cell(request, _Debugger(self.terminal), _CtrlC(kernel), None)
            if reply["content"]["status"] != "aborted":
                return
            time.sleep(_MOMENT)


class _Debugger:
    """The request that is the debugger, as the message loop sees it; its text comes with its prompts."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def take_published(self, message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":  # of code that the user enters, on stderr say
            self._terminal.show(message["content"]["text"])
        if message["content"].get("execution_state") == "idle":
            raise CellExecutionComplete

    def take_reply(self, reply: dict[str, Any]) -> None:
        """Do nothing: it is no cell."""


class _CtrlC:
    """Ctrl-C while a debugger evaluates: it interrupts that, and the run if that does not help."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._is_interrupted = False

    def expire(self) -> float:
        raise AssertionError("a debugger has no time limit")

    def interrupt(self) -> float | None:
        if self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
        self._kernel.interrupt()
        return None

    def extend(self, seconds: float) -> None:  # noqa: ARG002 - as time limits do
        """Forget an earlier Ctrl-C: the user was asked again."""
        self._is_interrupted = False
