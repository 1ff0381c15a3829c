"""papermill's client with a transport of its own: it waits for events, and never asks whether there are any.

What messages mean for a notebook is nbclient's business, what is written about cells papermill's.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import zmq
from nbclient.client import timestamp
from nbclient.exceptions import (
    CellExecutionComplete,
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)
from papermill.clientwrap import PapermillNotebookClient

from ..core.interrupts import keyboard_later
from ..kernels.base import LOOK, Kernel
from ..kernels.flow_control import Heard
from ..kernels.inside.setup import marked
from ..kernels.setup_calls import Setup, last_words_code
from ..sources.notebooks import Source
from .cell_outputs import CellOutputs
from .failures import readable_traceback
from .notebook_writer import NotebookFile
from .output_log import Output, by_source
from .warning_lines import strip_ansi

__all__ = ["CellTimeoutError", "DeadKernelError", "FlowClient", "NoAnswer"]
INTERRUPT_GRACE = 5.0  # seconds between the interrupt of a time-out and the kill
_KEYBOARD_GRACE = 2.0  # the same after Ctrl-C, which people press again
_START = 60.0  # seconds that a kernel may take
_EXIT = 60.0  # seconds for what a flow has left for its exit
_LOST = 10.0  # seconds after which a word that must come will not come any more
_LAST_WORD = 1.0  # seconds for the system's word on how a process ended
_SILENCE = 0.2  # seconds without a word about a request that is answered: the subscription came too late
# Then it is time to look at the clock, and whether the kernel lives:
_AT_A_TIME = 100  # messages
_BYTES_AT_A_TIME = 4_000_000
_BYTES_AHEAD = 1_000_000  # after so many at once, a kernel that does not wait by itself is paused

_logger = logging.getLogger("pytest_ductaflow.kernels.base")
_logger.disabled = True  # what went wrong is in the record; nbclient's own words would say it twice
_contexts: dict[int, zmq.Context[Any]] = {}  # by process: a context does not survive a fork


def _context() -> zmq.Context[Any]:
    context = _contexts.get(os.getpid())
    if context is None:
        _contexts.clear()
        context = _contexts[os.getpid()] = zmq.Context()
        context.setsockopt(zmq.RECONNECT_IVL, 5)  # ms between looks whether a kernel is there already
        context.setsockopt(zmq.LINGER, 0)
        # A flow that prints faster than we read loses nothing here; a socket takes this before it connects.
        context.setsockopt(zmq.RCVHWM, 0)
    return context


class FlowClient(PapermillNotebookClient):  # type: ignore[misc]
    """Runs the cells of one notebook in one kernel.

    Args:
        file: The notebook and where it is saved.
        kernel: The kernel, started and not connected.
        output: Gets what cells print.
        source: The flow.
        root: The project root.
        setup: What the kernel is told before the first cell, if it speaks Python.
        heard: Where the kernel sees how far it is ahead.
        seconds: For the whole run.
        cell_seconds: For each cell.
        at_end: Called when all cells have ended and the kernel has not: what is to be done meanwhile.

    Attributes:
        timed_out: Whether the time was up.
        limit: What that means, in words.
        was_deaf: Whether the flow then did not react to the interrupt.
        interrupted: Whether Ctrl-C was pressed.
        exit_code: Of a kernel that died.
        exit: Of a flow that an exit stopped, the line of its last cell, and whether it is a good exit.
        peak_memory: Bytes, as far as the kernel could tell.
        used: What `kernels.inside.trace.used` told.
        observation: What an observer has seen, None if there was none.
        error_reply: Of the cell that failed.
        complaints: What did not go as it should and is no failure of the flow.
        last_print: What the kernel's process printed when it was no kernel yet, or no more.
    """

    def __init__(
        self,
        file: NotebookFile,
        kernel: Kernel,
        output: Output,
        source: Source,
        root: Path,
        setup: Setup,
        heard: Heard,
        *,
        seconds: float | None,
        cell_seconds: float | None = None,
        at_end: Callable[[], None],
    ) -> None:
        super().__init__(file, log=_logger)
        self.file = file
        self.kernel = kernel
        self.printed = output
        self.source = source
        self.root = root
        self.setup = setup
        self._heard = heard
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.limit = ""
        self._seconds, self._cell_seconds = seconds, cell_seconds
        self.at_end = at_end
        self.timed_out = self.was_deaf = self.interrupted = False
        self.exit_code: int | None = None
        self.exit: tuple[int | None, bool] | None = None
        self.peak_memory: int | None = None
        self.used: dict[str, Any] = {}
        self.observation: dict[str, Any] | None = None
        self.error_reply: dict[str, Any] = {}
        self.complaints: list[str] = []
        self.last_print = ""
        self._replies: dict[str | None, dict[str, Any]] = {}
        self._kernel_waits = kernel.has_setup  # for us, when it prints faster than we read
        self._told = {"stdout": 0, "stderr": 0}  # characters of the running cell that have arrived
        self._outputs = CellOutputs([])

    def execute(self) -> Any:
        """Run all cells, up to the first that fails.

        Raises:
            DeadKernelError: If the kernel dies.
            CellTimeoutError: If it does not react to the interrupt of a time-out.
            KeyboardInterrupt: After Ctrl-C; the notebook has the traceback of the cell that ran.
        """
        self.reset_execution_trackers()
        try:
            with self._connected():
                self._prepare_kernel()
                self.papermill_execute_cells()
                self.set_widgets_metadata()
                self._shut_down()
        finally:
            self.last_print = self.kernel.printed()
            self.observation = self.kernel.observation()
            self.peak_memory = self.peak_memory or self.kernel.peak_memory
            self.kernel.close()
        return self.nb

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        self.kc = kc = self.kernel.client
        kc.context = _context()
        kc.allow_stdin = False
        try:
            self._iopub, self._shell = kc.iopub_channel.socket, kc.shell_channel.socket
        except zmq.ZMQError as error:
            raise NoAnswer(f"its sockets cannot be used: {error}") from error
        self._poller = zmq.Poller()
        for thing in (self._iopub, self._shell, self.kernel.fileno()):
            self._poller.register(thing, zmq.POLLIN)
        try:
            yield
        finally:
            self.kernel.close_channels()

    def _prepare_kernel(self) -> None:
        """Introduce ourselves; with the first answer it is also known that all channels are connected.

        A kernel that has its setup knows who comes, and publishes nothing before we hear it.
        """
        if self.kernel.has_setup:
            self.nb.metadata["language_info"] = self.kernel.language_info
            return
        requests = [self.kc.kernel_info()]
        if self.kernel.speaks_python:
            requests.append(self.kc.execute(self.setup.code, silent=True))
        until = time.monotonic() + _START
        first = self._wait_for(requests[0], until=until, again=self.kc.kernel_info)
        last = [self._wait_for(request, until=until) for request in requests[1:]] or [first]
        if last[-1]["content"]["status"] == "error":
            self.complaints.append("what the flow reads is not noticed: the kernel does not take our setup")
        self._kernel_waits = self.kernel.speaks_python and not self.complaints
        self.nb.metadata["language_info"] = first["content"]["language_info"]

    def _ask_for_last_words(self) -> None:
        for _ in range(3):  # a kernel drops requests for a moment after an error: "aborted"
            question = self.kc.execute("", silent=True, user_expressions={"last": last_words_code()})
            try:
                reply = self._wait_for(question, until=time.monotonic() + _LOST)["content"]
            except NoAnswer:
                return
            if reply["status"] == "ok":
                answer = reply["user_expressions"]["last"]
                if answer["status"] == "ok":
                    self.kernel.last_words = json.loads(ast.literal_eval(answer["data"]["text/plain"]))
                return

    def _shut_down(self) -> None:
        """Let the kernel end as a program does, and do something useful meanwhile."""
        self.printed.begin_cell("", None)
        if self.kernel.speaks_python and not self.kernel.has_setup:
            self._ask_for_last_words()
        self._heard.no_more()
        self.kernel.shut_down()
        self.at_end()
        if not self.kernel.wait(_EXIT):
            self.printed.warn(
                f"⚠️ threads, processes or exit handlers ran on for {_EXIT:g} s after the last cell: they "
                "were ended, and what they were to write may be missing (let the flow wait, by join() say)"
            )
            self.kernel.kill()
        if self.kernel.speaks_python:
            self._take_last_words(*self.kernel.last_words or (None, None))

    def _take_last_words(
        self, setup: tuple[int, list[str], tuple[int | None, bool] | None] | None, used: dict[str, Any] | None
    ) -> None:
        if setup is not None:
            self.peak_memory, logged, self.exit = setup
            self.printed.add_logged(logged)
        if used is not None:
            self.used = used
        elif not self.complaints:
            self.complaints.append("what the flow imports is not noticed: the kernel did not tell")

    def execute_cell(self, cell: Any, cell_index: int, **_: Any) -> Any:
        """Run a cell and fill in its outputs.

        Raises:
            CellExecutionError: If it fails, and is not said to.
        """
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or not cell.source.strip() or self.skip_cells_with_tag in tags:
            return cell
        if self.timed_out:  # the cell before came to its end all the same
            raise CellTimeoutError("no time is left for this cell")
        may_fail = "raises-exception" in tags
        cell.metadata["execution"], cell.outputs = {}, []
        self._outputs = CellOutputs(cell.outputs)
        self.clear_before_next_output = False
        self._begin_to_count()
        self.printed.begin_cell(cell.source, self.source.lines.get(cell["id"]))
        request = self.kc.execute(cell.source, stop_on_error=not may_fail)
        self.code_cells_executed += 1
        try:
            reply = self._wait_for(request, cell, cell_index, until=self._end_of_cell())
        except DeadKernelError:
            self._recover(request, cell, cell_index)
            if self.interrupted:
                raise KeyboardInterrupt from None
            raise
        finally:
            self._outputs.complete()
            self.printed.complete_cell()
        if self.interrupted:
            self.error_reply = reply["content"]
            raise KeyboardInterrupt
        content = reply["content"]
        if content["status"] == "error" and not may_fail:
            self.error_reply = content
            raise CellExecutionError.from_cell_and_msg(cell, content)
        return cell

    def _end_of_cell(self) -> float | None:
        """When a cell that begins now has to end; None if nothing limits it."""
        now = time.monotonic()
        left = math.inf if self.deadline is None else self.deadline - now
        if self._cell_seconds is not None and self._cell_seconds < left:
            self.limit = f"this cell took longer than {self._cell_seconds:g} s"
            return now + self._cell_seconds
        self.limit = f"took longer than {self._seconds or 0:g} s"
        return self.deadline

    def _wait_for(
        self,
        request: str,
        cell: Any = None,
        cell_index: int = 0,
        *,
        until: float | None = None,
        again: Callable[[], str] | None = None,
    ) -> dict[str, Any]:
        """The reply to a request, after all that the kernel publishes about it if anybody wants to know.

        Args:
            request: Its id.
            cell: Gets outputs.
            cell_index: Its place in the notebook.
            until: When to give up, in place of the deadline of the run.
            again: Repeats the request; for the first one, of which the kernel may have published before
                we could hear it.
        """
        wait = _Wait(request, until or self.deadline, is_idle=cell is None and again is None)
        while wait.reply is None or not wait.is_idle:
            if wait.reply is None and wait.request in self._replies:
                wait.reply, wait.heard_at = self._replies.pop(wait.request), time.monotonic()
                if cell is not None:
                    cell.metadata.execution["shell.execute_reply"] = timestamp(wait.reply)
                continue
            try:
                self._hear(wait, cell, cell_index)
            except KeyboardInterrupt:
                if self.interrupted or cell is None:
                    raise
                self.interrupted = True
                self._interrupt(wait, _KEYBOARD_GRACE)
            if again is not None and wait.reply is not None and wait.silence > _SILENCE:
                wait.request, wait.heard_at = again(), time.monotonic()
            elif wait.reply is not None and wait.silence > _LOST:
                break
        return wait.reply

    def _hear(self, wait: _Wait, cell: Any, cell_index: int) -> None:
        """Wait for the next event, and deal with it."""
        ready = dict(self._poller.poll(math.ceil(1000 * self._patience(wait))))
        if not ready:
            self.kernel.look_at_helpers()
        if self._iopub not in ready:
            self.kernel.go_on()
        with keyboard_later():  # else a message in hand would be in the log and not in the notebook, say
            if self._iopub in ready:
                self._take_published(wait, cell, cell_index)
            if self._shell in ready:
                self._take_replies()
        now, had_ended = time.monotonic(), self.kernel.has_ended
        if self.kernel.fileno() in ready:
            self.kernel.look()
            if self.kernel.has_ended:
                self._poller.unregister(self.kernel.fileno())
        if had_ended and not {self._iopub, self._shell} & ready.keys():
            self.exit_code = self.kernel.wait_for_exit_code(_LAST_WORD)
            raise DeadKernelError("Kernel died")
        if (due := self.file.due_at) is not None and now >= due:
            self.file.write()
        late = wait.until is not None and now >= wait.until
        if late and (wait.reply is None or cell is None) and wait.request not in self._replies:
            self._be_out_of_time(wait, cell)

    def _patience(self, wait: _Wait) -> float:
        """Seconds until there is something to do without an event."""
        times = [time for time in (self.file.due_at, wait.until) if time is not None]
        times.append(time.monotonic() + LOOK)
        if wait.reply is not None:
            times = [time.monotonic() + _SILENCE]
        if self.kernel.is_held:
            return 0.05  # for what it has sent already
        if self.kernel.has_ended:
            return 0.02  # for what is still under way
        return max(0.0, min(times) - time.monotonic())

    def _be_out_of_time(self, wait: _Wait, cell: Any) -> None:
        """Interrupt, so that the notebook shows where the time went; give up if nothing comes of it."""
        if cell is None:
            raise NoAnswer(f"it does not answer within {_START:g} s")
        if self.timed_out or self.interrupted:
            self.kernel.kill()
            if self.interrupted:
                raise KeyboardInterrupt
            self.was_deaf = True
            raise CellTimeoutError("the flow did not react to the interrupt")
        self.timed_out = True
        self._interrupt(wait, INTERRUPT_GRACE)

    def _interrupt(self, wait: _Wait, grace: float) -> None:
        self.kernel.interrupt()
        wait.until = time.monotonic() + grace

    def _take_replies(self) -> None:
        """Keep what has come: requests may be sent before the one before them is answered."""
        with contextlib.suppress(zmq.Again):
            for _ in range(_AT_A_TIME):
                message = self._received(self._shell)
                self._replies[message["parent_header"].get("msg_id")] = message

    def _take_published(self, wait: _Wait, cell: Any, cell_index: int) -> None:
        """Take what has come; a kernel that does not wait for us pauses until we have all of it."""
        is_ahead = False
        enough = self._heard.count + (_BYTES_AT_A_TIME if self._kernel_waits else _BYTES_AHEAD)
        with contextlib.suppress(zmq.Again, CellExecutionComplete):
            for _ in range(_AT_A_TIME):
                if self._heard.count >= enough:
                    break
                message = self._received(self._iopub)
                if message["parent_header"].get("msg_id") != wait.request:
                    continue
                wait.heard_at = time.monotonic()
                self._take_message(message, wait, cell, cell_index)
            is_ahead = not self._kernel_waits
        (self.kernel.hold if is_ahead else self.kernel.go_on)()

    def _take_message(self, message: dict[str, Any], wait: _Wait, cell: Any, cell_index: int) -> None:
        try:
            if cell is not None:
                self.process_message(message, cell, cell_index)
            elif _is_last(message):
                raise CellExecutionComplete
        except CellExecutionComplete:
            wait.is_idle = True
            raise

    def _received(self, channel: Any) -> dict[str, Any]:
        session, parts = self.kc.session, channel.recv_multipart(zmq.NOBLOCK)
        if channel is self._iopub:
            self._heard.add(sum(map(len, parts)))
        try:
            _, frames = session.feed_identities(parts)
            return dict(session.deserialize(frames))
        except (ValueError, TypeError, KeyError) as error:
            raise RuntimeError(f"the kernel sends what is no message: {error}") from error

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        content, kind = msg["content"], msg["msg_type"]
        if kind == "stream":
            self._take_printed(content)
        elif kind == "display_data":  # so do libraries show in notebooks what they print elsewhere
            if isinstance(text := content["data"].get("text/plain"), str):
                self.printed.write("display", f"{text.rstrip()}\n")
        elif kind == "error":
            self.printed.note(readable_traceback(strip_ansi("\n".join(content["traceback"])), self.root))
        if kind in _SHOWN:
            return self._put_in_notebook(msg, cell, cell_index)
        if kind == "clear_output" and not content.get("wait"):
            self._outputs.clear()
        return super().process_message(msg, cell, cell_index)

    def _put_in_notebook(self, message: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Keep an output as far as there is room for what a cell prints and shows."""
        content, outputs = message["content"], self._outputs
        # Then a widget takes it, or it takes the place of what was there.
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
        """Take over a piece of a stream, and take words on its sources out of it."""
        name, pieces = content["name"], by_source(content["text"], self.setup.mark)
        for source, piece in pieces:
            self.printed.write(name, piece, source)
        content["text"] = "".join(piece for _, piece in pieces)
        self._told[name] = self._told.get(name, 0) + len(content["text"])

    def _begin_to_count(self) -> None:
        self._told = {"stdout": 0, "stderr": 0}
        with contextlib.suppress(OSError):
            os.truncate(self.setup.spill, 0)

    def _recover(self, request: str, cell: Any, cell_index: int) -> None:
        """What a kernel printed in its last cell and could not send any more."""
        for name, text in _untold(self.setup.spill, self._told, self.setup.mark):
            message = {
                "msg_type": "stream",
                "header": {"msg_type": "stream"},
                "parent_header": {"msg_id": request},
                "content": {"name": name, "text": text},
            }
            self.process_message(message, cell, cell_index)


