"""Keep an attempt that was given up, and is alive all the same, from writing over what came after it.

Whoever runs an instance for others says, for its thread, how to find out whether it has been given up. All
that is written atomically asks before it takes its place.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

_of_thread = threading.local()


class GivenUp(BaseException):
    """The attempt that runs in this thread was given up; not an `Exception`, so that nothing goes on."""


@contextlib.contextmanager
def fenced(is_current: Callable[[], bool]) -> Iterator[None]:
    """Let this thread write within the block only while its attempt is the current one."""
    _of_thread.is_current = is_current
    try:
        yield
    finally:
        del _of_thread.is_current


def raise_if_given_up() -> None:
    """Check the attempt of this thread, if it has one.

    Raises:
        GivenUp: If it is not the current one.
    """
    is_current: Callable[[], bool] | None = getattr(_of_thread, "is_current", None)
    if is_current is not None and not is_current():
        raise GivenUp
