"""Book the cores of the machine for what runs, so that never more are booked than there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction


class CorePool:
    """The cores of the machine, shared by the workers of a session.

    What says how many cores it uses books these, or all if it says more; all else books its worker's share.
    Where the first in line does not fit, smaller ones may begin in its place, but only as many as there are
    workers. Then nothing else begins before it does.

    Args:
        cores: How many there are.
        workers: How many share them.
        wanted: Cores that instances say they use, by number.
    """

    def __init__(self, cores: int, workers: int, wanted: Mapping[int, int]) -> None:
        self._cores = cores
        self._patience = workers
        self._wanted = wanted
        self._free = Fraction(cores)
        self._overtaken: Counter[Fraction] = Counter()  # by size, since one of it has begun
        self.share = Fraction(cores, workers) if workers > cores else Fraction(cores // workers)

    def size_of(self, number: int) -> Fraction:
        """Return how many cores an instance books."""
        wanted = self._wanted.get(number)
        return self.share if wanted is None else Fraction(min(wanted, self._cores))

    def fits(self, number: int) -> bool:
        """Return whether the cores that an instance books are free."""
        return self.size_of(number) <= self._free

    def book(self, line: Sequence[Fraction]) -> Fraction | None:
        """Book the first size that may begin; None if none may.

        Args:
            line: The different sizes of what is ready, the one that should begin first in front.
        """
        due = [size for size in line if self._overtaken[size] >= self._patience]
        candidates = [max(due, key=self._overtaken.__getitem__)] if due else line
        begins = next((size for size in candidates if size <= self._free), None)
        if begins is None:
            return None
        overtaken = line[: line.index(begins)]
        self._overtaken.update(size for size in overtaken if size > self._free)
        del self._overtaken[begins]
        self._free -= begins
        return begins

    def release(self, size: Fraction) -> None:
        """Free the cores of what has ended, or has not begun after all."""
        self._free += size
