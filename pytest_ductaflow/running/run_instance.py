"""Decide whether an instance has to run, run it, and write its record.

The modules that run it are imported only if something runs: a session without changes ends quickly.
"""

from __future__ import annotations

import contextlib
import datetime
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING

from ..core.errors import InUse
from ..core.instance import Instance, Neighbours
from ..core.record import IN_USE, INTERRUPTED, STOPPED, Failure, Record, Status
from ..core.run_directory import build_variable, layout, record_files
from ..core.run_directory.layout import RunFiles
from ..core.run_directory.record_files import publish
from ..core.settings import Settings
from ..core.system.interrupts import keyboard_of_main_thread, raise_if_pressed
from ..core.system.lineage import commit_of, lineage_here
from ..core.system.machine import core_in_use, worker_here
from ..tracking.up_to_date import check
from ..tracking.upstreams import records_of, with_upstreams
from .retries import attempts_before, awaits_retry
from .single_run import Task, publish_failure, run_from_clean_start, unusable

if TYPE_CHECKING:
    from .children.runner import ChildRunner

_ALONE = Neighbours()


def _say_here(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run(
    instance: Instance,
    settings: Settings,
    *,
    neighbours: Neighbours = _ALONE,
    echo: IO[str] | None = None,
    judge: Callable[[Record], Record] | None = None,
    say: Callable[[str], None] = _say_here,
    page_may_follow: bool = False,
    runner: ChildRunner | None = None,
    leaves_retries: bool = False,
) -> Record:
    """Run an instance and leave its files, unless nothing that it depends on has changed.

    Args:
        instance: What to run.
        settings: HTML mode, default kernel, default time-out, and whether to run in any case.
        neighbours: The other instances that concern it.
        echo: A stream that receives the flow's output as it comes.
        judge: Returns the final record of an instance that ran.
        say: Receives one line if another process is running the instance and has to be waited for.
        page_may_follow: Whether the page may be missing until `finish` is called.
        runner: A process that runs it if it has to run; None for this process.
        leaves_retries: Whether this returns where a retry has to wait, so that something else can run. The
            record then has its time (`retry_at`), and the next call for this instance goes on from there.

    Returns:
        The record, as it was written to the run directory; `unchanged` if nothing has run. A flow
        that fails is a result, not an exception.

    Raises:
        KeyboardInterrupt: After record and notebook have been saved.
    """
    with keyboard_of_main_thread(), core_in_use():
        raise_if_pressed()
        return _run(
            instance,
            settings,
            neighbours,
            echo,
            judge,
            say,
            runner,
            page_may_follow=page_may_follow,
            leaves_retries=leaves_retries,
        )


def _run(
    instance: Instance,
    settings: Settings,
    neighbours: Neighbours,
    echo: IO[str] | None,
    judge: Callable[[Record], Record] | None,
    say: Callable[[str], None],
    runner: ChildRunner | None,
    *,
    page_may_follow: bool,
    leaves_retries: bool,
) -> Record:
    """Run an instance as `run` does."""
    with contextlib.ExitStack() as stack:
        task = prepare(stack, instance, settings, neighbours, say, page_may_follow=page_may_follow)
        if isinstance(task, Record):
            return task
        task = replace(task, leaves_retries=leaves_retries)
        result = run_task_here(task, echo) if runner is None else runner.run(task, echo)
        return complete(task, *result, neighbours, judge)


def unchanged_record(instance: Instance, settings: Settings, neighbours: Neighbours) -> Record | None:
    """Return the record of an instance that is unchanged, without writing or running anything.

    Returns:
        None if the instance has to run, or its record has to be written anew.
    """
    raise_if_pressed()
    instance = settings.placed(instance)
    files = RunFiles.of(instance)
    return _kept_as_it_is(_decide(instance, files, settings, neighbours), files)


def prepare(
    stack: contextlib.ExitStack,
    instance: Instance,
    settings: Settings,
    neighbours: Neighbours,
    say: Callable[[str], None],
    *,
    page_may_follow: bool,
    refuses_to_wait: bool = False,
) -> Record | Task:
    """Decide whether an instance has to run, and take its lock if it has.

    Args:
        stack: Holds the lock.
        instance: The instance.
        settings: As in `run`.
        neighbours: As in `run`.
        say: As in `run`.
        page_may_follow: As in `run`.
        refuses_to_wait: Whether to raise `InUse` if another process is running it.

    Returns:
        The record, if nothing has to run or nothing can; else the task, for `run_from_clean_start` in
        whatever process, and then for `complete`.
    """
    instance = settings.placed(instance)
    files = RunFiles.of(instance)
    first = _decide(instance, files, settings, neighbours)
    if (kept := _kept_as_it_is(first, files)) is not None:
        return kept  # only writing needs the lock
    try:
        has_waited = _take_lock(stack, instance, files, say, wait=not (settings.no_wait or refuses_to_wait))
    except InUse as error:
        if refuses_to_wait:
            raise
        return _refused(instance, first, Failure(IN_USE, str(error)))
    except OSError as error:
        return _refused(instance, first, unusable(error))
    was_run = has_waited or record_files.read_record(files.record)[0] != first.earlier
    found = _decide(instance, files, settings, neighbours) if was_run else first
    if found.record is not None:
        return _kept(found.record, files, is_news=found.refreshed)
    return _task(instance, files, found, settings, neighbours, page_may_follow=page_may_follow)


def _take_lock(
    stack: contextlib.ExitStack,
    instance: Instance,
    files: RunFiles,
    say: Callable[[str], None],
    *,
    wait: bool,
) -> bool:
    """Take the lock of an instance, and return whether another process had it."""
    from ..core.system.instance_lock import held

    label = f"{instance.step}/{instance.name}"
    return stack.enter_context(held(files, instance.project_root, label, wait=wait, say=say))


@dataclass(frozen=True)
class _Decision:
    """The decision whether an instance has to run, and its basis.

    Attributes:
        earlier: The record of its last run.
        upstreams: Labels and records of its upstreams.
        reason: Why it has to run.
        record: The record to keep if it does not have to.
        refreshed: Whether that record is newer than the file.
    """

    earlier: Record | None
    upstreams: list[tuple[str, Record]]
    reason: str
    record: Record | None = None
    refreshed: bool = False


def _decide(instance: Instance, files: RunFiles, settings: Settings, neighbours: Neighbours) -> _Decision:
    """Decide whether an instance has to run."""
    earlier, _ = record_files.read_record(files.record)
    upstreams = records_of(neighbours)
    if earlier is not None and awaits_retry(earlier):
        return _Decision(earlier, upstreams, earlier.reason)
    if settings.force or instance.always_run:
        reason = "stored instance" if instance.stored_in else "new" if earlier is None else "run again"
        return _Decision(earlier, upstreams, reason)
    kernel, trusts = settings.kernel_of(instance), settings.unseen == "trust"
    found = check(instance, earlier, upstreams, kernel, neighbours, trusts_unseen=trusts)
    return _Decision(earlier, upstreams, "; ".join(found.reasons), found.record, found.refreshed)


def _task(
    instance: Instance,
    files: RunFiles,
    decision: _Decision,
    settings: Settings,
    neighbours: Neighbours,
    *,
    page_may_follow: bool,
) -> Task:
    """Return the run of an instance that has to run."""
    return Task(
        instance,
        files,
        _running_record(instance, decision.reason),
        decision.earlier,
        tuple(decision.upstreams),
        settings,
        neighbours.made_beside,
        page_may_follow,
        attempts_before(decision.earlier),
    )


def run_task_here(task: Task, echo: IO[str] | None) -> tuple[Record, bool]:
    """Run an instance in this process."""
    if task.settings.fork:
        _start_server(task.instance, task.settings)
    return run_from_clean_start(task, echo)


def complete(
    task: Task,
    record: Record,
    interrupted: bool,
    neighbours: Neighbours,
    judge: Callable[[Record], Record] | None,
) -> Record:
    """Complete the record of an instance that has run, and write it.

    Raises:
        KeyboardInterrupt: If the keyboard has stopped the flow.
    """
    try:
        record = with_upstreams(record, task.instance, neighbours, task.upstreams)
        record = record.with_(lineage={**record.lineage, **commit_of(task.instance.project_root)})
        if judge is not None and not interrupted and record.retry_at is None:
            record = judge(record)
        publish(task.files, record)
    except OSError as error:
        record = publish_failure(task.files, task.running, unusable(error))
    except KeyboardInterrupt:
        publish_failure(task.files, task.running, Failure(INTERRUPTED, STOPPED))
        raise
    except BaseException as error:  # a pytest plugin's: the record must not stay open
        publish_failure(task.files, task.running, Failure(type(error).__name__, str(error)))
        raise
    if interrupted:
        raise KeyboardInterrupt
    return record


def _refused(instance: Instance, decision: _Decision, failure: Failure) -> Record:
    """Return the record of an instance that was not started; its run directory is not touched."""
    record = _running_record(instance, decision.reason).with_(status=Status.ERROR, error=failure)
    record_files.tell_build(record)
    return record


def start_early(settings: Settings) -> None:
    """Start what the first instance to run will need, where a core is idle, before it is known which it is.

    If no instance runs, all of it is ended with the session.
    """
    from ..core.system.machine import has_idle_core
    from ..core.thread_variables import with_threads
    from ..kernels.server_pool import kernel_environment, servers

    if has_idle_core():
        if settings.fork:
            servers.start(with_threads(kernel_environment({}), settings.threads, None))
        if settings.html == "all":
            from .html.instance_page import start_writer

            start_writer()


def start_server_for(worker: int, settings: Settings) -> str | None:
    """Start a server of kernels that a worker of this session uses; several may use the same.

    Args:
        worker: Its number, from 0.
        settings: Whether kernels are forked.

    Returns:
        What the worker needs to know to use it; None if it has none, or one that is kept warm.
    """
    from ..core.forking.place import RUNS, find
    from ..core.thread_variables import with_threads
    from ..kernels.server_pool import kernel_environment, servers

    if not settings.fork or find(RUNS) is not None:
        return None
    return servers.start_for(worker, with_threads(kernel_environment({}), settings.threads, None))


def prepare_early(instance: Instance, settings: Settings) -> None:
    """Have the processes that `start_early` has started, or one more for a build, import what they will need.

    Args:
        instance: The first instance that may have to run.
        settings: Whether kernels are forked.
    """
    from ..kernels.server_pool import environment_of, servers

    environment = environment_of(instance, settings)
    if settings.fork and servers.is_unused(environment):
        from ..kernels.start_kernel import prepare_likely_kernel

        prepare_likely_kernel(instance, settings)
        if instance.is_build:
            from .children.image import variable_for_builds

            variable_for_builds(environment)


def finish() -> list[str]:
    """Wait for background work that goes on after the last instance.

    Returns:
        Warnings of what went wrong there, which are also in the records.
    """
    pages = _pages()
    return pages.finish_pages() if pages is not None else []


def hurry() -> None:
    """Make `finish` wait for nothing, because the user is leaving."""
    if (pages := _pages()) is not None:
        pages.give_pages_up()


def _pages() -> ModuleType | None:
    """Return the module that requests pages, if anything has run that could have one."""
    return sys.modules.get(f"{__package__}.html.instance_page")


def _start_server(instance: Instance, settings: Settings) -> None:
    """Start the server of kernels, which gets the first one ready while the rest is imported here."""
    from ..kernels.server_pool import environment_of, servers

    environment = environment_of(instance, settings)
    servers.start(environment)
    if servers.is_unused(environment):
        from ..kernels.start_kernel import prepare_kernel

        prepare_kernel(instance, settings)


def _kept_as_it_is(decision: _Decision, files: RunFiles) -> Record | None:
    """Return the record to keep if there is one that need not be written anew."""
    if decision.record is None or decision.refreshed:
        return None
    return _kept(decision.record, files, is_news=False)


def _kept(record: Record, files: RunFiles, *, is_news: bool) -> Record:
    """Return a record that still holds, marked `unchanged`, and report it to a surrounding build."""
    if is_news:
        with contextlib.suppress(OSError):  # the older record says the same, and takes longer to check
            record_files.write_record(files, record)
    kept = record.with_(unchanged=True)
    record_files.tell_build(kept)
    return kept


def _running_record(instance: Instance, reason: str) -> Record:
    """Return the record of an instance that has started; after a crash it does not count as done."""
    root = instance.project_root
    known = Path(instance.source).is_file()  # a call in a kernel has no file
    return Record(
        status=Status.RUNNING,
        flow=layout.display_path(instance.flow, root),
        step=instance.step,
        instance=instance.name,
        run_dir=layout.display_path(instance.run_dir, root),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        reason=reason,
        source=layout.display_path(instance.source, root) if known else "",
        line=instance.line if known else None,
        worker=worker_here(),
        reserved=instance.reserved,
        variables=build_variable.variables_of(instance),
        design=instance.design,
        lineage=build_variable.lineage_of_build() or lineage_here(root),
        stored=bool(instance.stored_in),
    )
