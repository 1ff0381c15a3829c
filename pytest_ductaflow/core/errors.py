"""All errors that a user can meet, in one hierarchy below `DuctaflowError`.

Each message says where, what was expected and what to do. `running.message_loop.KernelDied` and
`running.failures.run_failure.FlowExecutionError` also extend classes of other libraries, and stay there.
"""

from __future__ import annotations

from typing import Any

from .problem import Problem, merged_lines


class DuctaflowError(Exception):
    """Base of all errors of this package."""


class FlowNotFound(DuctaflowError, FileNotFoundError):
    """A flow, build or conductor does not exist."""


class TableError(DuctaflowError):
    """A control table has one or more problems; none of its instances has run."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(merged_lines(problems)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class SecretMissing(DuctaflowError):
    """A config has a mask or a reference to an environment variable whose value is not known."""


class PlanError(DuctaflowError):
    """An error in what is to be run; nothing has run."""


class InstanceFailed(DuctaflowError):
    """An instance ended with an error; `record` has the details."""

    def __init__(self, message: str, record: Any = None) -> None:
        self.record = record
        super().__init__(message)


class SweepFailed(DuctaflowError):
    """Some instances of a conductor that ran as a script have failed."""


class Warned(DuctaflowError):
    """An instance ended with a warning; an exception, as other tools read the text from one."""


class PreconditionsUnmet(DuctaflowError):
    """An instance depends on something that is missing and that nothing in this session will write."""


class InUse(DuctaflowError):
    """Another process is running the instance; the message says which."""


class EngineError(DuctaflowError):
    """An engine cannot run instances as it is set up; the message says what to do."""


class EngineLost(DuctaflowError):
    """An engine has been lost while it ran instances; what has ended is kept."""


class NothingToAccept(DuctaflowError):
    """An instance has not ended well, or its files are not there."""


class KernelStartError(DuctaflowError):
    """A kernel could not be started."""


class ServerStuck(KernelStartError):
    """The kernel server is alive but does not answer, and will not answer the next request either."""


class NoAnswer(DuctaflowError, RuntimeError):
    """A kernel lives, and does not answer what it always answers at once."""


class HelperFrozen(DuctaflowError):
    """A helper process that a kernel needs to go on was stopped from outside."""


class StoredError(DuctaflowError):
    """Raised if the file of a stored instance cannot be used; the message names the file."""


class NotStored(DuctaflowError):
    """Raised for a run that cannot be stored; nothing has been written."""


class Unreadable(Exception):
    """A file is not what its suffix says; never shown as it is: the caller adds the file's name."""


class ExpectedUnreadable(DuctaflowError):
    """The file of expected values cannot be read as what its suffix says, so nothing can be compared."""


class LibraryMissing(ExpectedUnreadable):
    """The library that reads such files is not installed."""


class MergeError(DuctaflowError):
    """Raised if the folders cannot be merged; nothing was written."""


class RemovalError(DuctaflowError):
    """A refusal to remove something; nothing was removed."""


class Refused(BaseException):
    """A conductor did something that it may not do while pytest collects.

    Not an `Exception`: a conductor with its calls in `try:` would catch it and go on after the runs.
    """
