"""Fork a child for each request, so that what all of them need is imported once.

This runs in the warm process. Nothing that a child does to its working directory, environment, modules,
threads or descriptors reaches another one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass

from ...kernels.observer.orphans import share_fate_of

STARTED, ENDED = "pid", "end"  # words of an answer; a number comes after them


@dataclass(frozen=True)
class Request:
    """What one child has to do.

    Attributes:
        asked: The file that says it.
        result: The file for the answer.
        output: The file for what is printed, which is there; None if it goes where that of the warm process
            goes.
    """

    asked: str
    result: str
    output: str | None

    def dumps(self) -> str:
        """Return it as a line of JSON."""
        return f"{json.dumps(asdict(self))}\n"


def forked(requests: int, answers: int) -> Request:
    """Return in a child for each request that comes; the process itself ends when no more can come.

    For each child there are two lines: `pid`, its process id, and `end`, its exit code when it has ended. It
    is left as a zombie until the next request, so that its id is nobody else's when it is killed in between.

    Args:
        requests: The descriptor from which they are read.
        answers: That for the answers.
    """
    at_start = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the children, and who started us
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
    """Print into a file from now on, if there is one."""
    if output is not None:
        descriptor = os.open(output, os.O_WRONLY | os.O_APPEND)
        for standard in (1, 2):
            os.dup2(descriptor, standard)
        os.close(descriptor)
