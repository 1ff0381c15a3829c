"""Limit the time of a processor that something recurring takes to a share of all time."""

from __future__ import annotations

import time


class Budget:
    """A share of the time since the first use.

    Args:
        share: The largest fraction, of one processor.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._began = time.monotonic()
        self._spent = self._last = self._ended = 0.0

    def spend(self, seconds: float) -> None:
        """Note the processor time that one use has just taken."""
        self._ended = time.monotonic()
        if not self._spent:
            self._began = self._ended
        self._spent += seconds
        self._last = seconds

    @property
    def due(self) -> float:
        """When the next use, which is taken to cost what the last one did, is within the share.

        That is by the time since the first use and by that since the last one: pauses are not made up for.
        """
        if not self._spent:
            return self._began
        by_all = self._began + (self._spent + self._last) / self._share
        return max(by_all, self._ended + self._last / self._share)
