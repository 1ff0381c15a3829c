"""Run the cells of a notebook in a kernel.

nbclient interprets the messages for the notebook, papermill keeps the metadata of its cells;
`message_loop` replaces nbclient's transport.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from nbclient.client import timestamp
from nbclient.exceptions import CellExecutionError
from nbformat import ValidationError

from ..core.errors import HelperFrozen, NoAnswer
from ..core.system.kept_kernels import IDLE
from ..kernels.base import Kernel
from ..kernels.flow_control import ReadCounter
from ..kernels.inside.setup import marked
from ..kernels.setup_calls import Setup, final_report_code, keep_code
from ..sources.notebooks import Source
from .deadline import Deadline
from .debugging.cell_debugger import CellDebugger, is_good_exit
from .failures.cell_failure import readable_traceback
from .message_loop import LOST, START, KernelDied, MessageLoop
from .notebook.cell_outputs import CellOutputs
from .notebook.papermill_parts import PapermillNotebookClient
from .notebook.writer import NotebookFile
from .output_log import Output, by_source
from .warning_lines import strip_ansi

_EXIT = 60.0  # seconds for the threads, processes and exit handlers of a flow
_SHOWN = ("stream", "display_data", "execute_result")
# What ends a run, except a failing cell; a time-out is an OSError, a kernel's death a RuntimeError.
_ENDS = (RuntimeError, OSError, HelperFrozen, ValidationError, KeyboardInterrupt)

_logger = logging.getLogger("pytest_ductaflow.kernels.base")
_logger.disabled = True  # what went wrong is in the record; nbclient's messages would repeat it


@dataclass(frozen=True)
class RunResult:
    """The result of running the cells of a flow.

    Attributes:
        error: The error that ended the run, unless a cell failed.
        reply: Reply of the cell that failed, or that Ctrl-C stopped; empty if none.
        time_limit: The limit that a cell exceeded, as text for a message; empty if none did.
        exit: For a flow stopped by an exit, the line in its last cell, and whether it is a good exit.
        peak_memory: Bytes, as far as the kernel could tell.
        used: The report of `kernels.inside.trace.used`.
        observation: The observer's report, None if there was none.
        complaints: Problems that are no failure of the flow.
        printed_outside: Output of the kernel's process from before it was a kernel, and after.
    """

    error: BaseException | None
    reply: dict[str, Any]
    time_limit: str
    exit: tuple[int | None, bool] | None
    peak_memory: int | None
    used: dict[str, Any]
    observation: dict[str, Any] | None
    complaints: tuple[str, ...]
    printed_outside: str


class FlowClient(PapermillNotebookClient):  # type: ignore[misc]
    """A client that runs the cells of one notebook in one kernel, which `close` ends in any case.

    Args:
        file: The notebook and where it is saved.
        kernel: The kernel, started and not connected.
        output: Receives what cells print.
        source: The flow.
        root: The project root.
        setup: Code that the kernel runs before the first cell, if it speaks Python.
        heard: Counter by which the kernel sees how far it is ahead of its reader.
        seconds: Time limit of the whole run.
        cell_seconds: Time limit of each cell.
        sources: Code to run in place of that in the notebook, by the id of the cell: it has the secrets.
        debugger: Lets the user look into a cell that fails; None where there is no terminal.
        keeps_kernel: Whether the kernel goes on running if a cell fails.

    Attributes:
        kernel: The kernel.
        connection_file: How a console connects to the kernel, if it goes on running.
        error: The error that ended the run, unless a cell failed.
    """

    def __init__(
        self,
        file: NotebookFile,
        kernel: Kernel,
        output: Output,
        source: Source,
        root: Path,
        setup: Setup,
        read_counter: ReadCounter,
        *,
        seconds: float | None,
        cell_seconds: float | None = None,
        sources: Mapping[str, str] | None = None,
        debugger: CellDebugger | None = None,
        keeps_kernel: bool = False,
    ) -> None:
        super().__init__(file, log=_logger)
        self._sources = sources or {}
        self.error: BaseException | None = None
        self._is_closed = False
        self.kernel, self._output, self._source, self._root = kernel, output, source, root
        self._setup, self._read_counter = setup, read_counter
        self._deadline = Deadline(kernel, seconds=seconds, cell_seconds=cell_seconds)
        self._debugger, self._keeps_kernel = debugger, keeps_kernel
        self.connection_file = ""
        terminal = debugger.terminal if debugger is not None else None
        self._loop = MessageLoop(kernel, read_counter, file, terminal)
        self._exit: tuple[int | None, bool] | None = None
        self._peak_memory: int | None = None
        self._used: dict[str, Any] = {}
        self._reply: dict[str, Any] = {}
        self._complaints: list[str] = []
        self._taken = {"stdout": 0, "stderr": 0}  # characters of the running cell that have arrived
        self._request = ""  # of the running cell
        self._cell_outputs = CellOutputs([])

    @contextlib.contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep an exception that ends the run, Ctrl-C for instance, as its error."""
        try:
            yield
        except _ENDS as error:
            if self.error is None or isinstance(error, KeyboardInterrupt):
                self.error = error

    def run_cells(self) -> None:
        """Run all cells, up to the first that fails, and ask the kernel to end, which may take a while."""
        self.reset_execution_trackers()
        with self.keeping_errors():
            self.kc = self._loop.connect()
            self._prepare_kernel()
            self.papermill_execute_cells()
            self.set_widgets_metadata()
            self._output.begin_cell("", None)
            if self.kernel.speaks_python and not self.kernel.has_setup:
                self._ask_for_final_report()
            self._read_counter.no_more()
            if not (self._keeps_kernel and self._has_failed and self._kernel_stays()):
                self.kernel.shut_down()

    def finish(self) -> RunResult:
        """Wait for the kernel to end, unless an error has ended the run, and return the result."""
        if self.error is None:
            with self.keeping_errors():
                self._wait_for_exit() if not self.kernel.is_kept else self._take_reports()
        printed, observation, peak_memory = "", None, self._peak_memory
        with self.keeping_errors():
            self._loop.close()
            printed, observation = self.kernel.printed(), self.kernel.observation()
            peak_memory = peak_memory or self.kernel.peak_memory
            if self.kernel.lost and self.error is None:  # what the flow has asked the system for has failed
                self.error = KernelDied(self.kernel.exit_code)
        with self.keeping_errors():
            self.close()
        return RunResult(
            error=self.error,
            reply=self._reply,
            time_limit=self._deadline.limit if self._deadline.timed_out else "",
            exit=self._exit,
            peak_memory=peak_memory,
            used=self._used,
            observation=observation,
            complaints=tuple(self._complaints),
            printed_outside=printed,
        )

    def close(self) -> None:
        """End the kernel if it is running, and release its resources; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.close()
            self.kernel.close()

    def _prepare_kernel(self) -> None:
        """Send kernel_info and the setup code; the reply proves that the channels are connected.

        A kernel that has its setup knows its client, and publishes nothing before the client has subscribed.
        """
        if self.kernel.has_setup:
            self.nb.metadata["language_info"] = self.kernel.language_info
            return
        requests = [self.kc.kernel_info()]
        if self.kernel.speaks_python:
            requests.append(self.kc.execute(self._setup.code, silent=True))
        until = time.monotonic() + START
        first = self._loop.reply_to(requests[0], until=until, again=self.kc.kernel_info)
        last = [self._loop.reply_to(request, until=until) for request in requests[1:]] or [first]
        if last[-1]["content"]["status"] == "error":
            self._complaints.append("what the flow reads is not noticed: the kernel does not take our setup")
        self._loop.kernel_waits = self.kernel.speaks_python and not self._complaints
        self.nb.metadata["language_info"] = first["content"]["language_info"]

    def _ask_for_final_report(self) -> None:
        for _ in range(3):  # a kernel drops requests for a moment after an error: "aborted"
            question = self.kc.execute("", silent=True, user_expressions={"last": final_report_code()})
            try:
                reply = self._loop.reply_to(question, until=time.monotonic() + LOST)["content"]
            except NoAnswer:
                return
            if reply["status"] == "ok":
                answer = reply["user_expressions"]["last"]
                if answer["status"] == "ok":
                    self.kernel.final_report = json.loads(ast.literal_eval(answer["data"]["text/plain"]))
                return

    @property
    def _has_failed(self) -> bool:
        """Whether a cell has failed, and not only ended the flow early."""
        return self._reply.get("status") == "error" and not is_good_exit(self._reply)

    def _kernel_stays(self) -> bool:
        """Have the kernel stay as it is, for a console; return whether it does."""
        if not self.kernel.speaks_python:
            self._complaints.append("its kernel is not kept: it is not Python's")
            return False
        folder = str(self._setup.spill.parent)
        request = self.kc.execute(keep_code(folder, IDLE), silent=True, store_history=False)
        reply = self._loop.reply_to(request, until=time.monotonic() + LOST)["content"]
        if reply["status"] == "ok":
            self.connection_file = self.kernel.keep()
        return self.kernel.is_kept

    def _wait_for_exit(self) -> None:
        if not self.kernel.wait(_EXIT):
            self._output.warn(
                f"⚠️ threads, processes or exit handlers ran on for {_EXIT:g} s after the last cell: they "
                "were ended, and what they were to write may be missing (let the flow wait, by join() say)"
            )
            self.kernel.kill()
        self._take_reports()

    def _take_reports(self) -> None:
        if self.kernel.speaks_python:
            self._log_late_output()
            self._take_final_report(*self.kernel.final_report or (None, None))

    def _take_final_report(
        self, setup: tuple[int, list[str], tuple[int | None, bool] | None] | None, used: dict[str, Any] | None
    ) -> None:
        if setup is not None:
            self._peak_memory, logged, self._exit = setup
            self._output.add_logged(logged)
        if used is not None:
            self._used = used
        elif not self._complaints:
            self._complaints.append("what the flow imports is not noticed: the kernel did not tell")

    def _log_late_output(self) -> None:
        """Log what was printed after the last cell, by threads and exit handlers: nobody has received it."""
        for name, source, text in self._not_sent():
            self._output.write(name, text, source)

    def execute_cell(self, cell: Any, cell_index: int, **_: Any) -> Any:
        """Run a cell and fill in its outputs.

        Raises:
            CellExecutionError: If it fails, unless it is tagged `raises-exception`.
        """
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or not cell.source.strip() or self.skip_cells_with_tag in tags:
            return cell
        until = self._deadline.begin_cell()
        may_fail = "raises-exception" in tags
        self._begin(cell)
        code = self._sources.get(cell["id"], cell.source)
        request = self._request = self.kc.execute(code, stop_on_error=not may_fail)
        self.code_cells_executed += 1
        try:
            reply = self._loop.run_cell(request, _RunningCell(self, cell, cell_index), self._deadline, until)
        except KernelDied:
            self._recover(request, cell, cell_index)
            if self._deadline.interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            self._cell_outputs.complete()
            self._output.complete_cell()
        content = reply["content"]
        is_failure = content["status"] == "error" and not may_fail
        if is_failure or self._deadline.interrupted:
            self._reply = content
            if self._debugger is not None and content["status"] == "error":
                self._debug(self._debugger, content)
        if self._deadline.interrupted:
            raise KeyboardInterrupt
        if is_failure:
            raise CellExecutionError.from_cell_and_msg(cell, content)
        return cell

    def _debug(self, debugger: CellDebugger, reply: dict[str, Any]) -> None:
        """Let the user look into the cell that has failed, which stays so if the kernel ends there."""
        began = time.monotonic()
        try:
            with contextlib.suppress(KernelDied):
                debugger.look_into(self.kernel, self.kc, self._loop, reply)
        finally:
            self._deadline.extend(time.monotonic() - began)

    @property
    def paused(self) -> float:
        """Seconds in which a debugger was open."""
        return self._deadline.paused

    def _begin(self, cell: Any) -> None:
        cell.metadata["execution"], cell.outputs = {}, []
        self._cell_outputs = CellOutputs(cell.outputs)
        self.clear_before_next_output = False
        self._taken = {"stdout": 0, "stderr": 0}
        with contextlib.suppress(OSError):
            os.truncate(self._setup.spill, 0)
        self._output.begin_cell(cell.source, self._source.lines.get(cell["id"]))

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Write a published message to the log and to the outputs of the cell.

        Raises:
            CellExecutionComplete: If it was the last one.
        """
        content, kind = msg["content"], msg["msg_type"]
        if kind == "stream":
            self._take_printed(content)
        elif kind == "display_data":  # libraries show this way in notebooks what they print elsewhere
            if isinstance(text := content["data"].get("text/plain"), str):
                self._output.write("display", f"{text.rstrip()}\n")
        elif kind == "error":
            self._output.note(readable_traceback(strip_ansi("\n".join(content["traceback"])), self._root))
        if kind in _SHOWN:
            return self._put_in_notebook(msg, cell, cell_index)
        if kind == "clear_output" and not content.get("wait"):
            self._cell_outputs.clear()
        return super().process_message(msg, cell, cell_index)

    def _put_in_notebook(self, message: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Add an output to the notebook, within the limits for what a cell prints and shows."""
        content, outputs = message["content"], self._cell_outputs
        # True if it goes to a widget, or below, if it replaces the earlier outputs.
        is_apart = self.output_hook_stack[message["parent_header"].get("msg_id")]
        if self.clear_before_next_output and not is_apart:
            outputs.clear()
            is_apart = True
        if message["msg_type"] != "stream":
            texts = (value for value in content["data"].values() if isinstance(value, str))
            is_kept = outputs.keeps_shown(sum(map(len, texts)))
        else:
            printed = content["text"]
            content["text"] = outputs.printed(printed)
            is_kept = bool(content["text"]) or not printed
            if is_kept and not is_apart and outputs.grow(content["name"], content["text"]):
                self.nb_man.autosave_cell()
                return None
        if is_kept:
            return super().process_message(message, cell, cell_index)
        outputs.tell()
        return None

    def _take_printed(self, content: dict[str, Any]) -> None:
        """Log a piece of a stream, and remove the marks of its sources from it."""
        name, pieces = content["name"], by_source(content["text"], self._setup.mark)
        for source, piece in pieces:
            self._output.write(name, piece, source)
        content["text"] = "".join(piece for _, piece in pieces)
        self._taken[name] = self._taken.get(name, 0) + len(content["text"])

    def _recover(self, request: str, cell: Any, cell_index: int) -> None:
        """Process what a dead kernel printed in its last cell and could not send."""
        for name, run in itertools.groupby(self._not_sent(), key=itemgetter(0)):
            text = "".join(marked(self._setup.mark, source, piece) for _, source, piece in run)
            message = {
                "msg_type": "stream",
                "header": {"msg_type": "stream"},
                "parent_header": {"msg_id": request},
                "content": {"name": name, "text": text},
            }
            self.process_message(message, cell, cell_index)

    def _not_sent(self) -> Iterator[tuple[str, str, str]]:
        """Yield stream, source and text of what `kernels.inside.setup._spill_output` kept and did not arrive.

        What belongs to another request than that of the last cell is never taken. The last line of the file
        may be cut off.
        """
        left = dict(self._taken)
        with contextlib.suppress(OSError), open(self._setup.spill, "rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    name, source, text, request = json.loads(line)
                    known = min(left.get(name, 0), len(text)) if request == self._request else 0
                    left[name] = left.get(name, 0) - known
                    if text[known:]:
                        yield name, source, text[known:]


@dataclass(frozen=True)
class _RunningCell:
    """A running cell as the message loop sees it."""

    client: FlowClient
    cell: Any
    index: int

    def take_published(self, message: dict[str, Any]) -> None:
        self.client.process_message(message, self.cell, self.index)

    def take_reply(self, reply: dict[str, Any]) -> None:
        self.cell.metadata.execution["shell.execute_reply"] = timestamp(reply)
