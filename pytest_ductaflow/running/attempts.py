"""Run one instance, with retries, from its config on disk to its record.

Above `execute`: attempts, the flows of a build, the status, inputs and outputs, the HTML page.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import IO

from ..core.errors import DuctaflowError
from ..core.instance import Instance
from ..core.masking.config import digests_of_secrets, environment_for, references_in, values_to_mask
from ..core.masking.masker import Masker
from ..core.record import FLOW_FAILED, Failure, Record, Status
from ..core.run_directory import build_variable, layout, listing, record_files
from ..core.run_directory.layout import RunFiles
from ..core.run_directory.record_files import publish
from ..core.settings import Settings
from ..sources.installed_versions import own_path, versions_of
from ..tracking.digests import ABSENT, config_digest, input_digest
from ..tracking.inputs import InputSearch
from ..tracking.observed import Used
from ..tracking.paths_in_config import output_files
from ..tracking.used_files import Inputs
from .clean_start import CleanStart, clear_replay
from .debugging.terminal import terminal_here, variable_for_flows
from .failures.run_failure import FROM_OUTSIDE
from .flow_run import Execution, flow_run
from .html.instance_page import InstancePage
from .retries import Attempts, pause, pause_after

_UNNAMED = "it has read a file whose name contains a secret, which is not noted"


@dataclass(frozen=True)
class _Tried:
    """The attempts to run an instance.

    Attributes:
        execution: Result of the last one.
        before: The earlier ones, which have failed.
        flows: The flows of a build that ran in the last one.
        pause: Seconds to wait before the next one, if that is left to the caller.
    """

    execution: Execution
    before: Attempts
    flows: tuple[Record, ...]
    pause: float | None = None


def run_with_retries(
    instance: Instance,
    files: RunFiles,
    running: Record,
    settings: Settings,
    echo: IO[str] | None,
    search: InputSearch,
    start: CleanStart,
    *,
    page_may_follow: bool,
    attempts: Attempts,
    leaves_retries: bool,
) -> tuple[Record, bool]:
    """Run an instance, and make its record.

    Args:
        instance: What to run.
        files: Paths of its files.
        running: Its record while it runs.
        settings: HTML mode, default kernel and default time-out.
        echo: A stream that receives the flow's output as it comes.
        search: Finds its inputs.
        start: Its run directory, which is clear.
        page_may_follow: Whether the page may be written after the record.
        attempts: What was tried before.
        leaves_retries: Whether to return where the next attempt has to wait.

    Returns:
        The record, and whether the keyboard stopped it.

    Raises:
        OSError: If the run directory cannot be used.
    """
    record_files.write_config(files, instance.full_config)  # the record says already that it runs
    began = files.config.stat().st_mtime_ns  # by the clock of the file system, which may be another machine's
    lag = time.time_ns() - began
    page = InstancePage(instance, files, settings, may_follow=page_may_follow)
    try:
        tried = _attempts(
            instance, files, running, settings, echo, page, start, attempts, leaves_retries=leaves_retries
        )
    finally:
        files.journal.unlink(missing_ok=True)
    page.write_those_of_flows(hurry=tried.execution.interrupted)
    if files.directory.is_dir() and not files.config.exists():  # the flow has deleted it
        record_files.write_config(files, instance.full_config)
    record = _with_ending(running, tried)
    if record.status.good:
        start.set_aside_others_than(tried.flows)
    record = _with_files(record, instance, files, search, start, tried, began, lag)
    interrupted = tried.execution.interrupted
    is_quick = not interrupted or build_variable.surrounding_build() is not None
    if not page.is_written and is_quick:  # after Ctrl-C the user waits for the record only
        page.write(failed=record.status is Status.ERROR)
    record = record.with_(
        kernel=settings.kernel_of(instance),
        cwd=instance.runs_in,
        config_digest=config_digest(instance.config),
        secrets=digests_of_secrets(instance),
        error=_without_rights(record.error, tried.execution.used),
        environment=_environment_of(tried.execution.used),
        python_warnings=record.python_warnings + page.problems,
    )
    return record, interrupted


def _with_files(
    record: Record,
    instance: Instance,
    files: RunFiles,
    search: InputSearch,
    start: CleanStart,
    tried: _Tried,
    began: int,
    lag: int,
) -> Record:
    """Return the record with what the run has read and written, and the packages that it has imported.

    Args:
        record: The record so far.
        instance: The instance.
        files: Paths of its files.
        search: Finds its inputs.
        start: Knows what was in its run directory before.
        tried: Its attempts.
        began: Time when its config was last written, in ns on the clock of the file system.
        lag: Lag of that clock behind this machine's, in ns.
    """
    used = tried.execution.used
    written = start.written()
    outputs = listing.digests(files.directory, written.outputs)
    by_flows = (path for flow in tried.flows for path in output_files(flow, instance.project_root))
    inputs = search.finish(used, outputs, began, lag, of_flows=by_flows)
    inputs = _without_secrets(inputs, instance)
    return record.with_(
        inputs={**inputs.digests, **_digests(tried.execution.kernel_files, instance)},
        code=inputs.code,
        stats=inputs.stats,
        observed=inputs.observed,
        unknown=inputs.unknown,
        outputs=outputs | listing.digests(files.directory, inputs.written_elsewhere),
        altered=written.altered,
        made=written.made,
        packages=versions_of({*used.packages, *inputs.imports}, _path_of(used), is_build=bool(tried.flows)),
    )


def _without_secrets(inputs: Inputs, instance: Instance) -> Inputs:
    """Return the inputs without those whose names contain a secret: the flow may have taken it for a path."""
    mask = Masker(values_to_mask([instance], environment_for(instance)))
    named = {name for name in inputs.digests if mask(name) != name}
    if not named:
        return inputs
    unseen = () if all(inputs.digests[name] == ABSENT for name in named) else (_UNNAMED,)
    return replace(
        inputs,
        digests={name: digest for name, digest in inputs.digests.items() if name not in named},
        stats={name: stat for name, stat in inputs.stats.items() if name not in named},
        unknown=(*inputs.unknown, *unseen),
    )


def _lay_out_again(instance: Instance, files: RunFiles, running: Record, start: CleanStart) -> None:
    """Clear the run directory, so that the next attempt begins as the first one did."""
    if instance.stored_in:
        clear_replay(files)
        record_files.write_config(files, instance.full_config)
        publish(files, running)
    start.clear_attempt()


def _attempts(
    instance: Instance,
    files: RunFiles,
    running: Record,
    settings: Settings,
    echo: IO[str] | None,
    page: InstancePage,
    start: CleanStart,
    before: Attempts,
    *,
    leaves_retries: bool,
) -> _Tried:
    """Run an instance until it ends well or no retries are left, or as long as nothing has to wait."""
    is_first = True
    while True:
        if not is_first:
            _lay_out_again(instance, files, running, start)
        is_first = False
        files.journal.unlink(missing_ok=True)
        page.is_written = False
        try:
            is_last = len(before.failed) >= instance.retries
            execution = _execute(instance, files, running, settings, echo, page, is_last=is_last)
        except DuctaflowError as error:
            execution = Execution(Failure(type(error).__name__, str(error)))
        tried = _Tried(execution, before, record_files.read_journal(files.journal))
        failure, number = _failure_of(tried), len(before.failed) + 1
        if failure is None or execution.interrupted or number > instance.retries:
            return tried
        seconds = pause_after(instance, number)
        if seconds and leaves_retries:
            return replace(tried, pause=seconds)
        before = Attempts((*before.failed, failure.in_line), (*before.waited, round(seconds, 3)))
        try:
            pause(time.time() + seconds)
        except KeyboardInterrupt:
            return _Tried(replace(execution, failure=FROM_OUTSIDE, interrupted=True), before, tried.flows)


def _execute(
    instance: Instance,
    files: RunFiles,
    running: Record,
    settings: Settings,
    echo: IO[str] | None,
    page: InstancePage,
    *,
    is_last: bool,
) -> Execution:
    """Run the flow once; its page is written while the kernel is ending."""
    terminal = terminal_here()
    environment = build_variable.build_environment(
        files,
        settings.dumps(),
        instance.working_directory,
        running.variables,
        running.lineage,
        references_in(instance.config),
    )
    with flow_run(
        instance,
        files,
        settings,
        environment=environment | variable_for_flows(terminal, after_failure=is_last),
        echo=echo,
        last_good=running.last_good,
        terminal=terminal,
        is_last=is_last,
    ) as run:
        if run.run_cells():
            with run.interruptible():
                page.write()
        return run.finish()


def _failure_of(tried: _Tried) -> Failure | None:
    """Return what made the last attempt fail: the instance itself, or a flow of a build."""
    failed = next((flow for flow in tried.flows if not flow.status.good), None)
    if tried.execution.failure is not None or failed is None:
        return tried.execution.failure
    return Failure(FLOW_FAILED, f"flow {Path(failed.flow).stem} failed: {failed.message}")


def _with_ending(running: Record, tried: _Tried) -> Record:
    """Return the record with how the run ended."""
    execution, failure = tried.execution, _failure_of(tried)
    warned = execution.warning_count or any(flow.status is Status.WARNING for flow in tried.flows)
    status = Status.ERROR if failure else Status.WARNING if warned else Status.SUCCESS
    return running.with_(
        status=status,
        found=None,
        owner=None,
        last_good=running.last_good if failure else "",
        duration=round(execution.seconds, 3),
        attempts=len(tried.before.failed) + 1,
        failed_attempts=tried.before.failed,
        waited=(*tried.before.waited, *([] if tried.pause is None else [round(tried.pause, 3)])),
        retry_at=None if tried.pause is None else time.time() + tried.pause,
        warnings=execution.warnings,
        warning_count=execution.warning_count,
        warning_line=execution.warning_line,
        python_warnings=execution.python_warnings,
        error=failure,
        flows=tried.flows,
        peak_memory=execution.peak_memory,
        threads=execution.threads,
    )


def _digests(files: Iterable[str], instance: Instance) -> dict[str, str]:
    return {layout.display_path(path, instance.project_root): input_digest(path) for path in files}


def _without_rights(failure: Failure | None, used: Used) -> Failure | None:
    """Return a failure with a hint, if a program could not gain other rights because it was observed."""
    if failure is None or not used.privileged:
        return failure
    name = Path(used.privileged[0]).name
    hint = f"({name} cannot gain other rights in a flow that is observed; ductaflow_observe = python lets it)"
    return replace(failure, message=f"{failure.message}\n{hint}")


@lru_cache(maxsize=1)
def environment_here() -> Mapping[str, str]:
    versions = {name: metadata.version(name) for name in ("pytest-ductaflow", "papermill", "ipykernel")}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        **versions,
    }


def _path_of(used: Used) -> tuple[str, ...]:
    """Return the folders of the packages of a run's interpreter, without those that the flow has added."""
    if used.executable in ("", sys.executable):
        return own_path()
    return tuple(folder for folder in used.path if os.path.isabs(folder))


def _environment_of(used: Used) -> Mapping[str, str]:
    """Return the environment of a run; its kernel may have been another interpreter's."""
    if used.executable in ("", sys.executable):
        return environment_here()
    other = {
        "python": used.python,
        "executable": used.executable,
        "kernel_path": os.pathsep.join(_path_of(used)),
    }
    return {**environment_here(), **other}
