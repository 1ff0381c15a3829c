"""What runs in Dask's workers: instances, and what a session says at its beginning and its end."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from ....core.system.machine import share_among, usable_memory
from ..attempt import Outcome
from ..protocol import Work
from ..sync import remove

_POOL = "pytest_ductaflow.kernels.server_pool"
_HASHES = ("PYTHONHASHSEED", "6640")  # set by a nanny where nobody has set it
_PAUSE = 0.05

_lock = threading.Lock()
_guests: set[str] = set()  # sessions that this process works for
_ending: set[str] = set()  # those of them that are ending
_running: Counter[str] = Counter()  # instances, by session


def topic_of(session: str) -> str:
    """Return the topic under which workers tell a session what they have begun."""
    return f"ductaflow-{session}"


async def welcome(
    session: str,
    ticket: str,
    sharing: Mapping[str, int],
    variables: Mapping[str, str],
    dask_worker: Any = None,
) -> int:
    """Get this process ready to run instances of a session, and have it offer what their tasks ask for.

    Args:
        session: Id of the session.
        ticket: Name of the resource that is offered.
        sharing: How many threads of workers share the cores of this machine, by the address of a worker.
        variables: Environment variables to which configs refer.
        dask_worker: The worker, which Dask gives.

    Returns:
        Bytes that instances on it may use together: the limit of the worker, or else this machine's memory.
    """
    _guests.add(session)
    _ending.discard(session)
    share_among(sharing.get(dask_worker.address, 1))
    for name, value in (*_set_by_dask().items(), _HASHES):
        if os.environ.get(name) == str(value):
            del os.environ[name]
    os.environ.update(variables)
    memory = dask_worker.memory_manager.memory_limit or usable_memory()
    await dask_worker.set_resources(**{ticket: dask_worker.state.nthreads, memory_of(ticket): memory})
    return int(memory)


def memory_of(ticket: str) -> str:
    """Return the name of the resource that is the memory of a worker, in bytes, for those with a ticket."""
    return f"{ticket}-memory"


def _set_by_dask() -> Mapping[str, object]:
    """Return the variables that a nanny sets, which say how many threads libraries use in a task of Dask."""
    import dask

    found: Mapping[str, object] = dask.config.get("distributed.nanny.pre-spawn-environ", {}) or {}
    return found


def run_work(work: Work, session: str) -> Outcome:
    """Run an instance of a session in a thread of this worker."""
    from distributed import get_worker

    worker = get_worker()
    name = name_of(worker.name, worker.address)
    worker.log_event(topic_of(session), {"number": work.number, "token": work.token, "worker": name})
    with _lock:
        _running[session] += 1
    try:
        return work.run(name, partial(_is_wanted, worker, worker.get_current_task(), session))
    finally:
        with _lock:
            _running[session] -= 1


def name_of(name: object, address: str) -> str:
    """Return a name of a worker for people."""
    if isinstance(name, int):
        return f"dask{name}"
    return str(name or address).partition("://")[2] or str(name)


def _is_wanted(worker: Any, key: str, session: str) -> bool:
    """Return whether anybody still waits for a task: not if its session is gone, or stopping."""
    task = worker.state.tasks.get(key)
    return session not in _ending and task is not None and task.state not in ("cancelled", "released")


def end_early(session: str) -> None:
    """Have all instances of a session stop that this process runs."""
    _ending.add(session)


async def farewell(session: str, seconds: float) -> int:
    """Wait until this process runs nothing more for a session, and end what no other session needs.

    Args:
        session: Id of the session.
        seconds: How long to wait.

    Returns:
        How many of its instances still run.
    """
    _ending.add(session)
    end = time.monotonic() + seconds
    while _running[session] and time.monotonic() < end:  # noqa: ASYNC110 - threads end, not coroutines
        await asyncio.sleep(_PAUSE)
    _guests.discard(session)
    remove(session)
    if not _guests and (pool := sys.modules.get(_POOL)) is not None:
        pool.servers.begin_to_end()
    return _running[session]
