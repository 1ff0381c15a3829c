"""IPython's kernel and shell, as far as those of a forked process do something in another way."""

from __future__ import annotations

import gc
import sys
import threading
from dataclasses import dataclass
from typing import Any

from ipykernel import ipkernel, zmqshell

from .shutdown import close_gzip_files, flush_files


class IPythonKernel(ipkernel.IPythonKernel):  # type: ignore[misc]
    """A kernel that takes its requests in the main thread, and leaves the end to its process.

    The process first runs what the flow has left for the exit. ipykernel's own order is the other way
    round: it ends child processes, and then the handlers that would have ended them in their way have to
    wait for them until they time out.
    """

    _execute_sleep = 0.0  # our clients wait for all that a cell publishes, and need no pause
    _supports_kernel_subshells = False
    _is_interrupted = False  # by a signal that met no cell

    def start(self) -> None:
        super().start()
        self.shell_channel_thread = _NoThread()

    def note_interrupt(self, *_: object) -> None:
        """A signal before a cell has begun is for that cell: our clients send them for nothing else."""
        self._is_interrupted = True

    async def shell_main(self, subshell_id: str | None, msg: Any) -> None:
        # Our clients ask at once, and their requests may be here before word that they listen.
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
    """In place of ipykernel's thread for subshells: a cell that awaits asks it where it runs."""

    parent_thread = threading.main_thread()

    def __bool__(self) -> bool:
        return False


@dataclass
class NextCell:
    """What is known of a cell that is going to run: its text, what that is in Python, whether it awaits."""

    text: str
    transformed: str | None = None
    is_async: bool | None = None


class ZMQInteractiveShell(zmqshell.ZMQInteractiveShell):  # type: ignore[misc]
    """A shell that at the end does what a flow can notice of its end.

    ipykernel asks what a cell means in Python and whether it awaits something, and then has IPython find
    out the same once more: here that is found out once, so input transformers are called once.
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
        """Let destructors run: of a file that compresses, or of an object with `__del__`."""
        flush_files()  # those in a circle may be closed in the wrong order, descriptor first
        for name in ("last_type", "last_value", "last_traceback", "last_exc"):
            vars(sys).pop(name, None)
        self.displayhook.exec_result = self.last_execution_result = None
        self.InteractiveTB.tb = None
        if self.history_manager is not None:
            self.history_manager.output_hist.clear()
        self.user_ns.clear()
        close_gzip_files()
        gc.collect()
