"""What a Prefect server has not been sent yet: of each instance at most its last state, and its logs.

So it needs room for each instance once, however long the server is away, and what is told late is not told
in full: of an instance that has ended in the meantime only that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from .states import State
from .texts import Ended

T = TypeVar("T")


class Outbox:
    """The states, logs and pages that are still to be sent; used by two threads.

    Args:
        number: The number of instances.
    """

    def __init__(self, number: int) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, None] = dict.fromkeys(range(number))  # of which nothing has been put
        self._states: dict[int, State] = {}
        self._logs: dict[int, Ended] = {}
        self._pages: dict[int, Ended] = {}

    def put(self, number: int, state: State) -> None:
        """Add the state of an instance, in place of one that has not been sent."""
        with self._lock:
            self._waiting.pop(number, None)
            self._states.pop(number, None)
            self._states[number] = state

    def put_end(self, number: int, ended: Ended) -> None:
        """Add how an instance has ended, with its logs and its page."""
        self.put(number, ended.state)
        with self._lock:
            self._logs[number] = ended
            self._pages.pop(number, None)  # of an attempt before
            if ended.is_worth_a_page:
                self._pages[number] = ended

    def states(self, at_most: int) -> list[tuple[int, State]]:
        """Take the states that have waited longest."""
        with self._lock:
            return _first(self._states, at_most)

    def put_back(self, states: Iterable[tuple[int, State]]) -> None:
        """Put back states that could not be sent, unless there are newer ones."""
        with self._lock:
            self._states = {**dict(states), **self._states}

    def waiting(self, at_most: int) -> list[int]:
        """Take instances that have not begun, and of which nothing has been told."""
        with self._lock:
            return [number for number, _ in _first(self._waiting, at_most)]

    def put_back_waiting(self, numbers: Sequence[int]) -> None:
        with self._lock:
            self._waiting = {**dict.fromkeys(n for n in numbers if n not in self._states), **self._waiting}

    def logs(self) -> Iterator[tuple[int, Ended]]:
        """Yield those whose logs are to be sent; they stay until `sent_logs` names them."""
        with self._lock:
            found = list(self._logs.items())
        yield from found

    def sent_logs(self, numbers: Iterable[int]) -> None:
        with self._lock:
            for number in numbers:
                self._logs.pop(number, None)

    def page(self) -> tuple[int, Ended] | None:
        """Take one whose page is to be sent."""
        with self._lock:
            return next(iter(_first(self._pages, 1)), None)

    def put_back_page(self, number: int, ended: Ended) -> None:
        with self._lock:
            self._pages.setdefault(number, ended)

    @property
    def unsent(self) -> int:
        """The number of instances whose last state has not been sent."""
        with self._lock:
            return len(self._states.keys() | self._waiting.keys())

    @property
    def unsent_details(self) -> int:
        """The number of instances whose logs or pages have not been sent."""
        with self._lock:
            return len(self._logs.keys() | self._pages.keys())


def _first(of: dict[int, T], at_most: int) -> list[tuple[int, T]]:
    taken = [(number, of[number]) for number, _ in zip(list(of), range(at_most), strict=False)]
    for number, _ in taken:
        del of[number]
    return taken
