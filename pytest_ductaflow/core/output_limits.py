"""How much is kept of what a flow prints and shows, and the line in place of the rest."""

from __future__ import annotations

from .number_text import in_bytes

KEPT = 20_000_000  # characters of what a cell has printed, in the notebook, and as many of what it has shown
KEPT_IN_LOG = 5 * KEPT


class Limit:
    """What is kept of something that may have no end.

    Args:
        most: How many characters.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.kept = self.left_out = 0

    def take(self, size: int) -> int:
        """How much of so many more is kept; nothing, once something was left out."""
        kept = 0 if self.left_out else min(size, self._most - self.kept)
        self.kept += kept
        self.left_out += size - kept
        return kept

    def take_whole(self, size: int) -> bool:
        """Whether something is kept that makes no sense in part: also the last one, which goes beyond."""
        if self.kept >= self._most:
            self.left_out += size
            return False
        self.kept += size
        return True


def left_out(size: int, deed: str, more: str = "") -> str:
    """The line in place of what is not kept."""
    return f"… {in_bytes(size)} more were {deed} in this cell and are left out{more}"
