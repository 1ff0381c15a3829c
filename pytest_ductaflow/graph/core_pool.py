"""Book cores and memory of the machine for what runs, so that never more is booked than there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, Self

from ..core.instance import Instance
from ..core.settings import Settings
from ..core.system.machine import usable_cores, usable_memory


class Size(NamedTuple):
    """What an instance books.

    Attributes:
        cores: Cores of the machine.
        memory: Bytes; 0 for what does not say how many it may use.
    """

    cores: Fraction
    memory: int = 0


def wanted_cores(instances: Sequence[Instance]) -> dict[int, int]:
    """Return the cores that instances say they use, by number."""
    return {number: each.cores for number, each in enumerate(instances) if each.cores is not None}


def limits_of_memory(instances: Sequence[Instance], settings: Settings) -> dict[int, int]:
    """Return the bytes that instances may use, by number, as far as they or the session have a limit."""
    known = ((number, settings.memory_of(each)) for number, each in enumerate(instances))
    return {number: limit for number, limit in known if limit is not None}


class CorePool:
    """The cores and the memory of the machine, shared by the workers of a session.

    What says how many cores it uses books these, or all if it says more; all else books its worker's share.
    What has a limit of memory books that, or all if it is more.
    Where the first in line does not fit, smaller ones may begin in its place, but only as many as there are
    workers. Then nothing else begins before it does.

    Args:
        cores: How many there are.
        workers: How many share them.
        wanted: Cores that instances say they use, by number.
        memory: Bytes that there are.
        limits: Bytes that instances may use, by number.
    """

    def __init__(
        self,
        cores: int,
        workers: int,
        wanted: Mapping[int, int],
        memory: int = 0,
        limits: Mapping[int, int] | None = None,
    ) -> None:
        self._cores, self._memory = cores, memory
        self._patience = workers
        self._wanted, self._limits = wanted, limits or {}
        self._free = Size(Fraction(cores), memory)
        self._overtaken: Counter[Size] = Counter()  # by size, since one of it has begun
        self.share = Size(Fraction(cores, workers) if workers > cores else Fraction(cores // workers))

    @classmethod
    def of_machine(cls, instances: Sequence[Instance], settings: Settings, workers: int) -> Self:
        """Return the pool of this machine.

        Args:
            instances: The instances that book, by their numbers.
            settings: The limit of those that have none of their own.
            workers: How many run at a time.
        """
        wanted, limits = wanted_cores(instances), limits_of_memory(instances, settings)
        return cls(usable_cores(), workers, wanted, usable_memory() if limits else 0, limits)

    def size_of(self, number: int) -> Size:
        """Return what an instance books."""
        wanted = self._wanted.get(number)
        cores = self.share.cores if wanted is None else Fraction(min(wanted, self._cores))
        return Size(cores, min(self._limits.get(number, 0), self._memory))

    def fits(self, number: int) -> bool:
        """Return whether what an instance books is free."""
        return self._is_free(self.size_of(number))

    def lacks_only_memory(self, size: Size) -> bool:
        """Return whether cores are free for something, but not the memory that it books."""
        return size.cores <= self._free.cores and size.memory > self._free.memory

    def book(self, line: Sequence[Size]) -> Size | None:
        """Book the first size that may begin; None if none may.

        Args:
            line: The different sizes of what is ready, the one that should begin first in front.
        """
        due = [size for size in line if self._overtaken[size] >= self._patience]
        candidates = [max(due, key=self._overtaken.__getitem__)] if due else line
        begins = next(filter(self._is_free, candidates), None)
        if begins is None:
            return None
        overtaken = line[: line.index(begins)]
        self._overtaken.update(size for size in overtaken if not self._is_free(size))
        del self._overtaken[begins]
        self._free = Size(self._free.cores - begins.cores, self._free.memory - begins.memory)
        return begins

    def release(self, size: Size) -> None:
        """Free what has been booked by something that has ended, or has not begun after all."""
        self._free = Size(self._free.cores + size.cores, self._free.memory + size.memory)

    def _is_free(self, size: Size) -> bool:
        return size.cores <= self._free.cores and size.memory <= self._free.memory
