"""Suppress Python warnings of a block, one thread at a time."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator

# Python restores the filters of the whole process: of two threads at once, the second would restore those
# of the first, and nothing would be shown any more.
_lock = threading.RLock()


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Let `warnings.warn` within the block show nothing."""
    with _lock, warnings.catch_warnings(action="ignore"):
        yield
