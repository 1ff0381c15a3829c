"""Run an instance from a clean start, whatever stops it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import IO

from ..core.instance import Instance
from ..core.record import IN_USE, INTERRUPTED, STOPPED, Failure, Record, Status
from ..core.run_directory import record_files
from ..core.run_directory.layout import RunFiles
from ..core.settings import Settings
from ..core.system import kept_kernels
from ..core.system.interrupts import keyboard_later
from ..tracking.inputs import InputSearch
from ..tracking.python_caches import drop_young_caches
from ..tracking.upstreams import upstream_files
from .retries import NOTHING_TRIED, Attempts


@dataclass(frozen=True)
class Task:
    """An instance that has to run, and what its run depends on.

    Attributes:
        instance: The instance.
        files: Paths of its files.
        running: Its record while it runs.
        earlier: The record of its last run.
        upstreams: Labels and records of its upstreams.
        settings: HTML mode, default kernel, default time-out.
        made_beside: `Neighbours.made_beside`.
        page_may_follow: Whether the page may be written after the record.
        attempts: What was tried before in this session.
        leaves_retries: Whether a retry that has to wait is left to the caller.
    """

    instance: Instance
    files: RunFiles
    running: Record
    earlier: Record | None
    upstreams: tuple[tuple[str, Record], ...]
    settings: Settings
    made_beside: Callable[[str], Collection[str]]
    page_may_follow: bool
    attempts: Attempts = NOTHING_TRIED
    leaves_retries: bool = False


def run_from_clean_start(task: Task, echo: IO[str] | None) -> tuple[Record, bool]:
    """Run an instance whose lock is held.

    Args:
        task: What to run.
        echo: A stream that receives the flow's output as it comes.

    Returns:
        The record, not yet written unless there is no result, and whether the keyboard stopped the flow.

    Raises:
        KeyboardInterrupt: Before the flow began or after it ended; a record is written.
    """
    from .attempts import run_with_retries
    from .clean_start import CleanStart, clear_replay

    instance, files, settings = task.instance, task.files, task.settings
    root, running = instance.project_root, task.running
    try:
        if (why := kept_kernels.end_of(files, root)) is not None:
            return publish_failure(files, running, Failure(IN_USE, why)), False
        if instance.stored_in:
            clear_replay(files)
            start = CleanStart(files, root, None)
        else:
            keep = (*settings.keep, *instance.keep)
            start = CleanStart(files, root, task.earlier, keep=keep, generations=settings.generations)
        running = start.announce(running)
        start.clear()
        drop_young_caches(_folders_of_modules(instance, task.earlier))
        written_before = upstream_files(task.upstreams, root)
        search = InputSearch(instance, written_before, task.earlier, task.made_beside)
        return run_with_retries(
            instance,
            files,
            running,
            settings,
            echo,
            search,
            start,
            page_may_follow=task.page_may_follow,
            attempts=task.attempts,
            leaves_retries=task.leaves_retries,
        )
    except OSError as error:
        return publish_failure(files, running, unusable(error)), False
    except KeyboardInterrupt:
        publish_failure(files, running, Failure(INTERRUPTED, STOPPED))
        raise
    except BaseException as error:  # ours: the record must not stay open
        publish_failure(files, running, Failure(type(error).__name__, str(error)))
        raise


def _folders_of_modules(instance: Instance, earlier: Record | None) -> Iterator[str]:
    """Yield the folders that may hold modules of the project that an instance imports."""
    root = instance.project_root
    yield from (root, os.path.dirname(instance.flow))
    for record in earlier.with_flows() if earlier is not None else ():
        yield from (os.path.dirname(os.path.join(root, name)) for name in record.code)


def unusable(error: OSError) -> Failure:
    return Failure(type(error).__name__, f"the run directory cannot be used: {error}")


def publish_failure(files: RunFiles, running: Record, failure: Failure) -> Record:
    """Write the record of a run without a result, unless there is no run directory yet, and return it."""
    record = running.with_(status=Status.ERROR, error=failure, owner=None)
    with contextlib.suppress(OSError), keyboard_later():
        record_files.write_failure(files, record)
        record_files.tell_build(record)
    return record
