"""Let flows be debugged at pytest's terminal: `--pdb` where they fail, and `breakpoint()`."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.config import create_terminal_writer

from ...core.errors import InstanceFailed
from ...core.forking.start import folder_for_sockets
from ...core.instance import stem_of
from ...core.record import Record, Status
from ...core.run_directory.layout import RunFiles
from ...report.failure_text import debug_command, failed_first, quoted
from ..items import AfterItem, PlannedItem, write_now

_OWN = "pdbinvoke"  # pytest's plugin that opens its own debugger, which cannot look into a kernel
_UNSUITABLE = {
    "usepdb_cls": "--pdbcls is for tests: flows are debugged in their kernels, with IPython's debugger",
    "trace": "--trace is for tests: write breakpoint() into a flow where it is to stop",
}


class SessionTerminal:
    """The terminal of this session; see `running.debugging.terminal.Terminal`.

    A session that is to stop asks nothing any more.

    Args:
        session: pytest's session.
        after_failure: Whether a debugger opens where a cell has failed.
        allows_input: Whether flows may ask with `input()`.

    Attributes:
        has_asked: Whether a debugger was open for the current item.
        refusal: Why none was opened for it; empty if nothing is known.
    """

    def __init__(self, session: pytest.Session, *, after_failure: bool, allows_input: bool) -> None:
        self.after_failure, self.allows_input = after_failure, allows_input
        self._session, self._config = session, session.config
        self._door: socket.socket | None = None
        self._folder = ""
        self._is_open = False  # from `enter` to `leave`
        self._suspended = 0
        self.begin_item()

    def begin_item(self) -> None:
        self.has_asked = self._was_open = False
        self.refusal = ""

    @property
    def address(self) -> str:
        """The path of its socket, which is opened if necessary; "" if the system has none."""
        if not hasattr(socket, "AF_UNIX"):
            return ""
        if self._door is None:
            self._folder = tempfile.mkdtemp(prefix="dk", dir=folder_for_sockets())
            self._door = socket.socket(socket.AF_UNIX)
            self._door.bind(os.path.join(self._folder, "terminal"))
            self._door.listen()
        return os.path.join(self._folder, "terminal")

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def fileno(self) -> int | None:
        return self._door.fileno() if self._door is not None else None

    def take(self) -> None:
        """Serve a flow of a build until its debugger is closed."""
        from ...running.debugging.terminal import Lines, send

        if self._door is None:
            return
        connection = self._door.accept()[0]
        with connection, contextlib.ExitStack() as stack, contextlib.suppress(EOFError):
            lines, is_interrupted = Lines(connection), False
            while True:
                try:
                    words = lines.next()
                except KeyboardInterrupt:
                    if is_interrupted:
                        raise
                    is_interrupted = True
                    send(connection, interrupt=True)
                    continue
                is_interrupted = False
                if "enter" in words:
                    title, text, only_first = words["enter"]
                    send(connection, entered=self.enter(title, text, only_first=only_first))
                    stack.callback(self.leave)
                elif "show" in words:
                    self.show(words["show"])
                elif "ask" in words:
                    send(connection, answer=self._answer(words))
                elif "refuse" in words:
                    self.refuse(words["refuse"])

    def _answer(self, words: dict[str, Any]) -> str | None:
        with contextlib.suppress(EOFError):
            return self.ask(words["ask"], password=words["password"])
        return None

    def enter(self, title: str, text: str, *, only_first: bool = False) -> bool:
        if (only_first and self._was_open) or self._session.shouldstop:
            return False
        self._is_open = self._was_open = True
        self._suspend()
        with self._writing() as writer:
            writer.line()
            writer.sep(">", title)
            writer.line(_shown(text, writer))
            writer.line(
                "The variables of the flow are there. q, c or Ctrl-D leaves, and the session goes on."
            )
        return True

    def leave(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        with self._writing() as writer:
            writer.sep(">", "the session ends" if self._session.shouldstop else "the session goes on")
        self._resume()

    def show(self, text: str) -> None:
        with self._writing() as writer:
            writer.write(_shown(text, writer))

    def ask(self, prompt: str, *, password: bool = False) -> str:
        self.has_asked = True
        if self._session.shouldstop:
            raise EOFError
        before, newline, question = prompt.rpartition("\n")
        with self._asking():
            try:
                with self._writing() as writer:
                    if newline:
                        writer.line(_shown(before, writer))
                return _entered(_shown(question, writer, is_plain=True), password=password)
            except (EOFError, KeyboardInterrupt, OSError):
                with self._writing() as writer:
                    writer.line()
                raise EOFError from None

    def refuse(self, why: str) -> None:
        self.refusal = why

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        self._suspend()
        try:
            yield
        finally:
            self._resume()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        """Give what writes to the terminal, which may be gone."""
        writer = create_terminal_writer(self._config)
        with contextlib.suppress(OSError):
            yield writer
            writer.flush()

    def _suspend(self) -> None:
        self._suspended += 1
        if self._suspended > 1:
            return
        if (capture := self._config.pluginmanager.getplugin("capturemanager")) is not None:
            capture.suspend(in_=True)
        self._config.hook.pytest_enter_pdb(config=self._config, pdb=self)

    def _resume(self) -> None:
        self._suspended -= 1
        if self._suspended:
            return
        self._config.hook.pytest_leave_pdb(config=self._config, pdb=self)
        if (capture := self._config.pluginmanager.getplugin("capturemanager")) is not None:
            capture.resume()


def _shown(text: str, writer: Any, *, is_plain: bool = False) -> str:
    """Return a text without colours, unless the terminal shows them; a question is measured by its length."""
    from ...running.warning_lines import strip_ansi

    return text if writer.hasmarkup and not is_plain else strip_ansi(text)


def _entered(question: str, *, password: bool) -> str:
    if password:
        from getpass import getpass

        return getpass(question)
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - lets `input` edit lines
    return input(question)


class DebuggingHooks:
    """The hooks that open debuggers for flows, and leave pytest's own to the other items."""

    def __init__(self) -> None:
        self._terminal: SessionTerminal | None = None
        self._others: Any = None  # pytest's plugin

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        return [f"note: {text}" for name, text in _UNSUITABLE.items() if config.getoption(name)]

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        from ...running.debugging.terminal import use

        config = session.config
        self._others = config.pluginmanager.unregister(name=_OWN)
        self._terminal = _terminal_of(session)
        use(self._terminal)
        if self._terminal is not None:
            config.add_cleanup(self._terminal.close)
            config.add_cleanup(lambda: use(None))

    def pytest_runtest_logstart(self) -> None:
        if self._terminal is not None:
            self._terminal.begin_item()

    @pytest.hookimpl(tryfirst=True)
    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        """Say why a flow cannot be debugged, if no debugger was open; let pytest's debug what is no flow."""
        if self._others is None:
            return
        error = call.excinfo.value
        if not isinstance(node, PlannedItem) or not isinstance(error, InstanceFailed | KeyboardInterrupt):
            self._others.pytest_exception_interact(node, call, report)
            return
        if isinstance(error, KeyboardInterrupt):
            raise error  # with --pdb, pytest would go on
        record = getattr(error, "record", None)
        if self._terminal is None or self._terminal.has_asked or not isinstance(record, Record):
            return
        for line in _why_not(node, record, self._terminal.refusal):
            write_now(node.config, line)

    def pytest_internalerror(self, excinfo: Any) -> None:
        if self._others is not None:
            self._others.pytest_internalerror(excinfo)


