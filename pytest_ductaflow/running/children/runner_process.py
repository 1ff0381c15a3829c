"""Run instances on behalf of a session, or of a build, in a child of a warm process.

The argument is the socket of the warm process. Descriptor 3 is a connection to the session's process, or to
the build's, over which both send tuples, a word and what belongs to it. This process runs one instance at a
time:

    session:  ("run", task, environment, folder, whether to echo)
    here:     ("beside", folder)    asks for the names that other instances have made there
    session:  names
    here:     ("done", record, interrupted) or ("raised", exception)
    session:  ("digest", path)      asks for the digest of a flow's code
    here:     digest
    session:  ("finish",)           waits for pages
    here:     ("finished", warnings)
    session:  ("hurry",)            gives them up; without an answer

    build:    ("call", instance, settings, page_may_follow, environment, folder, umask)
    here:     ("say", line)         for the user, at once
    here:     ("done", record) or ("raised", exception)
    build:    ("check", function)   asks for what a check of a flow finds
    here:     its result
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from ...core.forking.client import WarmProcess
from ...core.forking.start import SERVER_VARIABLE
from ...core.instance import Instance
from ...core.settings import Settings
from ...kernels.server_pool import servers
from ...tracking.digests import digest_of_code
from ..html.instance_page import finish_pages, fork_writer_from, give_pages_up
from ..run_instance import run
from ..single_run import Task, run_from_clean_start
from .image import fork_runners_from

CONNECTION = 3  # the descriptor


def main() -> None:
    connection = Connection(CONNECTION)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until an instance runs
    servers.begin_anew()
    fork_writer_from(WarmProcess(Path(sys.argv[1])))
    fork_runners_from(sys.argv[1])
    kept = {name: os.environ[name] for name in (SERVER_VARIABLE,) if name in os.environ}
    while True:
        try:
            word, *more = connection.recv()
        except (EOFError, OSError):  # the session has ended, in whatever way
            os._exit(1)
        if word == "run":
            task, environment, folder, echoes = more
            connection.send(_result(connection, task, {**environment, **kept}, folder, echoes=echoes))
        elif word == "call":
            connection.send(_result_of_call(connection, *more))
        elif word == "check":
            (check,) = more
            connection.send(check())
        elif word == "digest":
            connection.send(digest_of_code(*more))
        elif word == "finish":
            connection.send(("finished", finish_pages()))
            return
        else:
            give_pages_up()


def _result(
    connection: Connection, task: Task, environment: Mapping[str, str], folder: str, *, echoes: bool
) -> tuple[object, ...]:
    """Run an instance and return the message about its end."""

    def made_beside(place: str) -> Collection[str]:
        connection.send(("beside", place))
        names: Collection[str] = connection.recv()
        return names

    try:
        with _within(environment, folder):
            task = replace(task, made_beside=made_beside)
            return "done", *run_from_clean_start(task, sys.stdout if echoes else None)
    except BaseException as error:
        return "raised", error


def _result_of_call(
    connection: Connection,
    instance: Instance,
    settings: Settings,
    page_may_follow: bool,
    environment: Mapping[str, str],
    folder: str,
    umask: int,
) -> tuple[object, ...]:
    """Decide about an instance as its caller would, run it, and return the message about its end."""

    def say(line: str) -> None:
        connection.send(("say", line))

    os.umask(umask)
    try:
        with _within(environment, folder):
            return "done", run(instance, settings, say=say, page_may_follow=page_may_follow)
    except BaseException as error:
        return "raised", error


@contextlib.contextmanager
def _within(environment: Mapping[str, str], folder: str) -> Iterator[None]:
    """Take the caller's environment and working directory, and let Ctrl-C interrupt the block."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
