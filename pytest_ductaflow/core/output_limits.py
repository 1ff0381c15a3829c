"""Limit how much is kept of what a flow prints and shows; one line replaces the rest."""

from __future__ import annotations

from .number_text import in_bytes

KEPT = 20_000_000  # characters in the notebook of what a cell printed, and as many of what it showed
KEPT_IN_LOG = 5 * KEPT


class Limit:
    """A limit on how much is kept of output that may never end.

    Args:
        most: Number of characters.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.kept = self.left_out = 0

    def take(self, size: int) -> int:
        """Return how many of `size` more characters to keep: none once something was left out."""
        kept = 0 if self.left_out else min(size, self._most - self.kept)
        self.kept += kept
        self.left_out += size - kept
        return kept

    def take_whole(self, size: int) -> bool:
        """Return whether to keep something indivisible; the last one kept may exceed the limit."""
        if self.kept >= self._most:
            self.left_out += size
            return False
        self.kept += size
        return True


def left_out(size: int, deed: str, more: str = "") -> str:
    """Return the line that replaces what is not kept."""
    return f"… {in_bytes(size)} more were {deed} in this cell and are left out{more}"