def _terminal_of(session: pytest.Session) -> SessionTerminal | None:
    """Return the terminal at which flows of this session are debugged; None if there is none."""
    config = session.config
    if hasattr(config, "workerinput") or config.getoption("dist", "no") != "no":
        return None
    after_failure = bool(config.getoption("usepdb"))
    is_terminal = _is_at_terminal(config)
    if not (after_failure or is_terminal):
        return None
    allows_input = is_terminal and config.getoption("capture") == "no"
    return SessionTerminal(session, after_failure=after_failure, allows_input=allows_input)


def _is_at_terminal(config: pytest.Config) -> bool:
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend(in_=True)
    try:
        return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    except (AttributeError, ValueError):  # closed
        return False
    finally:
        if capture is not None:
            capture.resume()


def _why_not(item: PlannedItem, record: Record, refusal: str) -> Iterator[str]:
    """Yield lines on why no debugger was opened for a failure, and what there is instead."""
    here, root = item.config.invocation_params.dir, Path(item.instance.project_root)
    if isinstance(item, AfterItem):
        command = f"python -m pdb -c continue {quoted(os.path.relpath(item.path, here))}"
        yield f"nothing to debug in a kernel: the conductor itself failed; it stops there with: {command}"
        return
    failed = failed_first(record)
    yield f"nothing to debug: {refusal or _reason(record, failed)}"
    flow, config = root / failed.flow, RunFiles(root / failed.run_dir, stem_of(failed.flow)).config
    if not refusal and failed.status is Status.ERROR and flow.suffix == ".py" and config.exists():
        command = debug_command(os.path.relpath(flow, here), os.path.relpath(config, here))
        yield f"it runs in a debugger, without a kernel, with: {command}"


def _reason(record: Record, failed: Record) -> str:
    """Return why there was nothing to look into, from the records of an instance and of what failed in it."""
    if record.differs:
        return "no code failed, its outputs differ from those that are stored"
    if failed.error is None or failed.status is not Status.ERROR:
        return "no code failed, a warning line did it"
    message = failed.error.message.partition("\n")[0]
    if failed.error.cell is None:
        return f"no cell had begun: {message}"
    return f"its kernel has ended: {message}"
