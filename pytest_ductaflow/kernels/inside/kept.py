"""Make a kernel outlive the session that started it, until it is ended or has been idle for long.

Standalone like `setup`: it is sent to the kernel as text.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import threading
import time
from typing import Any

_EXIT = 5.0  # seconds in which it ends by itself when it is asked to, as exit handlers run
_LOOK = 30.0  # seconds between two looks whether it is idle, at most


class _AnyParent:
    """Equal to every process id, for ipykernel's thread that ends a kernel whose parent has changed."""

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def stay(folder: str, idle: float) -> None:
    """Stay when the session ends.

    Args:
        folder: The kernel's own folder, which is removed with it.
        idle: Seconds without a request after which it ends.
    """
    shell = sys.modules["IPython"].get_ipython()
    with open(os.path.join(folder, ".kept"), "w", encoding="ascii"):
        pass
    poller = getattr(shell.kernel.parent, "poller", None)
    if poller is not None:
        poller.parent_pid = _AnyParent()
    _publish_as_usual(shell.kernel)
    atexit.register(_remove, folder, os.getpid())
    if (trace := sys.modules.get("_ductaflow_trace")) is not None:
        trace._is_paused = True  # type: ignore[attr-defined]  # noqa: SLF001 - nobody reads it any more
    leaving = _exit_of(shell, folder)
    shell.user_ns.update(exit=leaving, quit=leaving)
    shell.user_ns_hidden.update(exit=leaving, quit=leaving)
    use = _Use()
    shell.events.register("pre_execute", use.begin)
    shell.events.register("post_execute", use.end)
    threading.Thread(target=_end_when_idle, args=(use, folder, idle), daemon=True).start()


def _publish_as_usual(kernel: Any) -> None:
    """Undo the flow control, as other clients than the session's read from now on."""
    setup = sys.modules["_ductaflow_kernel"]
    setup._spill, setup._way = None, None  # type: ignore[attr-defined]  # noqa: SLF001 - marks no sources, either
    publisher = kernel.iopub_thread
    for name in ("send_multipart", "is_full"):
        vars(publisher).pop(name, None)


def _exit_of(shell: Any, folder: str) -> Any:
    """Return what `exit` and `quit` are in a console, with parentheses or without."""
    from IPython.core.autocall import ExitAutocall

    class Leaving(ExitAutocall):  # type: ignore[misc,unused-ignore]
        def __call__(self) -> None:
            shell.ask_exit()
            timer = threading.Timer(_EXIT, _end, [folder])
            timer.daemon = True
            timer.start()

    return Leaving(shell)


class _Use:
    """When the kernel was used last."""

    def __init__(self) -> None:
        self._is_running, self._last = False, time.monotonic()

    def begin(self) -> None:
        self._is_running = True

    def end(self) -> None:
        self._is_running, self._last = False, time.monotonic()

    @property
    def idle(self) -> float:
        return 0.0 if self._is_running else time.monotonic() - self._last


def _end_when_idle(use: _Use, folder: str, idle: float) -> None:
    while use.idle < idle:
        time.sleep(min(_LOOK, max(idle - use.idle, 0.01)))
    _end(folder)


def _remove(folder: str, kernel: int) -> None:
    """Remove the kernel's folder, but not in a process that the flow has forked."""
    if os.getpid() == kernel:
        shutil.rmtree(folder, ignore_errors=True)


def _end(folder: str) -> None:
    _remove(folder, os.getpid())
    os._exit(0)
