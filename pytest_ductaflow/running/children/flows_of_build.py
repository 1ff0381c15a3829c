"""Have the flows of a build checked and run by a process outside of its kernel, where there is one.

In a kernel each file that is opened is reported to an observer, and running a flow opens a hundred. Also, the
kernel need not import what that takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from ...core.forking.client import WarmProcess
from ...core.forking.start import RUNNERS_VARIABLE, SERVER_VARIABLE
from ...core.instance import Instance
from ...core.problem import Problem
from ...core.record import INTERRUPTED, STOPPED, Failure, Record, Status
from ...core.run_directory.build_variable import surrounding_build
from ...core.run_directory.layout import RunFiles, display_path
from ...core.run_directory.record_files import close_record, tell_build
from ...core.settings import Settings
from ...core.system.child_process import umask
from .child import Child

_LOST = "the process that ran it has ended"
_START = 60.0  # seconds for the process that forks it to start


def run_outside(instance: Instance, settings: Settings, *, page_may_follow: bool) -> Record | None:
    """Run an instance as `run_instance.run` does, in a process outside of the kernel that this code runs in.

    Args:
        instance: What to run.
        settings: As for `run`.
        page_may_follow: As for `run`.

    Returns:
        The record; None if there is no such process.

    Raises:
        KeyboardInterrupt: After record and notebook have been saved.
    """
    with _borrowed_runner() as runner:
        return None if runner is None else runner.run(instance, settings, page_may_follow=page_may_follow)


def checked_outside(check: Callable[[], Problem | None]) -> Problem | None:
    """Return the result of a check of a flow, which is made by the process that will run the flow.

    That has imported Jupytext. If there is no such process, the check is made here.
    """
    with _borrowed_runner() as runner:
        return check() if runner is None else runner.checked(check)


@contextlib.contextmanager
def _borrowed_runner() -> Iterator[_Runner | None]:
    """Take a process that runs flows of this build, if there can be one, and give it back if it lives."""
    runner = _runners.take() if surrounding_build() is not None else None
    if runner is None:
        yield None
        return
    try:
        yield runner
    except BaseException:
        runner.close()
        raise
    if runner.is_lost:
        runner.close()
    else:
        _runners.give_back(runner)


class _Runner:
    """A process that runs the flows of this build, one at a time.

    Args:
        warm: The warm process to fork it from.

    Raises:
        OSError: If it forks no child.
    """

    def __init__(self, warm: WarmProcess) -> None:
        self.is_lost = False
        self._child = Child(warm)

    def run(self, instance: Instance, settings: Settings, *, page_may_follow: bool) -> Record:
        """Run an instance.

        Raises:
            KeyboardInterrupt: As `run_outside`.
        """
        here = dict(os.environ), os.getcwd(), umask()
        try:
            self._child.send("call", instance, settings, page_may_follow, *here)
            while True:
                match self._child.answer():
                    case "say", line:
                        print(line, file=sys.stderr, flush=True)
                    case "done", Record() as record:
                        return record
                    case "raised", error:
                        raise error
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.is_lost = True
            return _lost(instance)
        except KeyboardInterrupt:
            if self._child.kill():
                close_record(instance, STOPPED, INTERRUPTED)
            raise

    def checked(self, check: Callable[[], Problem | None]) -> Problem | None:
        """Return the result of a check, which is made there as long as the process lives."""
        try:
            self._child.send("check", check)
            problem: Problem | None = self._child.receive()  # not `answer`: Ctrl-C ends this at once
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.is_lost = True
            return check()
        return problem

    def close(self) -> None:
        self._child.close()


class _Runners:
    """The processes that run flows of this build: as many as its threads run at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._free: list[_Runner] = []

    def take(self) -> _Runner | None:
        """Return one that is free, forked if necessary; None if none can be forked."""
        with self._lock:
            if self._owner != os.getpid():  # a process that the build has forked does not share these
                self._begin()
            if self._free:
                return self._free.pop()
        executable, place = json.loads(os.environ.get(RUNNERS_VARIABLE, '["", ""]'))
        if executable != sys.executable or SERVER_VARIABLE not in os.environ:  # an ordinary kernel
            return None
        with contextlib.suppress(OSError):
            return _Runner(WarmProcess(Path(place), _START))
        return None

    def give_back(self, runner: _Runner) -> None:
        with self._lock:
            self._free.append(runner)


_runners = _Runners()


def _lost(instance: Instance) -> Record:
    """Return the record of an instance whose process has ended, and close the one on disk."""
    record = close_record(instance, _LOST, "ProcessLost")
    if record is None:
        files, root = RunFiles.of(instance), instance.project_root
        record = Record(
            status=Status.ERROR,
            flow=display_path(instance.flow, root),
            step=instance.step,
            instance=instance.name,
            run_dir=display_path(files.directory, root),
            error=Failure("ProcessLost", _LOST),
        )
    tell_build(record)
    return record
