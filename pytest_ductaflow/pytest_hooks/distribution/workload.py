"""Keep the work for workers: instances when they are ready, ordinary tests in chunks."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...graph.ready_queue import ReadyQueue
from ...graph.waits import Idle, Wait

_LARGEST = 50  # maximum of ordinary tests that a worker gets at once
_SHARES = 4  # chunks of ordinary tests for each worker


@dataclass
class Work:
    """The items that a worker gets at once.

    Attributes:
        items: Positions in the collection, still to be run.
        number: Number of the instance in the plan; None if these are ordinary tests.
    """

    items: list[int]
    number: int | None = None


class Workload:
    """All work that has not ended: instances that run when they are ready, ordinary tests in between.

    Args:
        numbers: Number of the instance at each position in the collection, None for an ordinary test.
        queue: Queue of those instances that can run.
        chunks: Positions of ordinary tests that go to the same worker one after the other.

    Attributes:
        singles: Numbers of the instances that are not collected twice.
    """

    def __init__(self, numbers: Sequence[int | None], queue: ReadyQueue, chunks: Iterable[list[int]]) -> None:
        self._queue = queue
        self._chunks = deque(Work(chunk) for chunk in chunks)
        self._positions: dict[int, list[int]] = defaultdict(list)  # one each, unless duplicates are kept
        for position, number in enumerate(numbers):
            if number is not None:
                self._positions[number].append(position)
        self.singles = {number for number, positions in self._positions.items() if len(positions) == 1}

    def take(self) -> Work | None:
        """Take the work that a worker is to run next; None if all that is left waits."""
        number = self._queue.pop()
        if number is not None:
            return Work(list(self._positions[number]), number)
        return self._chunks.popleft() if self._chunks and self._queue.book_other() else None

    def ended(self, work: Work, item: int) -> None:
        """Note that one item of a worker's work has ended."""
        work.items.remove(item)
        if work.number is not None:
            self._positions[work.number].remove(item)
            if not self._positions[work.number]:
                self._queue.done(work.number)
        elif not work.items:
            self._queue.release_other()

    def put_back(self, work: Work) -> None:
        """Queue work again that a worker is not going to run."""
        if not work.items:
            return
        if work.number is None:
            self._chunks.appendleft(work)
            self._queue.release_other()
        else:
            self._queue.put_back(work.number)

    def hold(self, work: Work) -> None:
        """Queue an instance that is to be tried again, but not before `put_back` is called for it."""
        if work.number is not None:
            self._queue.hold(work.number)

    def wait_of(self, work: Work) -> Wait | None:
        """Return what an instance has waited for; None for ordinary tests."""
        return None if work.number is None else self._queue.wait_of(work.number)

    def why_idle(self, held_back: int) -> Idle:
        """Return the reason why `take` has returned None, given `held_back`."""
        return self._queue.why_idle(held_back)

    @property
    def held_back(self) -> int:
        """The number of instances that wait for nothing but the order in which flows were declared."""
        return self._queue.held_back

    @property
    def instances_left(self) -> int:
        return len(self._queue)

    @property
    def is_empty(self) -> bool:
        """Whether all work has been taken, and none may have to be queued again."""
        return not self._chunks and not len(self._queue)


def chunks_of(
    collection: Sequence[str], positions: Sequence[int], mode: str, workers: int, largest: int | None = None
) -> list[list[int]]:
    """Return chunks of ordinary tests, each for one worker, as `--dist` requires.

    Args:
        collection: Node ids.
        positions: Positions of the ordinary tests among them.
        mode: Value of `--dist`.
        workers: Number of workers.
        largest: Value of `--maxschedchunk`.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for position in positions:
        groups[_group(collection[position], mode)].append(position)
    loose = groups.pop("", [])
    size = max(1, min(len(loose) // (_SHARES * max(workers, 1)), largest or _LARGEST, _LARGEST))
    chunks = [loose[start : start + size] for start in range(0, len(loose), size)]
    return sorted(groups.values(), key=len, reverse=True) + chunks


def _group(node_id: str, mode: str) -> str:
    """Return the group that a test must stay together with; empty if there is none."""
    if mode == "loadfile":
        return node_id.partition("::")[0]
    if mode == "loadscope":
        return node_id.rpartition("::")[0]
    if mode == "loadgroup" and node_id.rfind("@") > node_id.rfind("]"):  # not an @ among parameters
        return node_id.rpartition("@")[2]
    return ""
