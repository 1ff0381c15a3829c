"""IPython's kernel and shell, as far as those of a forked process do something in another way."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

from ipykernel import ipkernel, zmqshell

from .ending import flush_files


class IPythonKernel(ipkernel.IPythonKernel):  # type: ignore[misc]
    """A kernel that takes its requests in the main thread, and leaves the end to its process.

    The process first runs what the flow has left for the exit. ipykernel's own order is the other way
    round: it ends child processes, and then the handlers that would have ended them in their way have to
    wait for them until they time out.
    """

    _execute_sleep = 0.0  # our clients wait for all that a cell publishes, and need no pause
    _supports_kernel_subshells = False

    def start(self) -> None:
        super().start()
        self.shell_channel_thread = _NoThread()

    async def dispatch_shell(self, msg: Any, /, *arguments: Any, **options: Any) -> None:
        # Our clients ask at once, and their requests may be here before word that they listen.
        self.iopub_thread.wait_for_reader()
        await super().dispatch_shell(msg, *arguments, **options)

    async def do_execute(self, code: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        self.shell.expect(code)
        reply: dict[str, Any] = await super().do_execute(code, *arguments, **options)
        return reply

    def _publish_status(self, status: str, channel: str, parent: dict[str, Any] | None = None) -> None:
        # Nobody hears "starting", and a socket that sends may not notice the first who wants to hear.
        if status != "starting":
            super()._publish_status(status, channel, parent)

    async def _progressively_terminate_all_children(self) -> None:
        pass

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        return {"status": "ok", "restart": restart}


class _NoThread:
    """In place of ipykernel's thread for subshells: a cell that awaits asks it where it runs."""

    parent_thread = threading.main_thread()

    def __bool__(self) -> bool:
        return False


class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):  # type: ignore[misc]
    """A shell that at the end does what a flow can notice of its end.

    It does once what ipykernel asks before a cell runs, and asks again when it runs it: what IPython's own
    syntax means in Python, and whether the cell awaits something.
    """

    __module__ = zmqshell.__name__  # by which some libraries know that they are in a notebook
    _next_cell: str | None = None
    _transformed: str | None = None
    _is_async: bool | None = None

    def expect(self, cell: str) -> None:
        """Until this cell runs, nothing of the flow does: what it means does not change."""
        self._next_cell, self._transformed, self._is_async = cell, None, None

    def transform_cell(self, raw_cell: str) -> str:
        if raw_cell != self._next_cell:
            return str(super().transform_cell(raw_cell))
        if self._transformed is None:
            self._transformed = str(super().transform_cell(raw_cell))
        return self._transformed

    def should_run_async(self, raw_cell: str, **transformed: Any) -> bool:
        if raw_cell != self._next_cell:
            return bool(super().should_run_async(raw_cell, **transformed))
        if self._is_async is None:
            self._is_async = bool(super().should_run_async(raw_cell, **transformed))
        return self._is_async

    async def run_cell_async(self, *arguments: Any, **options: Any) -> Any:
        self._next_cell = None
        return await super().run_cell_async(*arguments, **options)

    def _atexit_once(self) -> None:
        """Let destructors run: of a file that compresses, or of an object with `__del__`."""
        flush_files()  # those in a circle may be closed in the wrong order, descriptor first
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            vars(sys).pop(name, None)
        self.displayhook.exec_result = self.last_execution_result = None
        self.InteractiveTB.tb = None
        if self.history_manager is not None:
            self.history_manager.output_hist.clear()
        self.user_ns.clear()
        gc.collect()
