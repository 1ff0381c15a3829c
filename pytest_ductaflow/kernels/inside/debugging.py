"""Debug a flow inside its kernel, with the client's terminal: after a failure, and at `breakpoint()`.

Standalone like `setup`: it is sent to the kernel as text. The channel for input carries both directions:
what the debugger prints goes before the next prompt, so that it is in no cell's output.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from functools import wraps
from types import FrameType, TracebackType
from typing import Any

_CONNECT = 10.0  # seconds for the client's channel to be connected
_PAUSE = 0.01  # seconds between two attempts to ask
_NEEDS = "needs a terminal, and a single process (no -n): pytest --ductaflow … --pdb"
_OTHER_PROCESS = "breakpoint() works in the flow's own process only, not in one that it has started"
_OTHER_THREAD = "breakpoint() was passed: it works in the flow's main thread only"
_MACHINERY = ("IPython.", "ipykernel.")
_kernel = 0  # process


def offer_breakpoints(has_terminal: bool) -> None:
    """Make `breakpoint()` and `pdb.set_trace()` stop at the client's terminal.

    If it has none, the flow passes `breakpoint()`, as it does in a kernel of papermill, where debugpy's hook
    finds no debugger; `set_trace` fails, as it does there.
    """
    global _kernel  # noqa: PLW0603 - a module of its own in each kernel
    import pdb  # noqa: T100 - which a kernel has imported

    _kernel = os.getpid()
    from IPython.core import debugger

    pdb.set_trace = debugger.set_trace = _stop if has_terminal else _refuse
    # debugpy, which ipykernel imports, has put its own there
    sys.breakpointhook = sys.__breakpointhook__ if has_terminal else wraps(sys.breakpointhook)(_pass_by)


def _pass_by(*_: Any, **__: Any) -> None:
    warnings.warn(f"breakpoint() was passed: it {_NEEDS}", stacklevel=2)


def _refuse(*_: Any, **__: Any) -> None:
    raise RuntimeError(f"set_trace() {_NEEDS}")


def _stop(*_: Any, header: str | None = None, **__: Any) -> None:
    if os.getpid() != _kernel:
        raise RuntimeError(_OTHER_PROCESS)
    if threading.current_thread() is not threading.main_thread():
        warnings.warn(_OTHER_THREAD, stacklevel=2)
        return
    frame = sys._getframe().f_back  # noqa: SLF001
    debugger = _stepping_debugger(frame)
    if header is not None:
        debugger.message(header)
    debugger.is_at_breakpoint = True
    debugger.set_trace(frame)


def post_mortem() -> None:
    """Look into the frames of the last error until the user leaves; what that opens is not noted."""
    error: BaseException = sys.last_value  # type: ignore[assignment]
    frames = _frames_of_flow(error.__traceback__)
    with _unnoticed(), contextlib.suppress(KeyboardInterrupt), _with_traceback(error, frames):
        debugger = _debugger()
        debugger.reset()
        if frames is None:  # the cell has not begun: its syntax is wrong
            debugger.botframe = _frame_with_variables()
            debugger.interaction(debugger.botframe, None)
            return
        debugger.botframe = frames.tb_frame
        debugger.interaction(None, error if hasattr(debugger, "_chained_exceptions") else frames)


def _frames_of_flow(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the flow's own code on; None if there is none of that."""
    flow = _shell().user_ns
    while trace is not None and trace.tb_frame.f_globals is not flow:
        trace = trace.tb_next
    return trace


def _frame_with_variables() -> FrameType:
    """Return a frame that has the flow's variables, though nothing of the flow runs."""
    frame: FrameType = eval(compile("__import__('sys')._getframe()", "<flow>", "eval"), _shell().user_ns)  # noqa: S307
    return frame


@contextlib.contextmanager
def _with_traceback(error: BaseException, trace: TracebackType | None) -> Iterator[None]:
    whole = error.__traceback__
    error.__traceback__ = trace
    try:
        yield
    finally:
        error.__traceback__ = whole


@contextlib.contextmanager
def _unnoticed() -> Iterator[None]:
    """Keep what is opened and printed in the body of a `with` out of what the flow has used and printed."""
    setup: Any = sys.modules["_ductaflow_kernel"]
    spill, setup._spill = setup._spill, None  # noqa: SLF001
    try:
        with sys.modules["_ductaflow_trace"].unnoticed():
            yield
    finally:
        setup._spill = spill  # noqa: SLF001


