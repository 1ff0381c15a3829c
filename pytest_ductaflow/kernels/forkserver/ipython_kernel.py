"""Adapt IPython's kernel and shell to forked processes."""

from __future__ import annotations

import gc
import sys
import threading
from dataclasses import dataclass
from typing import Any

from ipykernel import ipkernel, zmqshell

from .shutdown import close_gzip_files, flush_files


class IPythonKernel(ipkernel.IPythonKernel):  # type: ignore[misc]
    """A kernel that takes its requests in the main thread, and leaves the shutdown to its process.

    The process first runs the flow's exit handlers. ipykernel's own order is the reverse: it ends child
    processes first, and handlers that would have ended them properly then wait for them until they time out.
    """

    _execute_sleep = 0.0  # our clients wait for all that a cell publishes, and need no pause
    _supports_kernel_subshells = False
    _is_interrupted = False  # by a signal outside a cell

    def start(self) -> None:
        super().start()
        self.shell_channel_thread = _NoThread()

    def note_interrupt(self, *_: object) -> None:
        """Remember a signal before a cell has begun: it is for that cell, as our clients send no others."""
        self._is_interrupted = True

    async def shell_main(self, subshell_id: str | None, msg: Any) -> None:
        # Our clients send requests at once, which may arrive before their subscriptions.
        self.iopub_thread.wait_for_reader()
        await super().shell_main(subshell_id, msg)

    async def execute_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        try:
            await super().execute_request(stream, ident, parent)
        except KeyboardInterrupt:  # ipykernel would not answer
            error = {"ename": "KeyboardInterrupt", "evalue": "", "traceback": ["KeyboardInterrupt"]}
            self.send_response(self.iopub_socket, "error", error)
            reply = {"status": "error", "execution_count": self.execution_count, **error}
            self.session.send(stream, "execute_reply", reply, parent, ident=ident)

    async def do_execute(self, code: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        if self._is_interrupted:
            self._is_interrupted = False
            raise KeyboardInterrupt
        self.shell.next_cell = NextCell(code)
        reply: dict[str, Any] = await super().do_execute(code, *arguments, **options)
        return reply

    async def _progressively_terminate_all_children(self) -> None:
        pass

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:
        return {"status": "ok", "restart": restart}


class _NoThread:
    """A substitute for ipykernel's subshell thread, which a cell that awaits asks for its parent thread."""

    parent_thread = threading.main_thread()

    def __bool__(self) -> bool:
        return False


@dataclass
class NextCell:
    """A cell that is going to run: its text, its Python code, and whether it awaits, as far as known."""

    text: str
    transformed: str | None = None
    is_async: bool | None = None


class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):  # type: ignore[misc]
    """A shell whose shutdown does what a flow can notice of it.

    ipykernel transforms a cell to Python and checks whether it awaits something, and IPython then repeats
    both: here they are done once, so input transformers are called once.
    """

    __module__ = zmqshell.__name__  # by which some libraries know that they are in a notebook
    next_cell: NextCell | None = None

    def transform_cell(self, raw_cell: str) -> str:
        cell = self.next_cell
        if cell is None or cell.text != raw_cell:
            return str(super().transform_cell(raw_cell))
        if cell.transformed is None:
            cell.transformed = str(super().transform_cell(raw_cell))
        return cell.transformed

    def should_run_async(self, raw_cell: str, **more: Any) -> bool:
        cell = self.next_cell
        if cell is None or cell.transformed is None or cell.transformed != more.get("transformed_cell"):
            return bool(super().should_run_async(raw_cell, **more))
        if cell.is_async is None:
            cell.is_async = bool(super().should_run_async(raw_cell, **more))
        return cell.is_async

    async def run_cell_async(self, *arguments: Any, **options: Any) -> Any:
        self.next_cell = None
        return await super().run_cell_async(*arguments, **options)

    def _atexit_once(self) -> None:
        """Run destructors, as of compressed files and of objects with `__del__`."""
        flush_files()  # those in a reference cycle may be closed in the wrong order, descriptor first
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            vars(sys).pop(name, None)
        self.displayhook.exec_result = self.last_execution_result = None
        self.InteractiveTB.tb = None
        if self.history_manager is not None:
            self.history_manager.output_hist.clear()
        self.user_ns.clear()
        close_gzip_files()
        gc.collect()
