"""What an engine is: four methods, by which a session has ready instances run elsewhere.

The session keeps the order. It decides whether an instance has to run, holds its lock, gives an engine only
what can run at once, and writes the final record from what comes back. Another package adds an engine by an
entry point in the group `pytest_ductaflow.engines`: a function that gets the text after the colon of
`--ductaflow-engine name:text` ("" if there is none) and returns an `Engine`, or raises `EngineError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...core.instance import Instance
from ...core.settings import Settings
from ..single_run import Task
from .attempt import Outcome, run_attempt
from .sync import Parcel, run_parcel


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Work:
    """An instance that is ready, with all that a process needs to run it; it can be pickled.

    Attributes:
        number: By which the session knows it; what an engine says of it has this number.
        label: Its name for people, `step/instance`.
        task: What is to be run.
        token: A text that no other work has, also not the same instance if it is submitted again.
        priority: Seconds on the longest way from it to an end of the graph; more is to begin earlier.
        cores: Cores that it books.
        memory: Bytes that it may use with all that it starts, and books; None if there is no limit.
        resources: Amounts of other resources that it books, by name.
        parcel: Files for a worker that does not share the file system.
    """

    number: int
    label: str
    task: Task
    token: str
    priority: float = 0.0
    cores: int = 1
    memory: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    parcel: Parcel | None = field(default=None, repr=False)

    def run(self, worker: str, is_wanted: Callable[[], bool] = _always) -> Outcome:
        """Run the instance in this thread, in a process that has the same files, or gets them.

        Args:
            worker: Name of the worker, for the record.
            is_wanted: Asked four times a second; once it returns False, the instance is stopped.

        Returns:
            What the session needs to know. A flow that fails is a result as well.
        """
        if self.parcel is not None:
            return run_parcel(self.task, self.parcel, self.token, self.label, worker, is_wanted)
        return run_attempt(self.task, self.token, self.label, worker, is_wanted)


@dataclass(frozen=True)
class Started:
    """Work has begun on a worker."""

    number: int
    worker: str


@dataclass(frozen=True)
class Ended:
    """Work is done with: it has an outcome, or there will be none.

    Attributes:
        number: Number of the work.
        outcome: What `Work.run` has returned; None if it could not be run.
        error: For no outcome: type and text of the failure.
    """

    number: int
    outcome: Outcome | None = None
    error: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Briefing:
    """What an engine is told before the first work.

    Attributes:
        session: Id of the session.
        roots: The project roots.
        settings: Settings of the session.
        instances: The instances that the session may run.
        wanted: Cores that instances say they use, by their number.
        say: Writes a line for the user.
    """

    session: str
    roots: Sequence[str]
    settings: Settings
    instances: Sequence[Instance]
    wanted: Mapping[int, int]
    say: Callable[[str], None]


class Engine(Protocol):
    """What runs instances for a session. All methods are called in the session's main thread."""

    @property
    def cores(self) -> int | None:
        """Cores that its workers share, for which the session books; None if the engine books them itself."""

    @property
    def slots(self) -> int:
        """How many pieces of work it takes at a time, now."""

    @property
    def syncs(self) -> bool:
        """Whether it can give workers a copy of the project (`sync.pack_project`, `sync.receive`)."""

    def start(self, briefing: Briefing) -> None:
        """Get ready, and make sure that workers can run what the session has.

        Raises:
            EngineError: If they cannot. The message is a usage error, and nothing has run.
        """

    def submit(self, work: Work) -> None:
        """Take work, and return at once; `Work.run` is to be called on a worker, once if all goes well."""

    def wait(self, seconds: float) -> Sequence[Started | Ended]:
        """Return what is new, as soon as anything is, or nothing when the time is up.

        Raises:
            EngineLost: If nothing that is under way will ever end.
        """

    def stop(self) -> Sequence[Ended]:
        """Stop what is running, release all that was taken, and return what has ended meanwhile.

        It is also called after `EngineLost`, after an error in `start` and after Ctrl-C, and must not fail.
        """
