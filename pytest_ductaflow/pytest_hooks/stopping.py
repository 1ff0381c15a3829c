"""End a session in order when it is stopped from outside: by signals, or a closed terminal or pipe.

In each case, records and report are closed; results of ended instances are kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

# Batch systems end a job with SIGTERM; a closed terminal sends SIGHUP.
_ENDS = ("SIGTERM", "SIGHUP")
_PATIENCE = 10.0  # seconds in which Ctrl-C does not interrupt an ending session


class StoppingHooks:
    """The hooks that turn signals into pytest's ending, once, and protect that from interruption.

    Args:
        hurry: Function that skips what an ending session need not wait for.
    """

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._session: pytest.Session | None = None
        self._is_stopped = False
        self._ending_since: float | None = None
        self._earlier: dict[signal.Signals, Any] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session
        self._take_signals()
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        writer = getattr(terminal, "_tw", None)
        if (stream := getattr(writer, "_file", None)) is not None:
            # pytest has no other place for it.
            writer._file = LastingStream(stream)  # type: ignore[union-attr]  # noqa: SLF001

    def _take_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGINT", *_ENDS):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            replaced = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            # nohup: an ignored signal stays ignored
            if number is not None and signal.getsignal(number) is replaced:
                self._earlier[number] = signal.signal(number, self._stop)

    def _stop(self, number: int, *_: object) -> None:
        """End the session; if it is ending already, make it faster."""
        self._is_stopped = True
        if self._session is not None and number != signal.SIGINT:  # which only leaves a debugger
            self._session.shouldstop = f"stopped by {signal.Signals(number).name}"
        since = self._ending_since
        if since is None or time.monotonic() - since > _PATIENCE:
            raise KeyboardInterrupt
        self._hurry()

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self._begin_to_end()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        self._begin_to_end()
        yield

    def _begin_to_end(self) -> None:
        if self._ending_since is None:
            self._ending_since = time.monotonic()

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        if self._is_stopped:  # pytest's work from here to the end of the process is not interrupted, either
            return
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier.clear()


class LastingStream:
    """A stream that accepts writes even when its reader is gone.

    Args:
        stream: Stream to a terminal, a pipe or a file.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_told = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Discard what is written from now on, and report that once on stderr."""
        _turn_to_nothing(self._stream)
        if self._is_told:
            return
        self._is_told = True
        why = error.strerror or type(error).__name__
        line = (
            f"ductaflow: standard output takes no more ({why}); the session goes on, its report tells how\n"
        )
        try:
            sys.__stderr__.write(line)  # type: ignore[union-attr]
            sys.__stderr__.flush()  # type: ignore[union-attr]
        except (OSError, AttributeError):  # the same terminal, or none
            _turn_to_nothing(sys.__stderr__)


def _turn_to_nothing(stream: Any) -> None:
    """Redirect a stream's descriptor to the null device, also for what Python writes at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, stream.fileno())
        finally:
            os.close(nothing)
        stream.flush()
