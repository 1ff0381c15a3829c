"""Carrying one instance out, from its config on disk to what its record says of it.

Layer above `execute`: attempts, the flows of a build, the light, inputs and outputs, the HTML page.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import IO

from ..core import run_files
from ..core.errors import DuctaflowError
from ..core.machine import has_idle_core
from ..core.model import FLOW_FAILED, RUNS, Failure, Instance, Record, Status
from ..core.run_files import RunFiles, publish
from ..core.settings import Settings
from ..sources.installed_versions import own_path, versions_of
from ..tracking.digests import config_digest, input_digest
from ..tracking.inputs import InputSearch
from ..tracking.observed import Used
from ..tracking.paths_in_config import output_files
from .clean_start import CleanStart, clear_replay
from .execute import Execution, execute
from .html_process import PageWriter, write_page


def carry_out(
    instance: Instance,
    files: RunFiles,
    running: Record,
    settings: Settings,
    echo: IO[str] | None,
    search: InputSearch,
    start: CleanStart,
    *,
    page_may_follow: bool,
) -> tuple[Record, bool]:
    """From config to record.

    Args:
        instance: What to run.
        files: Where it leaves its files.
        running: Its record as long as it runs.
        settings: HTML mode, default kernel and default time-out.
        echo: A stream that gets the flow's output as it comes.
        search: What will find its inputs.
        start: Its run directory, which is clear.
        page_may_follow: Whether the page may be written when the record is there.

    Returns:
        The record, and whether the keyboard stopped it.

    Raises:
        OSError: If the run directory cannot be used.
    """
    run_files.write_config(files, instance.full_config)  # the record says already that it runs
    began = files.config.stat().st_mtime_ns  # by the clock of the file system, which may be another machine's
    lag = time.time_ns() - began
    page = _Page(instance, files, settings, may_follow=page_may_follow)
    try:
        execution, failed_attempts, flows = _attempts(instance, files, running, settings, echo, page, start)
    finally:
        files.journal.unlink(missing_ok=True)
    if (
        files.directory.is_dir() and not files.config.exists()
    ):  # the flow has deleted it, among all that was in its folder
        run_files.write_config(files, instance.full_config)
    record = _last_words(running, execution, failed_attempts, flows)
    if record.status.good:
        start.set_aside_others_than(flows)
    written = start.written()
    outputs = run_files.digests(files.directory, written.outputs)
    by_flows = (path for flow in flows for path in output_files(flow, instance.project_root))
    inputs = search.finish(execution.used, outputs, began, lag, of_flows=by_flows)
    outputs |= run_files.digests(files.directory, inputs.written_elsewhere)
    if not page.is_written and not execution.interrupted:  # who leaves waits for the record only
        page.write(failed=record.status is Status.ERROR)
    record = record.with_(
        kernel=settings.kernel_of(instance),
        cwd=instance.runs_in,
        config_digest=config_digest(instance.config),
        inputs={**inputs.digests, **_digests(execution.kernel_files, instance)},
        code=inputs.code,
        stats=inputs.stats,
        observed=inputs.observed,
        unknown=inputs.unknown,
        error=_without_rights(record.error, execution.used),
        outputs=outputs,
        altered=written.altered,
        made=written.made,
        environment=_environment_of(execution.used),
        packages=versions_of(
            {*execution.used.packages, *inputs.imports}, _path_of(execution.used), is_build=bool(flows)
        ),
        python_warnings=record.python_warnings + page.problems,
    )
    return record, execution.interrupted


def _lay_out_again(instance: Instance, files: RunFiles, running: Record, start: CleanStart) -> None:
    """Let the next attempt begin as the first one did."""
    if instance.stored_in:
        clear_replay(files)
        run_files.write_config(files, instance.full_config)
        publish(files, running)
    start.clear_attempt()


def _attempts(
    instance: Instance,
    files: RunFiles,
    running: Record,
    settings: Settings,
    echo: IO[str] | None,
    page: _Page,
    start: CleanStart,
) -> tuple[Execution, tuple[str, ...], tuple[Record, ...]]:
    """Run until it ends well or no retries are left; the second result is why earlier attempts failed."""
    failed: list[str] = []
    while True:
        if failed:
            _lay_out_again(instance, files, running, start)
        files.journal.unlink(missing_ok=True)
        page.is_written = False
        try:
            execution = execute(
                instance,
                files,
                settings,
                environment=run_files.build_environment(
                    files, settings.dumps(), instance.working_directory, running.variables
                ),
                echo=echo,
                at_end=page.write,
                last_good=running.last_good,
            )
        except DuctaflowError as error:
            execution = Execution(Failure(type(error).__name__, str(error)))
        flows = run_files.read_journal(files.journal)
        failure = _failure_of(execution, flows)
        if failure is None or execution.interrupted or len(failed) >= instance.retries:
            return execution, tuple(failed), flows
        line = f" (line {failure.file_line})" if failure.file_line is not None else ""
        failed.append(f"{failure.summary}{line}")


def _failure_of(execution: Execution, flows: tuple[Record, ...]) -> Failure | None:
    """What made an attempt fail: the instance itself, or a flow of a build."""
    failed = next((flow for flow in flows if not flow.status.good), None)
    if execution.failure is not None or failed is None:
        return execution.failure
    return Failure(FLOW_FAILED, f"flow {Path(failed.flow).stem} failed: {failed.message}")


def _last_words(
    running: Record, execution: Execution, failed_attempts: tuple[str, ...], flows: tuple[Record, ...]
) -> Record:
    failure = _failure_of(execution, flows)
    orange = execution.warning_count or any(flow.status is Status.WARNING for flow in flows)
    status = Status.ERROR if failure else Status.WARNING if orange else Status.SUCCESS
    return running.with_(
        status=status,
        found=None,
        owner=None,
        last_good=running.last_good if failure else "",
        duration=round(execution.seconds, 3),
        attempts=len(failed_attempts) + 1,
        failed_attempts=failed_attempts,
        warnings=tuple(execution.warnings),
        warning_count=execution.warning_count,
        warning_line=execution.warning_line,
        python_warnings=tuple(execution.python_warnings),
        error=failure,
        flows=flows,
        peak_memory=execution.peak_memory,
    )


def _digests(files: Iterable[str], instance: Instance) -> dict[str, str]:
    return {run_files.shown(path, instance.project_root): input_digest(path) for path in files}


def _without_rights(failure: Failure | None, used: Used) -> Failure | None:
    """Say so where a failure may come from a program that cannot gain other rights while it is observed."""
    if failure is None or not used.privileged:
        return failure
    name = Path(used.privileged[0]).name
    hint = f"({name} cannot gain other rights in a flow that is observed; ductaflow_observe = python lets it)"
    return replace(failure, message=f"{failure.message}\n{hint}")


class _Page:
    """The notebook as a page, if it is wanted.

    Attributes:
        is_written: Whether it shows the notebook of the last attempt, or is going to.
        problems: What kept it from being written, as a warning.
    """

    def __init__(self, instance: Instance, files: RunFiles, settings: Settings, *, may_follow: bool) -> None:
        self.is_written = False
        self.problems: tuple[str, ...] = ()
        self._files, self._mode = files, settings.html if instance.html else "none"
        self._runs = Path(instance.project_root) / RUNS
        self._may_follow = may_follow

    def write(self, *, failed: bool = False) -> None:
        wanted = self._mode == "all" or (self._mode == "failed" and failed)
        if not wanted or not self._files.notebook.exists():
            return
        self.is_written = True
        if self._may_follow and has_idle_core() and run_files.surrounding_build() is None:
            problem = _pages.ask(self._files, self._runs)
        else:
            problem = write_page(self._files, self._runs)
        if problem is not None:
            self.problems = (problem,)


_pages = PageWriter()


def finish() -> list[str]:
    """Wait for what goes on in the background; warnings of what went wrong there, as in the records."""
    return _pages.finish()


def hurry() -> None:
    """Let `finish` do without what is not there yet."""
    _pages.give_up()


@lru_cache(maxsize=1)
def _environment() -> Mapping[str, str]:
    versions = {name: metadata.version(name) for name in ("pytest-ductaflow", "papermill", "ipykernel")}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        **versions,
    }


def _path_of(used: Used) -> tuple[str, ...]:
    """Where the packages of a run's interpreter lie, apart from folders that the flow has added."""
    if used.executable in ("", sys.executable):
        return own_path()
    return tuple(folder for folder in used.path if os.path.isabs(folder))


def _environment_of(used: Used) -> Mapping[str, str]:
    """The environment of a run whose kernel may have been another interpreter's."""
    if used.executable in ("", sys.executable):
        return _environment()
    other = {
        "python": used.python,
        "executable": used.executable,
        "kernel_path": os.pathsep.join(_path_of(used)),
    }
    return {**_environment(), **other}
