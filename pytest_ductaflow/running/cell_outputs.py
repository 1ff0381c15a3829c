"""What the notebook keeps of what a cell prints and shows: all of it up to a limit, the rest in one line."""

from __future__ import annotations

from typing import Any

from nbformat.v4 import new_output

from ..core.number_text import in_bytes
from ..core.output_limits import KEPT, KEPT_IN_LOG, Limit, left_out

_OVERHEAD = 500  # characters that an output has besides those that it shows
_PIECES = 1_000  # that are joined at a time


class CellOutputs:
    """The outputs of the running cell.

    Args:
        outputs: The list in the notebook.
    """

    def __init__(self, outputs: list[Any]) -> None:
        self._outputs = outputs
        self._growing: Any = None  # the stream that the last output is: its text is a list of pieces
        self._pieces = 0  # of that, since some were joined
        self.clear()

    def clear(self) -> None:
        """Forget what was kept: the cell has cleared its outputs."""
        self._printed, self._shown = Limit(KEPT), Limit(KEPT)
        self._lines: dict[str, Any] = {}  # in place of what is left out

    def printed(self, text: str) -> str:
        """What is kept of a printed text."""
        kept = self._printed.take(len(text))
        return text if kept == len(text) else text[:kept]

    def keeps_shown(self, size: int) -> bool:
        """Whether something that is shown is kept."""
        return self._shown.take_whole(size + _OVERHEAD)

    def grow(self, name: str, text: str) -> bool:
        """Add a text to the last output, if that is of the same stream."""
        last = self._outputs[-1] if self._outputs else None
        if last is None or last.output_type != "stream" or last.name != name:
            return False
        if any(last is line for line in self._lines.values()):
            return False
        if last is not self._growing:
            self._settle()
            self._growing, self._pieces = last, 0
            last.text = [last.text]
        last.text.append(text)
        self._pieces += 1
        if self._pieces == _PIECES:
            last.text[-_PIECES:], self._pieces = ["".join(last.text[-_PIECES:])], 0
        return True

    def _settle(self) -> None:
        if self._growing is not None:
            self._growing.text = "".join(self._growing.text)
            self._growing = None

    def tell(self) -> None:
        """Say in place what is left out so far."""
        for limit, deed in ((self._printed, "printed"), (self._shown, "shown")):
            if limit.left_out:
                if deed not in self._lines:
                    self._lines[deed] = new_output("stream", name="stdout")
                    self._outputs.append(self._lines[deed])
                more = f" here; the log has up to {in_bytes(KEPT_IN_LOG)}" if deed == "printed" else ""
                self._lines[deed].text = f"\n{left_out(limit.left_out, deed, more)}\n"

    def complete(self) -> None:
        """The cell has ended."""
        self._settle()
        self.tell()
