"""Count how much of a kernel's output its client has read, so that the kernel waits for a slow client."""

from __future__ import annotations

import mmap
from pathlib import Path

_NOBODY = 2**63  # more bytes than any kernel sends: the client reads no more


class ReadCounter:
    """A count of bytes in a file that the kernel maps, too; `inside.setup.prepare` has the other side.

    Args:
        path: The file. If it cannot be written, the kernel finds none and does not wait.
    """

    def __init__(self, path: Path) -> None:
        self._numbers = memoryview(bytearray(16)).cast("Q")
        try:
            path.write_bytes(bytes(16))  # allocate it now: a mapped page cannot report a full disk
            with open(path, "r+b") as file:
                self._numbers = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
        except (OSError, ValueError):
            path.unlink(missing_ok=True)

    @property
    def count(self) -> int:
        """The bytes read so far."""
        return self._numbers[1]

    def add(self, size: int) -> None:
        """Count a message of this many bytes as read."""
        self._numbers[1] += size

    def no_more(self) -> None:
        """Mark that nothing more will be read, so that the kernel does not wait for it."""
        self._numbers[1] = _NOBODY
