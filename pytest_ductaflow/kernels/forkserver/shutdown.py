"""The end of a forked kernel: what the end of an interpreter would do that a flow can notice."""

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
from typing import NoReturn

import psutil

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_PATIENCE = 1.0  # seconds between asking and forcing what the flow has started and not ended
_last_module_at_first = ""  # of those that a kernel has imported when its flow begins


def remember_modules() -> None:
    """What is imported from now on is the flow's."""
    global _last_module_at_first  # noqa: PLW0603 - of this process
    _last_module_at_first = next(reversed(sys.modules))


def leave(code: int, last_word: Callable[[], None]) -> NoReturn:
    """End the process as the interpreter would, as far as a flow can notice; what remains is thrown away.

    Threads are joined, `atexit` handlers run, objects of the flow are deleted and files written to their
    end. The modules are not taken down one by one.

    Args:
        code: Exit code.
        last_word: Called when nothing of the flow is left to run.
    """
    for step in (
        _join_threads,
        atexit._run_exitfuncs,
        _clear_modules_of_project,
        flush_files,
        _flush_c_library,
        _end_children,
        last_word,
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
    """What they hold ends with them, as what the flow itself has held."""
    # Not one by one through all of them: what is looked at is written to, and its page copied.
    for name in list(takewhile(lambda name: name != _last_module_at_first, reversed(sys.modules))):
        module = sys.modules[name]
        if not str(getattr(module, "__file__", None) or _INSTALLED[0]).startswith(_INSTALLED):
            vars(module).clear()  # one of the project
    gc.collect()


def flush_files() -> None:
    """Files that something else still holds; those from before the fork are frozen and not looked at."""
    for thing in gc.get_objects():
        if isinstance(thing, io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom) and not thing.closed:
            with contextlib.suppress(Exception):
                thing.flush()


def close_gzip_files() -> None:
    """From Python 3.12 on they are in a circle, which may be taken down from the end without a trailer."""
    if (gzip := sys.modules.get("gzip")) is not None:
        for thing in gc.get_objects():
            if isinstance(thing, gzip.GzipFile):
                with contextlib.suppress(Exception):
                    thing.close()


def _flush_c_library() -> None:
    """What libraries in C have not written yet."""
    ctypes.CDLL(None).fflush(None)


def _end_children() -> None:
    """Processes that the flow has started and left behind, in whatever session they are."""
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
    """Return whether there is a child, running or not waited for yet; no file is opened for that."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
