"""Ctrl-C: delayed until work that must not stay half done has ended, and passed on to other threads.

Python raises KeyboardInterrupt in the main thread only, and handlers of signals can be set there only. So
a thread that runs an instance looks every moment at what has become of the main thread.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socket import socket

_MOMENT = 0.1  # seconds between two looks at the main thread
_PATIENCE = 10.0  # seconds for interrupted instances to end
_of_thread = threading.local()
_listening: set[int] = set()  # the threads that look at the main one
_change = threading.Condition()  # of these
_has_been_passed_on = threading.Event()
_ended_early: set[int] = set()  # threads whose work is to end, whatever the keyboard does


@contextlib.contextmanager
def keyboard_later() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block."""
    earlier = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(earlier):
        yield
        return
    pressed: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
    if pressed:
        earlier(*pressed[-1])


@contextlib.contextmanager
def keyboard_of_main_thread() -> Iterator[None]:
    """Have `raise_if_pressed` and `wait`, in another thread, raise what Ctrl-C raises in the main one.

    Work that begins while the main thread is ending after Ctrl-C, as what waits in a pool of threads, is
    interrupted at once.
    """
    if threading.current_thread() is threading.main_thread():
        yield
        return
    _of_thread.known = [_uncaught()] if _is_interactive() else []
    with _change:
        _listening.add(threading.get_ident())
    try:
        yield
    finally:
        del _of_thread.known
        with _change:
            _listening.remove(threading.get_ident())
            _ended_early.discard(threading.get_ident())
            _change.notify_all()


def interrupt(thread: int) -> None:
    """Raise in a thread, which is within `keyboard_of_main_thread`, what Ctrl-C raises, once.

    Args:
        thread: Its `threading.get_ident`.
    """
    if thread == threading.main_thread().ident:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(thread, signal.SIGINT)
        else:
            _thread.interrupt_main()
        return
    with _change:
        if thread in _listening:
            _ended_early.add(thread)


def concerns_threads() -> bool:
    """Return whether Ctrl-C has ended work of other threads, or is going to."""
    return _has_been_passed_on.is_set() or bool(_listening)


def let_threads_end() -> None:
    """Wait, where Ctrl-C ends the process, until it has ended the work of other threads as well.

    Python itself does not wait for a thread that it was waiting for when Ctrl-C came (before 3.13).
    """
    if isinstance(_uncaught(), KeyboardInterrupt) and not _is_interactive():
        with _change:
            _change.wait_for(lambda: not _listening, _PATIENCE)


def raise_if_pressed() -> None:
    """Raise Ctrl-C of the main thread in one that takes it from there, each once.

    Raises:
        KeyboardInterrupt: If it was pressed.
    """
    if (known := getattr(_of_thread, "known", None)) is None:
        return
    if threading.get_ident() in _ended_early:
        _ended_early.discard(threading.get_ident())
        raise KeyboardInterrupt
    for error in (_handled(), _uncaught()):
        if isinstance(error, KeyboardInterrupt) and all(error is not other for other in known):
            known.append(error)
            _has_been_passed_on.set()
            raise KeyboardInterrupt


def moments(seconds: float) -> float:
    """Return for how long to wait at a time, of so many seconds, before the next `raise_if_pressed`."""
    return seconds if getattr(_of_thread, "known", None) is None else min(seconds, _MOMENT)


def wait(things: Sequence[int | socket], seconds: float) -> list[Any]:
    """Wait as `multiprocessing.connection.wait` does, in any thread until Ctrl-C.

    Raises:
        KeyboardInterrupt: As `raise_if_pressed` does.
    """
    from multiprocessing import connection

    end = time.monotonic() + seconds
    while True:
        raise_if_pressed()
        left = max(end - time.monotonic(), 0.0)
        found = connection.wait(things, moments(left))
        if found or time.monotonic() >= end:
            return found


def _handled() -> BaseException | None:
    """Return the exception that the main thread is handling, or because of which it leaves `with`."""
    found: Any = sys._current_exceptions().get(threading.main_thread().ident or 0)  # noqa: SLF001
    error = found[1] if isinstance(found, tuple) else found  # a tuple before Python 3.12
    return error if isinstance(error, BaseException) else None


def _is_interactive() -> bool:
    """Return whether this is a session with prompts, which goes on after Ctrl-C."""
    return hasattr(sys, "ps1")


def _uncaught() -> BaseException | None:
    """Return the last exception that nothing has caught: Python and Jupyter keep it when they print it."""
    error = getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None
