"""Write a flow's printed output to its log, line by line as it arrives, and find warnings in it."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import IO, Self

from ..core.masking.masker import Masker
from ..core.output_limits import KEPT_IN_LOG, Limit, left_out
from .warning_lines import LineSplitter, is_warning, python_warning, strip_ansi

KEPT_WARNINGS = 100  # lines in the record; the log has them all
_KEPT_LENGTH = 2_000  # characters of each
_LEVEL = re.compile("^[A-Z]+: ")  # as `logging` puts it before a message
_SIGN = "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}"
_TELLING = 4  # fewest matching characters that identify the line of code that printed


def by_source(text: str, mark: str) -> list[tuple[str, str]]:
    """Return the pieces of a text that a kernel has sent, each with its source; see `inside.setup.marked`."""
    first, *more = re.split(f"\x1e{mark}(\\w*)\x1e", text)
    pieces = [("", first), *zip(more[::2], more[1::2], strict=True)]
    return [(source, piece) for source, piece in pieces if piece]


class Output:
    """The output of a flow on its way to the log, in whole lines.

    Args:
        log: The file.
        echo: A stream that also receives the lines, with their colours.
        mask: Masks secrets, in whole lines, however the flow has printed them.

    Attributes:
        warnings: The first warning lines.
        warning_count: How many there were.
        warning_line: Line of the flow that printed the first one, else the line where its cell begins.
        python_warnings: What `warnings.warn` printed, each once, and the number of further lines.
    """

    def __init__(self, log: Path, echo: IO[str] | None = None, mask: Masker | None = None) -> None:
        self._mask = mask or Masker()
        self.warnings: list[str] = []
        self.warning_count = 0
        self.warning_line: int | None = None
        self._cell: tuple[str, int | None] = ("", None)
        self._python_warnings: dict[str, None] = {}
        self._more_python_warnings = 0
        self._log = log
        self._file = open(log, "w+", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - __exit__
        self._echo = echo
        self._limit = Limit(KEPT_IN_LOG)  # of the running cell
        self._streams: dict[tuple[str, str], LineSplitter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.complete_cell()
        if not self._log.exists():
            self._write_again()
        self._file.close()

    def begin_cell(self, code: str, line: int | None) -> None:
        """Attribute what is written from now on to a cell.

        Args:
            code: Its code.
            line: Line of the flow where the code begins; None if it is not the flow's.
        """
        self._cell = code, line

    def complete_cell(self) -> None:
        """Write lines that have no end yet, and note how much was left out."""
        for splitter in self._streams.values():
            self._lines(splitter.flush())
            self._limit.left_out += splitter.take_lost()
        if self._limit.left_out:
            self._put(left_out(self._limit.left_out, "printed"))
        self._limit = Limit(KEPT_IN_LOG)

    def _write_again(self) -> None:
        """Restore the log if the flow has deleted it, for example with all other files in its folder."""
        self._file.seek(0)
        with contextlib.suppress(OSError), open(self._log, "w", encoding="utf-8") as file:
            shutil.copyfileobj(self._file, file)

    @property
    def python_warnings(self) -> list[str]:
        more = self._more_python_warnings
        told = [f"FlowWarning: {more} more lines of Python warnings are in the log"] if more else []
        return [*self._python_warnings, *told]

    def write(self, stream: str, text: str, source: str = "") -> None:
        """Add a piece of a stream.

        Args:
            stream: Its name.
            text: The piece.
            source: Its writer; interleaved pieces of several writers are joined into lines per writer.
        """
        splitter = self._streams.setdefault((stream, source), LineSplitter())
        self._lines(splitter.feed(text))

    def add_logged(self, records: list[str]) -> None:
        """Add unprinted log records as warnings, unless the warning lines already contain them."""
        for record in map(self._mask, records):
            message = record.partition(": ")[2]
            if not any(message[: _KEPT_LENGTH // 2] in line for line in self.warnings):
                self._warn(record)

    def warn(self, text: str) -> None:
        """Write a warning line that the flow did not print."""
        self.note(text)
        self._warn(self._mask(text))

    def note(self, text: str) -> None:
        """Write text that the flow did not print, such as a traceback; it never counts as a warning."""
        limit = self._limit
        self.complete_cell()
        self._limit.kept = limit.kept
        self._put(self._mask(text))

    def _lines(self, lines: list[str]) -> None:
        if self._mask:
            lines = [*map(self._mask, lines)]
        for line in lines:
            if warned := python_warning(line):
                self._warn_python(_shortened(warned))
            elif is_warning(line):
                self._warn(strip_ansi(line).strip())
        if lines:
            text = "\n".join(lines)
            if kept := self._limit.take(len(text) + 1):
                self._put(text[:kept])

    def _warn(self, text: str) -> None:
        if not self.warning_count and (begin := self._cell[1]) is not None:
            self.warning_line = begin + (line_that_prints(text, self._cell[0]) or 0)
        self.warning_count += 1
        if len(self.warnings) < KEPT_WARNINGS:
            self.warnings.append(_shortened(text))

    def _warn_python(self, text: str) -> None:
        if len(self._python_warnings) < KEPT_WARNINGS:
            self._python_warnings[text] = None
        elif text not in self._python_warnings:
            self._more_python_warnings += 1

    def _put(self, text: str) -> None:
        self._file.write(strip_ansi(text) + "\n")
        self._file.flush()
        if self._echo is not None:
            try:
                self._echo.write(text + "\n")
                self._echo.flush()
            except OSError:  # the terminal is gone, which must not fail the flow
                self._echo = None


def _shortened(text: str) -> str:
    return text if len(text) <= _KEPT_LENGTH else f"{text[:_KEPT_LENGTH]}…"


def line_that_prints(text: str, code: str) -> int | None:
    """Return the line of code that contains most of the start of a printed text; the rest may be values.

    Returns:
        Its 0-based number; None if there is none, or several match equally.
    """
    lines = code.splitlines()
    message = _LEVEL.sub("", text)
    shares = [max(_share(text, line), _share(message, line)) for line in lines]
    most = max(shares, default=0)
    telling = len(_SIGN) if text.startswith(_SIGN) else _TELLING
    return shares.index(most) if most >= telling and shares.count(most) == 1 else None


def _share(text: str, line: str) -> int:
    """Return how many of the first characters of a text occur in a line of code."""
    length = 0
    while length < len(text) and text[: length + 1] in line:
        length += 1
    return length
