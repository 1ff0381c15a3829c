"""Show how far a session is while it runs: in a line of the terminal, or once a minute in the log of a CI."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Generator
from typing import Any, Literal

import pytest
from _pytest.compat import running_on_ci
from _pytest.terminal import TerminalReporter

from ...core.outcome import outcome_of
from ..items import SETTINGS
from ..ordering import BLOCKED
from ..outcomes import record_of
from .progress import Progress
from .progress_text import log_line, status_line
from .screen import Screen

DELAY = 0.5  # seconds before a line is shown at first: short sessions need none
PAUSE = 0.1  # minimum seconds between two changes of the line
TICK = 1.0  # seconds after which times in it are told anew
LOG_PAUSE = 60.0  # seconds between two lines in a log

Way = Literal["line", "log"]


def way_to_show(config: pytest.Config) -> Way | None:
    """Return how progress is shown; None where pytest's users expect pytest's own output alone."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if type(terminal) is not TerminalReporter:  # none is wanted, or another one draws what it likes
        return None
    if config.get_verbosity() < 0 or config.getoption("collectonly") or config.getoption("capture") == "no":
        return None
    if running_on_ci():
        return "log"
    is_able = os.environ.get("TERM") != "dumb" and sys.platform != "win32"
    return "line" if terminal.isatty() and is_able else None


class ProgressHooks:
    """The hooks that follow a session, and show how far it is.

    Args:
        config: pytest's config.
        progress: What is known of the instances; whoever knows the plan tells it at the beginning.
    """

    def __init__(self, config: pytest.Config, progress: Progress) -> None:
        self._config = config
        self._progress = progress
        self._shown: _Line | _Log | None = None
        self._has_begun = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """End all that with the last instance, however the session ends."""
        try:
            return (yield)
        finally:
            if self._shown is not None:
                self._shown.end()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self._progress.started(nodeid):
            self._begin()
            self._tell()

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = record_of(report)
        if record is not None and record.retry_at is not None:
            self._progress.waits(report.nodeid)
            self._tell()
        elif (outcome := self._outcome(report)) is not None:
            self._progress.ended(report.nodeid, outcome, record.duration if record is not None else None)
            self._tell()

    def pytest_enter_pdb(self) -> None:
        if isinstance(self._shown, _Line):
            self._shown.pause()

    def pytest_leave_pdb(self) -> None:
        if isinstance(self._shown, _Line):
            self._shown.resume()

    def _outcome(self, report: pytest.TestReport) -> str | None:
        """Return how an instance has ended; None if the report does not tell that."""
        if str(report.outcome) == "rerun":  # another plugin's, of an attempt before the last
            return None
        record = record_of(report)
        if report.failed:
            return "failed"
        if record is not None:
            outcome = outcome_of(record.status, self._config.stash[SETTINGS].warnings)
            return "unchanged" if outcome == "passed" and record.unchanged else outcome
        if report.skipped:
            return "blocked" if hasattr(report, BLOCKED) else "skipped"
        return None

    def _begin(self) -> None:
        """Begin to show something with the first instance, after all that precedes it."""
        if self._has_begun:
            return
        self._has_begun = True
        way = way_to_show(self._config)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        with contextlib.suppress(OSError):  # the terminal is closed, or is none
            if way == "line":
                self._shown = _Line(terminal, self._progress)
            elif way == "log":
                self._shown = _Log(terminal, self._progress)

    def _tell(self) -> None:
        if isinstance(self._shown, _Line):
            self._shown.changed.set()


class _Line:
    """A thread that shows the line below pytest's output, until it is told to end."""

    def __init__(self, terminal: Any, progress: Progress) -> None:
        self._writer = terminal._tw  # noqa: SLF001 - pytest has no other way to see what it writes
        self._progress = progress
        self._now = progress.snapshot()
        self._screen = Screen(self._writer._file, self._text, self._writer.width_of_current_line)  # noqa: SLF001
        self._writer._file = self._screen  # noqa: SLF001
        self.changed = threading.Event()
        self._ending = threading.Event()
        self._is_paused = False
        self._thread = threading.Thread(target=self._follow, name="ductaflow-status-line", daemon=True)
        self._thread.start()

    def _text(self, width: int) -> str:
        pieces = status_line(self._now, width)
        return "".join(
            self._writer.markup(text, **{colour: True}) if colour else text for text, colour in pieces
        )

    def _follow(self) -> None:
        self._ending.wait(DELAY)
        while not self._ending.is_set():
            self.changed.clear()
            self._now = self._progress.snapshot()  # takes longer than pytest may wait for the screen
            if not self._is_paused:
                self._screen.draw()
            self._ending.wait(PAUSE)
            self.changed.wait(TICK)

    def pause(self) -> None:
        self._is_paused = True
        self._screen.erase()

    def resume(self) -> None:
        self._is_paused = False
        self.changed.set()

    def end(self) -> None:
        self._ending.set()
        self.changed.set()
        self._thread.join()
        self._screen.close()
        if self._writer._file is self._screen:  # noqa: SLF001
            self._writer._file = self._screen.stream  # noqa: SLF001


class _Shared:
    """The stream of pytest's terminal, to which another thread adds whole lines.

    Args:
        stream: The stream.
        log: Descriptor of where it leads. While pytest captures what tests print, its own leads elsewhere.
        is_at_start: Whether its last line is complete.
    """

    def __init__(self, stream: Any, log: int, *, is_at_start: bool) -> None:
        self.stream = stream
        self._log = log
        self._is_at_start = is_at_start
        self._is_complete = True  # else a line that was added has no end yet: pytest often begins with that
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            if text and not self._is_complete and not text.startswith("\n"):
                self.stream.write("\n")
            written: int = self.stream.write(text)
            self.stream.flush()
            if text:
                self._is_at_start, self._is_complete = text.endswith("\n"), True
            return written

    def add(self, line: str) -> None:
        """Write a line; what comes next is in another one."""
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        with self._lock, contextlib.suppress(OSError):
            before = "" if self._is_at_start else "\n"
            self._is_at_start = self._is_complete = False
            os.write(self._log, f"{before}{line}".encode(encoding, "replace"))

    def close(self) -> None:
        """Complete the last line."""
        with contextlib.suppress(OSError):
            os.write(self._log, b"" if self._is_complete else b"\n")
        os.close(self._log)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Log:
    """A thread that writes a line into the log of a CI once a minute, until it is told to end."""

    def __init__(self, terminal: Any, progress: Progress) -> None:
        self._terminal = terminal
        self._writer = terminal._tw  # noqa: SLF001
        self._progress = progress
        file = self._writer._file  # noqa: SLF001
        file.flush()  # what pytest has written so far comes first
        self._stream = _Shared(
            file, os.dup(file.fileno()), is_at_start=not self._writer.width_of_current_line
        )
        self._writer._file = self._stream  # noqa: SLF001
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ductaflow-log", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._ending.wait(LOG_PAUSE):
            if self._terminal.showlongtestinfo:
                self._terminal.currentfspath = None  # so that it names the instance anew
            self._writer._current_line = ""  # noqa: SLF001
            self._stream.add(log_line(self._progress.snapshot()))

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        self._stream.close()
        if self._writer._file is self._stream:  # noqa: SLF001
            self._writer._file = self._stream.stream  # noqa: SLF001
