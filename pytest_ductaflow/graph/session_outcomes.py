"""Share among the processes of a session how its instances ended.

An instance is a number: its position in the plan. All processes append to one file, each line in a single
write, so that no lock is needed and no process takes a partial line for a complete one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from ..core.outcome import Outcome

_OUTCOMES: dict[str, Outcome] = {outcome: outcome for outcome in get_args(Outcome)}


class SessionOutcomes:
    """The final outcome on each instance that has ended.

    Args:
        file: File that the processes of a session share; None if there is only one process.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._position = 0  # in the file, in bytes: read up to here
        self._outcomes: dict[int, Outcome] = {}
        self._unwritten = b""  # lines that could not be written (disk full); retried with the next line

    def write(self, number: int, outcome: Outcome) -> None:
        """Record that an instance has ended for good; if the disk is full, other processes see it later."""
        if self._file is None:
            self._outcomes[number] = outcome
            return
        lines, written = self._unwritten + f"{number} {outcome}\n".encode(), 0
        with contextlib.suppress(OSError), open(self._file, "ab", buffering=0) as stream:
            written = stream.write(lines) or 0
        # A write may have been cut short: the newline in front ends the torn line.
        self._unwritten = b"" if written == len(lines) else b"\n" + lines.lstrip()
        if self._unwritten:
            self._outcomes[number] = outcome

    def read(self) -> Mapping[int, Outcome]:
        """Return all outcomes so far, by instance number."""
        if self._file is not None:
            with contextlib.suppress(FileNotFoundError), open(self._file, "rb") as stream:
                stream.seek(self._position)
                lines, newline, _ = stream.read().rpartition(b"\n")
                self._position += len(lines) + len(newline)
                self._take(lines.decode(errors="replace"))
        return MappingProxyType(self._outcomes)

    def _take(self, lines: str) -> None:
        for line in lines.splitlines():
            number, _, outcome = line.partition(" ")
            if number.isdecimal() and outcome in _OUTCOMES:
                self._outcomes[int(number)] = _OUTCOMES[outcome]
