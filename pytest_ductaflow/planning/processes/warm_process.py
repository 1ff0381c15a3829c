"""Fork a child for each request, so that common imports are done once.

This runs in the warm process. What a child does to its working directory, environment, modules, threads
or descriptors does not affect another one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass

from ...core.system.orphans import share_fate_of

STARTED, ENDED = "pid", "end"  # first word of an answer; a number follows


@dataclass(frozen=True)
class Request:
    """The task of one child.

    Attributes:
        asked: The file with the task.
        result: The file for the answer.
        output: The existing file for printed output; None to print where the warm process does.
    """

    asked: str
    result: str
    output: str | None

    def dumps(self) -> str:
        """Return the request as a line of JSON."""
        return f"{json.dumps(asdict(self))}\n"


def forked(requests: int, answers: int) -> Request:
    """Return in a child for each request that arrives; the process itself exits when no more can arrive.

    Each child is answered by two lines: `pid` with its process id, and `end` with its exit code. It stays a
    zombie until the next request, so that its id is not reused if it is killed in between.

    Args:
        requests: The descriptor from which requests are read.
        answers: The descriptor to which answers are written.
    """
    at_start = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the children and our parent
    stream = open(requests, encoding="utf-8")  # noqa: SIM115 - closed in the child, which goes on without it
    me, pid = os.getpid(), 0
    for line in iter(stream.readline, ""):
        _reap(pid)
        request, pid = Request(**json.loads(line)), 0
        try:
            pid = os.fork()
        except OSError as error:
            _redirect(request.output)
            print(f"no process can be started: {error.strerror}", file=sys.stderr, flush=True)
            _answer(answers, ENDED, 1)
            continue
        if not pid:
            share_fate_of(me)
            stream.close()
            os.close(answers)
            signal.signal(signal.SIGINT, at_start)
            _redirect(request.output)
            return request
        _answer(answers, STARTED, pid)
        _answer(answers, ENDED, _exit_code(pid))
    _reap(pid)
    sys.exit()


def _reap(pid: int) -> None:
    if pid:
        os.waitpid(pid, 0)


def _answer(answers: int, word: str, number: int) -> None:
    os.write(answers, f"{word} {number}\n".encode())


def _exit_code(pid: int) -> int:
    """Wait until a child has ended, and return its exit code, negative for a signal as in `subprocess`."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if ended is None:
        raise AssertionError  # only with WNOHANG
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _redirect(output: str | None) -> None:
    """Redirect stdout and stderr to a file, if one is given."""
    if output is not None:
        descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        os.close(descriptor)
