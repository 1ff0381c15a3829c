"""Whether pytest is importing modules right now, to look for tests in them.

The plugin says so, in every pytest session; the calls of a conductor look here. Without `--ductaflow`, a
conductor that pytest takes for a module of tests would else run its whole sweep while it is collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..core.errors import Refused

_at_work: list[list[str]] = []  # for each collector, the innermost last: the calls that were refused in it


@contextmanager
def importing() -> Iterator[list[str]]:
    """Say that modules are being imported.

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
    """Whether what is called now is called by a module that pytest imports."""
    return bool(_at_work)


def refuse(call: str) -> None:
    """Do not let a call run anything.

    Raises:
        Refused: Always.
    """
    _at_work[-1].append(call)
    raise Refused(call)
