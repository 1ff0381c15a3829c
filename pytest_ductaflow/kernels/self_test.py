"""Try a forked kernel before flows get one, where libraries are newer than those that are known to work.

Forked kernels use private parts of ipykernel and IPython, which any release may change. With releases newer
than those of `_KNOWN`, the first kernel of a server runs one cell that prints, and ends; otherwise none does.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from typing import Any

from ..core.errors import KernelStartError
from .forked import ForkedKernel

_KNOWN = {"ipykernel": (7, 4), "ipython": (9, 18), "jupyter_client": (8, 10), "pyzmq": (27, 3)}
_TEXT = "a forked kernel prints"
_PRINTS = f"print({_TEXT!r})"
_PATIENCE = 30.0  # seconds for each step
_lock = threading.Lock()


@lru_cache(maxsize=1)
def has_untested_libraries() -> bool:
    """Return whether a library that forked kernels take apart is newer than the tests have seen."""
    for name, newest in _KNOWN.items():
        with contextlib.suppress(metadata.PackageNotFoundError, ValueError):
            release = metadata.version(name).split(".")[:2]
            if tuple(int(part) for part in release) > newest:
                return True
    return False


def problem_of(server: str) -> str | None:
    """Return what does not work in a kernel that a server forks; None if all does.

    Args:
        server: The socket of the server.
    """
    if not has_untested_libraries():
        return None
    with _lock:  # one kernel for all threads
        return _found_in(server)


@lru_cache
def _found_in(server: str) -> str | None:
    try:
        kernel = ForkedKernel(server, preload=[], cwd=tempfile.gettempdir(), env=dict(os.environ))
    except KernelStartError as error:
        return str(error)
    try:
        return _problem_in_cell(kernel) or _problem_at_end(kernel)
    except Exception as error:  # whatever a changed library raises
        return f"{type(error).__name__}: {error}"
    finally:
        kernel.client.stop_channels()
        kernel.close()


def _problem_in_cell(kernel: ForkedKernel) -> str | None:
    printed: list[str] = []

    def take(message: Mapping[str, Any]) -> None:
        printed.append(message["content"].get("text", ""))

    kernel.client.start_channels(hb=False)
    kernel.client.wait_for_ready(timeout=_PATIENCE)
    reply = kernel.client.execute_interactive(_PRINTS, allow_stdin=False, timeout=_PATIENCE, output_hook=take)
    if reply["content"]["status"] != "ok":
        return f"a cell that prints ends with {reply['content'].get('ename')}"
    return None if _TEXT in "".join(printed) else "what a cell prints is lost"


def _problem_at_end(kernel: ForkedKernel) -> str | None:
    kernel.client.shutdown()
    return None if kernel.wait(_PATIENCE) else "it does not end"
