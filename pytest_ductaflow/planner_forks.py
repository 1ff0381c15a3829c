"""Forks a process for each request, so that what all need is imported once.

In the process that is warm. Of what one child does, its working directory, environment, modules, threads
and files, nothing reaches another.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Request:
    """What one process has to do.

    Attributes:
        asked: The file that says it.
        result: The file for the answer.
        output: The file for what is printed; None if it goes where that of the warm process goes.
    """

    asked: str
    result: str
    output: str | None

    def dumps(self) -> str:
        """As a line."""
        return f"{json.dumps(asdict(self))}\n"


def forked(requests: int, answers: int) -> Request:
    """Return in a child for each request that comes; the process itself ends when no more can come.

    For each child there are two lines: its process id, and its exit code when it has ended. It is left as a
    zombie until the next request, so that its id is nobody else's when it is killed in between.

    Args:
        requests: The descriptor from which they are read.
        answers: That for the answers.
    """
    at_start = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the children, and who started us
    stream = open(requests, encoding="utf-8")  # noqa: SIM115 - closed in the child, which goes on without it
    line = stream.readline()
    while line:
        pid = os.fork()
        if not pid:
            stream.close()
            os.close(answers)
            signal.signal(signal.SIGINT, at_start)
            return _taken_on(Request(**json.loads(line)))
        os.write(answers, b"%d\n" % pid)
        os.write(answers, b"%d\n" % _exit_code(pid))
        line = stream.readline()
        os.waitpid(pid, 0)
    sys.exit()


def _exit_code(pid: int) -> int:
    """Wait until a child has ended; as `subprocess` tells it, less than 0 for a signal."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if ended is None:
        raise AssertionError  # only with WNOHANG
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _taken_on(request: Request) -> Request:
    """A request whose output goes where it is to go from now on."""
    if request.output is not None:
        descriptor = os.open(request.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        os.close(descriptor)
    return request
