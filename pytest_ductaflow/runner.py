"""Carrying one instance out, from its config on disk to its record.

Layer above `execute`: attempts, the flows of a build, the light, the record, the HTML page.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from . import store
from .errors import DuctaflowError
from .execute import Execution, execute
from .model import FLOW_FAILED, RUNS, Failure, Instance, Record, Status
from .settings import Settings
from .store import RunFiles


def run(instance: Instance, settings: Settings, *, echo: IO[str] | None = None) -> Record:
    """Run an instance and leave its files; a flow that fails is a result, not an exception.

    Args:
        instance: What to run.
        settings: HTML mode, default kernel and default time-out.
        echo: A stream that gets the flow's output as it comes.

    Returns:
        The record, as it was written to the run directory.

    Raises:
        KeyboardInterrupt: After record and notebook have been saved.
    """
    files = RunFiles.of(instance)
    reason = "run again" if files.record.exists() else "new"
    running = _first_words(instance, reason)
    try:
        record, interrupted = _carry_out(instance, files, running, settings, echo)
    except OSError as error:
        failure = Failure(type(error).__name__, f"the run directory cannot be used: {error}")
        record, interrupted = running.with_(status=Status.ERROR, error=failure), False
        with contextlib.suppress(OSError):
            _publish(files, record)
    except Exception as error:  # nobody's fault but ours, and still the record must not stay open
        failure = Failure(type(error).__name__, str(error))
        _publish(files, running.with_(status=Status.ERROR, error=failure))
        raise
    if interrupted:
        raise KeyboardInterrupt
    return record


def _carry_out(
    instance: Instance, files: RunFiles, running: Record, settings: Settings, echo: IO[str] | None
) -> tuple[Record, bool]:
    """From config to record; whether the keyboard stopped it."""
    store.write_config(files, instance.full_config)
    for stale in (files.notebook, files.html, files.log):
        stale.unlink(missing_ok=True)  # whatever comes now, these would tell of an earlier run
    _publish(files, running)
    before = store.stat_outputs(files)
    try:
        execution, attempts, flows = _attempts(instance, files, settings, echo)
    finally:
        files.journal.unlink(missing_ok=True)
    record = _last_words(running, execution, attempts, flows)
    after = store.stat_outputs(files)
    changed = [name for name, stat in after.items() if before.get(name) != stat]
    record = record.with_(
        outputs=store.digests(files.directory, changed),
        inputs=declared_inputs(instance),
        python_warnings=record.python_warnings + _write_html(instance, files, settings, record),
    )
    _publish(files, record)
    return record, execution.interrupted


def _attempts(
    instance: Instance, files: RunFiles, settings: Settings, echo: IO[str] | None
) -> tuple[Execution, int, tuple[Record, ...]]:
    """Run until it ends well or there are no retries left."""
    attempts = 0
    while attempts <= instance.retries:
        attempts += 1
        files.journal.unlink(missing_ok=True)
        try:
            execution = execute(
                instance,
                files,
                default_kernel=settings.kernel,
                timeout=instance.timeout or settings.timeout,
                environment=store.build_environment(files, settings.dumps()),
                echo=echo,
            )
        except DuctaflowError as error:
            execution = Execution(Failure(type(error).__name__, str(error)))
        flows = store.read_journal(files.journal)
        if execution.interrupted or not _failed(execution, flows):
            break
    return execution, attempts, flows


def _failed(execution: Execution, flows: tuple[Record, ...]) -> bool:
    return execution.failure is not None or any(not flow.status.good for flow in flows)


def _first_words(instance: Instance, reason: str) -> Record:
    """The record of an instance that has begun: if all goes dark now, nobody takes it for done."""
    root = instance.project_root
    known = Path(instance.source).is_file()  # a call in a kernel has no file
    return Record(
        status=Status.RUNNING,
        flow=store.shown(instance.flow, root),
        step=instance.step,
        instance=instance.name,
        run_dir=store.shown(instance.run_dir, root),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        reason=reason,
        source=store.shown(instance.source, root) if known else "",
        line=instance.line if known else None,
        environment=_environment(),
    )


def _last_words(running: Record, execution: Execution, attempts: int, flows: tuple[Record, ...]) -> Record:
    failed = [flow for flow in flows if not flow.status.good]
    failure = execution.failure
    if failure is None and failed:
        first = failed[0]
        failure = Failure(FLOW_FAILED, f"flow {Path(first.flow).stem} failed: {first.message}")
    orange = execution.warning_count or any(flow.status is Status.WARNING for flow in flows)
    status = Status.ERROR if failure else Status.WARNING if orange else Status.SUCCESS
    return running.with_(
        status=status,
        duration=round(execution.seconds, 3),
        attempts=attempts,
        warnings=tuple(execution.warnings),
        warning_count=execution.warning_count,
        python_warnings=tuple(execution.python_warnings),
        error=failure,
        flows=flows,
        peak_memory=execution.peak_memory,
    )


def _publish(files: RunFiles, record: Record) -> None:
    """Write a record, and tell the build around it, if there is one."""
    store.write_record(files, record)
    if (build := store.surrounding_build()) is not None:
        journal, _ = build
        store.add_to_journal(journal, record)


def _write_html(instance: Instance, files: RunFiles, settings: Settings, record: Record) -> tuple[str, ...]:
    """Write the page, if it is wanted; what kept it from being written, as a warning."""
    wanted = settings.html == "all" or (settings.html == "failed" and record.status is Status.ERROR)
    if not (wanted and instance.html and files.notebook.exists()):
        return ()
    from .notebook_html import write_html

    try:
        write_html(files.notebook, files.html, Path(instance.project_root) / RUNS)
    except Exception as error:  # a display that nbconvert cannot render must not fail the run
        return (f"NotebookWarning: {files.notebook.name} has no page: {type(error).__name__}: {error}",)
    return ()


@lru_cache(maxsize=1)
def _environment() -> Mapping[str, str]:
    versions = {name: metadata.version(name) for name in ("pytest-ductaflow", "papermill", "ipykernel")}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": sys.executable,
        **versions,
    }


def declared_inputs(instance: Instance) -> dict[str, str]:
    """Digests of what the instance names: the flow, and files of the project that its config points to.

    Returns:
        By path relative to the project root.
    """
    root, run_dir = Path(instance.project_root), Path(instance.run_dir)
    found = {Path(instance.flow)}
    for text in _texts(instance.config):
        with_root = (place / text for place in (run_dir, root))
        found |= {Path(os.path.normpath(path)) for path in with_root if _is_file(path)}
    digests = {}
    for path in sorted(found):
        with contextlib.suppress(OSError):
            digests[store.shown(path, root)] = store.digest(path)
    return digests


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # text that is no path at all
        return False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value and "\n" not in value:
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _texts(item)
