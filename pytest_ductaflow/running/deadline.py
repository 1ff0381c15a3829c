"""Limit the time of a run and of its cells, and stop a cell: interrupt it first, kill its kernel later."""

from __future__ import annotations

import math
import time

from nbclient.exceptions import CellTimeoutError

from ..kernels.base import Kernel

INTERRUPT_GRACE = 5.0  # seconds between the interrupt of a time-out and the kill
_KEYBOARD_GRACE = 2.0  # the same after Ctrl-C, which users press again


class Deadline:
    """The time limits of a run and of its cells, and whether a cell was stopped.

    Args:
        kernel: The kernel that runs the cells.
        seconds: Limit of the whole run, from now on; None for no limit.
        cell_seconds: Limit of each cell.

    Attributes:
        limit: The limit of the running cell, as text for a message.
        timed_out: Whether a cell was interrupted because its time was up.
        interrupted: Whether Ctrl-C was pressed.
        paused: Seconds in which a debugger was open, for which no limit holds.
    """

    def __init__(self, kernel: Kernel, *, seconds: float | None, cell_seconds: float | None) -> None:
        self._kernel = kernel
        self._seconds, self._cell_seconds = seconds, cell_seconds
        self._end = None if seconds is None else time.monotonic() + seconds
        self.paused = 0.0
        self.limit = ""
        self.timed_out = self.interrupted = False

    def begin_cell(self) -> float | None:
        """Return when a cell that begins now has to end, on the clock of `time.monotonic`.

        Raises:
            CellTimeoutError: If the previous cell was interrupted by its time-out but ended normally.
        """
        if self.timed_out:
            raise CellTimeoutError(self.limit)
        now = time.monotonic()
        left = math.inf if self._end is None else self._end - now
        if self._cell_seconds is not None and self._cell_seconds < left:
            self.limit = f"this cell took longer than {self._cell_seconds:g} s"
            return now + self._cell_seconds
        self.limit = f"took longer than {self._seconds or 0:g} s"
        return self._end

    def extend(self, seconds: float) -> None:
        """Leave out so many seconds, in which a debugger was open."""
        self.paused += seconds
        if self._end is not None:
            self._end += seconds

    def expire(self) -> float:
        """Interrupt the cell, so that the notebook shows where the time went; kill it the second time.

        Returns:
            When to call this again, if the cell has not ended by then.

        Raises:
            CellTimeoutError: If the cell did not react to the interrupt.
            KeyboardInterrupt: The same, if the interrupt came from the keyboard.
        """
        if self.interrupted or self.timed_out:
            self._kernel.kill()
            if self.interrupted:
                raise KeyboardInterrupt
            raise CellTimeoutError(f"{self.limit} and did not react to the interrupt")
        self.timed_out = True
        self._kernel.interrupt()
        return time.monotonic() + INTERRUPT_GRACE

    def interrupt(self) -> float:
        """Interrupt the cell after the first Ctrl-C, and return when to kill it.

        Raises:
            KeyboardInterrupt: If Ctrl-C was pressed before.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self._kernel.interrupt()
        return time.monotonic() + _KEYBOARD_GRACE
