"""Sessions at a terminal, in which debuggers ask (POSIX)."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any, Self

from helpers.sessions import PATIENCE, own_environment

PROMPT = "ipdb> "


class AtTerminal:
    """A session of pytest at a terminal of its own.

    Args:
        folder: The working directory.
        arguments: The command line.
        variables: Environment variables in addition to those of this process.
    """

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        import pexpect

        command = ["-m", "pytest", "-p", "no:cacheprovider", "--color=no", "--ductaflow", *arguments]
        environment = {**own_environment(**variables), "TERM": "dumb", "COLUMNS": "120"}
        self._process: Any = pexpect.spawn(
            *(sys.executable, command),
            cwd=str(folder),
            env=environment,
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(50, 120),
        )
        self._end = pexpect.EOF
        self._is_gone = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_gone:
            self._process.close(force=True)

    def until(self, text: str) -> str:
        """Wait for a text, and return what came before it."""
        self._process.expect_exact(text)
        return str(self._process.before).replace("\r\n", "\n")

    def until_prompt(self) -> str:
        return self.until(PROMPT)

    def enter(self, line: str) -> None:
        self._process.sendline(line)

    def answer(self, line: str) -> str:
        """Enter a line at the prompt, and return what is printed before the next one."""
        self.enter(line)
        return self.until_prompt().partition("\n")[2]

    def press_ctrl_c(self) -> None:
        self._process.sendintr()

    def press_ctrl_d(self) -> None:
        self._process.sendeof()

    def terminate(self) -> None:
        """Send what ends a job."""
        self._process.kill(signal.SIGTERM)

    def hang_up(self) -> int:
        """Close the terminal, and return the exit code."""
        self._is_gone = True
        os.close(self._process.child_fd)
        return int(os.waitstatus_to_exitcode(os.waitpid(self._process.pid, 0)[1]))

    def rest(self) -> str:
        """Wait for the end, and return what is printed until then."""
        self._process.expect(self._end)
        return str(self._process.before).replace("\r\n", "\n")
