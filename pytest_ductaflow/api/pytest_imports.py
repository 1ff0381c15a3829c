"""Track whether pytest is importing modules right now, to look for tests in them.

The plugin notes it in every pytest session, and a conductor's calls check it. Without `--ductaflow`, a
conductor that pytest takes for a test module would otherwise run its whole sweep during collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..core.errors import Refused

_at_work: list[list[str]] = []  # refused calls of each active collector, innermost last


@contextmanager
def importing() -> Iterator[list[str]]:
    """Mark that modules are being imported.

    Yields:
        The calls that were refused meanwhile, as `file:line: name()`.
    """
    refused: list[str] = []
    _at_work.append(refused)
    try:
        yield refused
    finally:
        _at_work.pop()


def is_importing() -> bool:
    """Return whether the current call comes from a module that pytest is importing."""
    return bool(_at_work)


def refuse(call: str) -> None:
    """Refuse to let a call run anything.

    Raises:
        Refused: Always.
    """
    _at_work[-1].append(call)
    raise Refused(call)
