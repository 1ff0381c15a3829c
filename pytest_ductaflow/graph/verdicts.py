"""How the instances of this session ended, known to every process of it.

An instance is a number: its position in the plan. Several processes write into one file, each line in
one write at its end, so that none needs a lock and none sees a part of a line as a whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

Verdict = Literal["ok", "failed", "blocked", "skipped"]
_VERDICTS: dict[str, Verdict] = {verdict: verdict for verdict in get_args(Verdict)}


class Statuses:
    """The last word on each instance that has ended.

    Args:
        file: Where the processes of a session tell each other; None if there is only one.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._position = 0  # in the file: up to there it has been read
        self._verdicts: dict[int, Verdict] = {}
        self._unwritten = b""  # what there was no room for; it goes out with the next line

    def write(self, number: int, verdict: Verdict) -> None:
        """An instance has ended, and is not tried again; others know it when there is room to tell it."""
        if self._file is None:
            self._verdicts[number] = verdict
            return
        lines, written = self._unwritten + f"{number} {verdict}\n".encode(), 0
        with contextlib.suppress(OSError), open(self._file, "ab", buffering=0) as stream:
            written = stream.write(lines) or 0
        self._unwritten = b"" if written == len(lines) else b"\n" + lines.lstrip()  # after a torn line
        if self._unwritten:
            self._verdicts[number] = verdict

    def read(self) -> Mapping[int, Verdict]:
        """All verdicts up to now, by number."""
        if self._file is not None:
            with contextlib.suppress(FileNotFoundError), open(self._file, "rb") as stream:
                stream.seek(self._position)
                lines, newline, _ = stream.read().rpartition(b"\n")
                self._position += len(lines) + len(newline)
                self._take(lines.decode(errors="replace"))
        return MappingProxyType(self._verdicts)

    def _take(self, lines: str) -> None:
        for line in lines.splitlines():
            number, _, verdict = line.partition(" ")
            if number.isdecimal() and verdict in _VERDICTS:
                self._verdicts[int(number)] = _VERDICTS[verdict]
