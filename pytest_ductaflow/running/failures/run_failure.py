"""Find out why a run failed: a cell, a time-out, the end of its kernel, Ctrl-C."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbclient.exceptions import CellTimeoutError
from nbformat import ValidationError

from ...core.errors import HelperFrozen, InstanceFailed, NoAnswer
from ...core.record import FLOW_FAILED, INTERRUPTED, MEMORY_LIMIT, STOPPED, Failure, Record
from ...kernels.base import Kernel
from ...sources.notebooks import Source
from ..client import RunResult
from ..message_loop import KernelDied
from ..notebook.papermill_parts import PapermillExecutionError
from ..output_log import Output
from .cell_failure import failure_of_cell, failure_without_traceback, is_at_the_end
from .kernel_death import death_of_kernel

FROM_OUTSIDE = Failure(INTERRUPTED, STOPPED)


@dataclass(frozen=True)
class FailureFinder:
    """A finder of the reason why a run failed.

    Attributes:
        notebook: The notebook, as far as it ran.
        source: The flow.
        root: Its project root.
        kernel: The kernel, which has ended.
        killed: Result of `killed_for_memory` from before the kernel began.
        output: Receives the dead kernel's last output, and a warning of an exit in the middle of the flow.
        excess: Message if all was ended because it used too much memory; else empty.
    """

    notebook: Any
    source: Source
    root: Path
    kernel: Kernel
    killed: int | None
    output: Output
    excess: str = ""

    def failure_of(self, result: RunResult) -> Failure | None:
        """Return why the run failed; None if the flow came to its end."""
        match result.error:
            case KernelDied() | None if self.excess:  # whichever came first, of what is ended in one go
                return self._at_cell(MEMORY_LIMIT, self.excess)
            case None:
                return self._of_cell(result)
            case CellTimeoutError() as error:
                return self._at_cell("Timeout", str(error))
            case KernelDied() as error:
                self.output.note(result.printed_outside.rstrip())
                message = death_of_kernel(self.kernel, error.exit_code, self.killed)
                return self._at_cell("KernelDied", message)
            case HelperFrozen() as error:
                return self._at_cell("KernelDied", f"{error}: it was killed, and the kernel with it")
            case ValidationError() as error:
                message = f"this cell shows something that a notebook cannot hold: {error.message}"
                return self._at_cell("InvalidOutput", message)
            case NoAnswer() as error:
                return Failure("KernelDied", f"the kernel did not start: {error}")
            case KeyboardInterrupt():
                return self._of_interrupt(result)
            case error:
                return self._at_cell(type(error).__name__, f"the run cannot go on: {error}")

    def _at_cell(self, type_: str, message: str) -> Failure:
        return failure_without_traceback(self.notebook, self.source, type_, message)

    def _of_interrupt(self, result: RunResult) -> Failure:
        """Return the failure for Ctrl-C, with its location if the kernel could still report it."""
        traceback = result.reply.get("traceback", [])
        if not traceback:
            return self._at_cell(FROM_OUTSIDE.type, FROM_OUTSIDE.message)
        return failure_of_cell(
            self.notebook,
            self.source,
            self.root,
            type_=FROM_OUTSIDE.type,
            message=FROM_OUTSIDE.message,
            traceback=traceback,
        )

    def _of_cell(self, result: RunResult) -> Failure | None:
        """Return the failure that the reply of a cell reports; None if the flow came to its end."""
        reply = result.reply
        if not self.notebook.metadata.papermill.get("exception"):
            return Failure("Timeout", result.time_limit) if result.time_limit else None
        if reply.get("ename") == "NoneType":  # the cell ended well, but its result could not be shown
            reply = _last_error(self.notebook) or reply
        type_, message = (
            reply.get("ename", "Error"),
            reply.get("evalue", "the cell failed without saying why"),
        )
        is_exit = type_ == "SystemExit"
        is_good_exit = is_exit and (result.exit[1] if result.exit else message in ("", "0", "None"))
        if result.time_limit and not is_good_exit:
            type_, message = "Timeout", result.time_limit
        elif type_ == FlowExecutionError.__name__:
            type_ = FLOW_FAILED
        failure = failure_of_cell(
            self.notebook,
            self.source,
            self.root,
            type_=type_,
            message=message,
            traceback=reply.get("traceback", []),
            line=result.exit[0] if type_ == "SystemExit" and result.exit else None,
        )
        if is_good_exit:
            self._warn_of_exit(failure)
            return None
        return failure

    def _warn_of_exit(self, failure: Failure) -> None:
        """Warn of an exit in the middle of a flow; one in its last statement leaves nothing out."""
        if not is_at_the_end(self.notebook, failure):
            at = f"line {failure.file_line}" if failure.file_line else f"cell [{failure.cell}]"
            self.output.warn(f"⚠️ SystemExit at {at}: what comes after it has not run")


def _last_error(notebook: Any) -> dict[str, Any] | None:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return next((output for output in reversed(outputs) if output.output_type == "error"), None)


class FlowExecutionError(InstanceFailed, PapermillExecutionError):  # type: ignore[misc]
    """A flow failed; a papermill exception, so that code that catches that one keeps working."""

    def __init__(self, message: str, record: Record) -> None:
        failure = record.error or Failure("Error", message)
        Exception.__init__(self, message)
        self.record = record
        self.cell_index = None
        self.exec_count = failure.cell
        self.source = failure.source
        self.ename = failure.type
        self.evalue = failure.message
        self.traceback = failure.traceback.splitlines()

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.record)
