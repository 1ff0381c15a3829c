"""Tell once, and with the cure, that workers are idle because of the order of flows alone."""

from __future__ import annotations

import time
from collections.abc import Callable

ENOUGH = 2.0  # seconds of workers, below which nobody would notice


class IdleWorkers:
    """The time that workers have waited for the order in which flows were declared, and for nothing else.

    Args:
        say: Function that gets the line.
        clock: Returns the time in seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._since = clock()
        self._idle = 0  # workers that could have run something
        self._seconds = 0.0
        self._line = ""
        self._is_said = False

    def note(self, *, workers: int, busy: int, held_back: int, left: int) -> None:
        """Note what workers do from now on.

        Args:
            workers: Number of workers.
            busy: How many of them run something.
            held_back: Number of instances that wait for nothing but the order of flows.
            left: Number of instances that have not ended.
        """
        now = self._clock()
        self._seconds += (now - self._since) * self._idle
        if self._seconds >= ENOUGH and not self._is_said:
            self._is_said = True
            self._say(self._line)
        self._since, self._idle = now, min(workers - busy, held_back)
        if self._idle:
            self._line = (
                f"order only: {held_back} of the {left} instances left wait for flows that the conductor "
                f"introduces earlier; {workers} workers, {busy} busy. `after=[]` (or a column `_after`) "
                "frees them"
            )
