"""The trivial engine: this process runs one instance after the other, when it is asked what is new."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import EngineError
from .protocol import Briefing, Ended, Started, Work

_NAME = ""  # of the only worker, as in sessions without an engine


class InProcess:
    """An engine without workers."""

    cores: int | None = None
    slots = 1
    syncs = False

    def __init__(self) -> None:
        self._work: list[Work] = []

    def start(self, briefing: Briefing) -> None:
        """Get ready, for which nothing is needed."""

    def submit(self, work: Work) -> None:
        """Take work, for the next `wait`."""
        self._work.append(work)

    def wait(self, seconds: float) -> Sequence[Started | Ended]:  # noqa: ARG002 - it never waits
        """Run what was taken."""
        taken, self._work = self._work, []
        return [Ended(work.number, work.run(_NAME)) for work in taken]

    def stop(self) -> Sequence[Ended]:
        """Forget what was taken and not run."""
        self._work = []
        return []


def engine(text: str) -> InProcess:
    """Return the engine.

    Raises:
        EngineError: If a text is given, as it takes none.
    """
    if text:
        raise EngineError(f"here:{text}: this engine takes no text; say `here`")
    return InProcess()
