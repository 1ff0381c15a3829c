"""Have instances run by a child of the warm process, and wait for their records."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from functools import lru_cache
from typing import IO

from ...core.forking.client import WarmProcess
from ...core.forking.place import RUNS, find
from ...core.forking.start import SERVER_VARIABLE
from ...core.instance import Neighbours
from ...core.record import INTERRUPTED, STOPPED, Failure, Record
from ...core.system.child_process import may_fork
from ...tracking.digests import delegate_code_digests, digest_of_code
from ..single_run import Task, publish_failure
from .child import Child

_LOST = "the process that runs instances has ended"


@lru_cache(maxsize=1)
def runner_of_this_session() -> ChildRunner | None:
    """Return the child of a warm process that runs this process's instances; None if there is none."""
    is_within_flow = SERVER_VARIABLE in os.environ
    if is_within_flow or not may_fork() or (warm := find(RUNS)) is None:
        return None
    with contextlib.suppress(OSError):
        return ChildRunner(warm)
    return None


def finish() -> list[str]:
    """Wait for pages that are still being written; return their warnings, which are also in the records."""
    runner = runner_of_this_session() if runner_of_this_session.cache_info().currsize else None
    return runner.finish() if runner is not None else []


def hurry() -> None:
    """Make `finish` skip the pages that are missing."""
    runner = runner_of_this_session() if runner_of_this_session.cache_info().currsize else None
    if runner is not None:
        runner.hurry()


class ChildRunner:
    """A child of a warm process that runs instances, one at a time.

    Args:
        warm: The warm process.

    Raises:
        OSError: If it forks no child.
    """

    def __init__(self, warm: WarmProcess) -> None:
        self._child = Child(warm, (1, 2))
        delegate_code_digests(self._code_digest)

    def run(self, task: Task, echo: IO[str] | None) -> tuple[Record, bool]:
        """Run an instance as `single_run.run_from_clean_start` does.

        Raises:
            KeyboardInterrupt: As there.
        """
        made_beside, task = task.made_beside, replace(task, made_beside=Neighbours().made_beside)
        if echo is not None:
            echo.flush()
        try:
            self._child.send("run", task, dict(os.environ), os.getcwd(), echo is not None)
            while True:
                match self._child.answer():
                    case "beside", folder:
                        self._child.send_value(made_beside(folder))
                    case "done", record, interrupted:
                        return record, interrupted
                    case "raised", error:
                        raise error
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._forget()
            return publish_failure(task.files, task.running, Failure("ProcessLost", _LOST)), False
        except KeyboardInterrupt:
            self._give_up(task)
            raise

    def _code_digest(self, path: str) -> str | None:
        try:
            self._child.send("digest", path)
            digest: str | None = self._child.receive()
        except (EOFError, OSError):
            self._forget()
            return digest_of_code(path)
        return digest

    def _forget(self) -> None:
        """Let the child end, and have the rest of the session run without it."""
        delegate_code_digests(None)
        runner_of_this_session.cache_clear()
        self._child.close()

    def _give_up(self, task: Task) -> None:
        """Kill a child that does not end after Ctrl-C, or that was interrupted twice."""
        if self._child.kill():
            publish_failure(task.files, task.running, Failure(INTERRUPTED, STOPPED))
        self._forget()

    def finish(self) -> list[str]:
        """Wait for its pages, and let it end; return warnings of what went wrong."""
        warnings: list[str] = []
        with contextlib.suppress(EOFError, OSError):
            self._child.send("finish")
            warnings = self._child.receive()[1]
        self._forget()
        return warnings

    def hurry(self) -> None:
        """Give up the pages that are missing."""
        with contextlib.suppress(OSError):
            self._child.send("hurry")
