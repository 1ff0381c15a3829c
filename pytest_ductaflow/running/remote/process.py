"""Run instances on behalf of a session, in a child of a warm process.

The argument is the socket of the warm process. Descriptor 3 is a connection to the session's process, over
which both send tuples, a word and what belongs to it. This process runs one instance at a time:

    session:  ("run", task, environment, folder, whether to echo)
    here:     ("beside", folder)    asks for the names that other instances have made there
    session:  names
    here:     ("done", record, interrupted) or ("raised", exception)
    session:  ("digest", path)      asks for the digest of a flow's code
    here:     digest
    session:  ("finish",)           waits for pages
    here:     ("finished", warnings)
    session:  ("hurry",)            gives them up; without an answer
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from ...core.forking.client import WarmProcess
from ...core.forking.start import SERVER_VARIABLE
from ...kernels.server_pool import servers
from ...tracking.digests import digest_of_code
from ..html.instance_page import finish_pages, fork_writer_from, give_pages_up
from ..single_run import Task, run_from_clean_start

CONNECTION = 3  # the descriptor


def main() -> None:
    connection = Connection(CONNECTION)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until an instance runs
    servers.begin_anew()
    fork_writer_from(WarmProcess(Path(sys.argv[1])))
    kept = {name: os.environ[name] for name in (SERVER_VARIABLE,) if name in os.environ}
    while True:
        try:
            word, *more = connection.recv()
        except (EOFError, OSError):  # the session has ended, in whatever way
            os._exit(1)
        if word == "run":
            task, environment, folder, echoes = more
            connection.send(_result(connection, task, {**environment, **kept}, folder, echoes=echoes))
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

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        task = replace(task, made_beside=made_beside)
        return "done", *run_from_clean_start(task, sys.stdout if echoes else None)
    except BaseException as error:
        return "raised", error
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