class NoAnswer(RuntimeError):
    """A kernel lives, and does not do what it always does at once."""


class _Wait:
    """For the answer to a request: the reply itself, and word that all about it was published."""

    def __init__(self, request: str | None, until: float | None, *, is_idle: bool) -> None:
        self.request = request
        self.until = until
        self.reply: dict[str, Any] | None = None
        self.is_idle = is_idle
        self.heard_at = time.monotonic()

    @property
    def silence(self) -> float:
        return time.monotonic() - self.heard_at


_SHOWN = ("stream", "display_data", "execute_result")


def _is_last(message: Mapping[str, Any]) -> bool:
    """Whether nothing more is published about a request."""
    return bool(message["content"].get("execution_state") == "idle")


def _untold(path: Path, told: Mapping[str, int], mark: str) -> Iterator[tuple[str, str]]:
    """What `kernels.inside.setup._spill_output` has kept and nobody has heard, in runs of one stream.

    Args:
        path: A JSON line for each piece; the last one may be cut off.
        told: By stream, how many characters are known.
        mark: As in `Setup`.
    """
    left = dict(told)

    def pieces() -> Iterator[tuple[str, str]]:
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                name, source, text = json.loads(line)
                known = min(left.get(name, 0), len(text))
                left[name] = left.get(name, 0) - known
                if text[known:]:
                    yield name, marked(mark, source, text[known:])

    with contextlib.suppress(OSError):
        for name, run in itertools.groupby(pieces(), key=itemgetter(0)):
            yield name, "".join(text for _, text in run)
