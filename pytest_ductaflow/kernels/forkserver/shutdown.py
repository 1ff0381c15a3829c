"""End a forked kernel: do what a flow can notice of the end of an interpreter."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import io
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from itertools import takewhile
from typing import Any, NoReturn

import psutil

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_PATIENCE = 1.0  # seconds between SIGTERM and SIGKILL for processes that the flow left running
_last_module_at_first = ""  # the last module imported before the flow begins


def remember_modules() -> None:
    """Remember which modules are imported; later ones are the flow's."""
    global _last_module_at_first  # noqa: PLW0603 - of this process
    _last_module_at_first = next(reversed(sys.modules))


def leave(code: int, *last: Callable[[], None]) -> NoReturn:
    """End the process as the interpreter would, as far as a flow can notice, and skip the rest.

    Threads are joined, `atexit` handlers run, objects of the flow are deleted and files flushed. The modules
    are not torn down one by one.

    Args:
        code: Exit code.
        last: Functions to call when nothing of the flow is left to run.
    """
    for step in (
        _join_threads,
        atexit._run_exitfuncs,
        _clear_modules_of_project,
        flush_files,
        _flush_c_library,
        _end_children,
        *last,
    ):
        try:
            step()
        except BaseException:
            with contextlib.suppress(Exception):
                traceback.print_exc(file=sys.__stderr__)
    os._exit(code)


def _join_threads() -> None:
    threading._shutdown()  # type: ignore[attr-defined]


def _clear_modules_of_project() -> None:
    """Clear the modules of the project, so that their objects are deleted like the flow's own."""
    # Not all modules are examined: access changes reference counts and copies pages.
    for name in list(takewhile(lambda name: name != _last_module_at_first, reversed(sys.modules))):
        module = sys.modules[name]
        if not str(getattr(module, "__file__", None) or _INSTALLED[0]).startswith(_INSTALLED):
            vars(module).clear()  # one of the project
    gc.collect()


def flush_files() -> None:
    """Flush open files; files opened before the fork are frozen and skipped."""
    for thing in _instances_of(io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
        with contextlib.suppress(Exception):
            if not thing.closed:
                thing.flush()


def close_gzip_files() -> None:
    """Close gzip files: from Python 3.12 on, a reference cycle may delete them without writing a trailer."""
    if (gzip := sys.modules.get("gzip")) is not None:
        for thing in _instances_of(gzip.GzipFile):
            with contextlib.suppress(Exception):
                thing.close()


def _instances_of(*classes: type) -> list[Any]:
    """Return what is an instance by its type; a proxy whose object is gone raises if `isinstance` asks it."""
    return [thing for thing in gc.get_objects() if issubclass(type(thing), classes)]


def _flush_c_library() -> None:
    """Flush what libraries in C have not written yet."""
    ctypes.CDLL(None).fflush(None)


def _end_children() -> None:
    """End processes that the flow has started and left running, in any session."""
    if not _has_children():
        return
    found = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(found, timeout=_PATIENCE)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _has_children() -> bool:
    """Return whether there is a child process, running or not reaped yet, without opening a file."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
