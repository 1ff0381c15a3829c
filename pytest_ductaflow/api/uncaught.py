"""Print uncaught errors of a script without the frames of this package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import TracebackType

from ..core.errors import DuctaflowError
from ..core.system.interrupts import concerns_threads
from ..core.system.places import PACKAGE
from ..planning.caller import LIBRARY, PACKAGES


def quiet_traceback() -> None:
    """Print our uncaught errors, and Ctrl-C while we run, without our frames; only in a plain script."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    places = list(_places(trace))
    users = [place for place in places if place]
    if isinstance(error, DuctaflowError):
        print(f"{users[-1] if users else ''}{kind.__name__}: {error}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt) and ("" in places[1:] or (users and concerns_threads())):
        told = "stopped by the keyboard; the same command goes on with what has not ended"
        place = places[places.index("") - 1] if "" in places[1:] else users[-1]
        print(f"{place}{told}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _places(trace: TracebackType | None) -> Iterator[str]:
    """Yield the lines that lead to an error as `file:line: `, and "" for each of our own.

    Those of Python's library, such as a pool of threads, are left out.
    """
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith((PACKAGE, "<frozen")):
            yield ""
        elif file.startswith(PACKAGES) or not file.startswith(LIBRARY):
            yield f"{file}:{trace.tb_lineno}: "
        trace = trace.tb_next
