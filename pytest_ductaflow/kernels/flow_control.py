"""How much of what a kernel publishes its client has taken: the kernel waits for a client that is slower."""

from __future__ import annotations

import mmap
from pathlib import Path

_NOBODY = 2**63  # bytes that no kernel sends: what it sends from now on is heard by nobody


class Heard:
    """A count of bytes in a file that the kernel maps, too; `inside.setup.prepare` has the other side.

    Args:
        path: The file. Where it cannot be written the kernel finds none, and waits for nobody.
    """

    def __init__(self, path: Path) -> None:
        self._numbers = memoryview(bytearray(16)).cast("Q")
        try:
            path.write_bytes(
                bytes(16)
            )  # has its place on the disk: a mapped page cannot tell that there is none
            with open(path, "r+b") as file:
                self._numbers = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
        except (OSError, ValueError):
            path.unlink(missing_ok=True)

    @property
    def count(self) -> int:
        """Bytes that were taken so far."""
        return self._numbers[1]

    def add(self, size: int) -> None:
        """Take note of a message."""
        self._numbers[1] += size

    def no_more(self) -> None:
        """Nothing will be taken any more, so nobody is to wait for that."""
        self._numbers[1] = _NOBODY