def _shell() -> Any:
    return sys.modules["IPython"].get_ipython()


def _debugger(kind: Any = None) -> Any:
    terminal = _Terminal()
    # Without its handler of SIGINT, which would replace the kernel's.
    return (kind or _kind())(stdin=terminal, stdout=terminal, nosigint=True)


def _kind() -> Any:
    """Return IPython's debugger, not the one that kernels have in its place: Ctrl-C closes that.

    Its command `interact` prints values, where a kernel would publish them as the result of a cell.
    """
    from IPython.core import debugger

    class Debugger(debugger.InterruptiblePdb.__base__):  # type: ignore[name-defined,misc,unused-ignore]
        def do_interact(self, argument: str) -> None:
            publishing, sys.displayhook = sys.displayhook, sys.__displayhook__
            try:
                super().do_interact(argument)
            finally:
                sys.displayhook = publishing

    return Debugger


def _stepping_debugger(home: FrameType | None) -> Any:
    """Return a debugger that steps from a statement of a cell to the next one, and on to the next cell.

    It also stops in `home`, which asyncio may have called.

    IPython compiles and runs each statement of a cell by itself, so that Python's own would step into
    IPython.
    """
    kind = _kind()

    class Stepping(kind):  # type: ignore[misc,valid-type]
        is_at_breakpoint = False  # until it has stopped for the first time

        def stop_here(self, frame: FrameType) -> bool:
            return bool(super().stop_here(frame)) and (frame is home or _is_of_flow(frame))

        def user_call(self, frame: FrameType, arguments: Any) -> None:
            if not _is_statement(frame):
                super().user_call(frame, arguments)

        def user_line(self, frame: FrameType) -> None:
            self.is_at_breakpoint = False
            super().user_line(frame)

        def user_return(self, frame: FrameType, value: Any) -> None:
            if not _is_statement(frame):
                super().user_return(frame, value)
            elif self.is_at_breakpoint and _is_last(frame):  # perhaps nothing follows where it could stop
                self.is_at_breakpoint = False
                self.interaction(frame, None)

    stepping = _debugger(Stepping)
    stepping.report_skipped = False  # it would print that in the cell
    return stepping


def _is_statement(frame: FrameType) -> bool:
    """Return whether a frame is a statement of a cell."""
    code = frame.f_code
    is_ours = __name__ in code.co_consts  # the client's requests run as cells do
    is_cell = frame.f_globals is _shell().user_ns and not code.co_filename.startswith("<")
    return is_cell and code.co_name.startswith("<") and not is_ours


def _is_of_flow(frame: FrameType | None) -> bool:
    """Return whether a statement of a cell runs in a frame, or has called it, and it is not IPython's."""
    if frame is not None and str(frame.f_globals.get("__name__")).startswith(_MACHINERY):
        return False
    while frame is not None and not _is_statement(frame):
        frame = frame.f_back
    return frame is not None


def _is_last(frame: FrameType) -> bool:
    """Return whether nothing but comments follows in the cell."""
    following = linecache.getlines(frame.f_code.co_filename)[frame.f_lineno :]
    return all(not line.strip() or line.lstrip().startswith("#") for line in following)


class _Terminal:
    """The client's terminal as a file for both directions."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._printed = ""

    def write(self, text: str) -> int:
        self._printed += text
        return len(text)

    def flush(self) -> None:
        """Do nothing: what is printed goes with the next prompt."""

    def readline(self) -> str:
        """Return what the user enters, "" at the end of the input."""
        prompt, self._printed = self._printed, ""
        try:
            return f"{_ask(prompt)}\n"
        except EOFError:
            return ""


def _ask(prompt: str) -> str:
    """Ask the client's user, whether or not the flow itself may ask.

    Raises:
        EOFError: If the user is done.
    """
    import zmq

    kernel, end = _shell().kernel, time.monotonic() + _CONNECT
    allowed = kernel._allow_stdin  # noqa: SLF001
    kernel.stdin_socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # else a question to nobody would be dropped
    kernel._allow_stdin = True  # noqa: SLF001
    try:
        while True:
            try:
                return str(kernel.raw_input(prompt))
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH or time.monotonic() > end:
                    raise
                time.sleep(_PAUSE)
    finally:
        kernel._allow_stdin = allowed  # noqa: SLF001
        kernel.stdin_socket.setsockopt(zmq.ROUTER_MANDATORY, 0)
