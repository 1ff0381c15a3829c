"""Run instances side by side, in threads: each has a kernel, which is a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ..core.system.machine import THREADS, shared_by
from ..graph.ready_queue import ReadyQueue

T = TypeVar("T")


def run_side_by_side(
    queue: ReadyQueue, workers: int, run: Callable[[int], T]
) -> Generator[tuple[int, T], None, None]:
    """Run the instances of a queue, each in a thread, as soon as those before it have ended.

    Args:
        queue: The instances.
        workers: How many run at a time.
        run: Runs the instance with a number.

    Yields:
        The number of an instance that has ended, and what `run` has returned. What waits for it starts when
        the next is asked for.

    Raises:
        Exception: What `run` raises, and KeyboardInterrupt: when all that were running have ended.
    """
    running: dict[Future[T], int] = {}
    with shared_by(workers), ThreadPoolExecutor(workers, thread_name_prefix=THREADS) as pool:
        try:
            while True:
                while len(running) < workers and (number := queue.pop()) is not None:
                    running[pool.submit(run, number)] = number
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    yield number, future.result()
                    queue.done(number)
        finally:
            wait(running)
