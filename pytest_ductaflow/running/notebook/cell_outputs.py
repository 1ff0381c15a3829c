"""Limit what the notebook keeps of a cell's output: all up to a limit, the rest in one line."""

from __future__ import annotations

from typing import Any

from nbformat.v4 import new_output

from ...core.masking.masker import Masker
from ...core.number_text import in_bytes
from ...core.output_limits import KEPT, KEPT_IN_LOG, Limit, left_out

_OVERHEAD = 500  # characters of an output besides those that it shows
_TEXTS = {"ename", "evalue", "traceback"}  # of an error
_IMAGES = ("image/png", "image/jpeg")  # which are long, and no text
_PIECES = 1_000  # pieces that are joined at a time


def mask_outputs(notebook: Any, mask: Masker) -> None:
    """Mask secrets in what the cells of a notebook have printed and shown so far, and in its widgets.

    The pieces of a stream that is growing are joined, as a secret may begin in one and end in the next.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                is_growing = isinstance(output.text, list)
                text = mask("".join(output.text))
                output.text = [text] if is_growing else text
                continue
            for key in output.keys() & _TEXTS:
                output[key] = mask.in_json(output[key])
            if "data" in output:
                shown = output.data.items()
                output.data.update({k: mask.in_json(v) for k, v in shown if not k.startswith(_IMAGES)})
    if "widgets" in notebook.metadata:
        notebook.metadata.widgets = mask.in_json(notebook.metadata.widgets)


class CellOutputs:
    """The outputs of the running cell.

    Args:
        outputs: The list in the notebook.
    """

    def __init__(self, outputs: list[Any]) -> None:
        self._outputs = outputs
        self._growing: Any = None  # the last output, if a stream is growing: its text is a list of pieces
        self._pieces = 0  # pieces since some were joined
        self.clear()

    def clear(self) -> None:
        """Reset the limits, because the cell has cleared its outputs."""
        self._printed, self._shown = Limit(KEPT), Limit(KEPT)
        self._lines: dict[str, Any] = {}  # lines that stand for what is left out

    def printed(self, text: str) -> str:
        """Return the part of a printed text that is kept."""
        kept = self._printed.take(len(text))
        return text if kept == len(text) else text[:kept]

    def keeps_shown(self, size: int) -> bool:
        """Return whether an output of this size is kept."""
        return self._shown.take_whole(size + _OVERHEAD)

    def grow(self, name: str, text: str) -> bool:
        """Append a text to the last output and return True, if that is of the same stream."""
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
        """Add or update the lines that say what is left out so far."""
        for limit, deed in ((self._printed, "printed"), (self._shown, "shown")):
            if limit.left_out:
                if deed not in self._lines:
                    self._lines[deed] = new_output("stream", name="stdout")
                    self._outputs.append(self._lines[deed])
                more = f" here; the log has up to {in_bytes(KEPT_IN_LOG)}" if deed == "printed" else ""
                self._lines[deed].text = f"\n{left_out(limit.left_out, deed, more)}\n"

    def complete(self) -> None:
        """Finish the outputs of a cell that has ended."""
        self._settle()
        self.tell()
