"""Run the instances of a call in this process, with a progress bar and the report."""

from __future__ import annotations

import atexit
import contextlib
import shlex
import sys
import threading
import warnings
from collections.abc import Generator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import SweepFailed
from ..core.instance import Instance, config_hash, slug
from ..core.record import Record, Status
from ..core.run_directory import build_variable, layout
from ..core.settings import Settings
from ..core.system.machine import worker_here
from ..kernels.observation import unobserved
from ..planning import called_instances
from ..planning.afterwards import answers
from ..planning.history import declared_history
from ..planning.history.declared_rows import is_declared_in, rows_besides
from ..planning.reserved_columns import notes_on_cores, notes_on_memory
from ..sources.instance_names import declared_at as place_of
from ..sources.notebooks import looks_like_flow
from .call_context import settings_of_call
from .uncaught import quiet_traceback

if TYPE_CHECKING:
    from ..graph.waits import Wait
    from ..planning.afterwards.answers import Answers
    from ..report.live import LiveReport


SIGNS = {
    Status.SUCCESS: "🟢",
    Status.WARNING: "🟠",
    Status.ERROR: "🔴",
    Status.BLOCKED: "⚪",
    Status.RUNNING: "…",
}
_lock = threading.Lock()  # calls may come from several threads, and share a report


def warn_if_overwritten(instances: list[Instance]) -> None:
    """Warn of instances that overwrite the results of an earlier call in the script with another config.

    A script may do so on purpose, in a calibration loop for example. pytest refuses it, because the files of
    all instances must exist at its end. Notebooks and builds get no warning: a cell is run again with another
    config, and a build may run its flows in turns.
    """
    if answers.current() is not None or _script() is None or build_variable.surrounding_build() is not None:
        return
    for instance in instances:
        before = called_instances.earlier(instance)
        if before is not None and config_hash(before.config) != config_hash(instance.config):
            root = Path(instance.project_root)
            what = f"{layout.display_path(instance.run_dir, root)} has been run with another config"
            by = f"({place_of(before, root)}) and is overwritten"
            warnings.warn_explicit(f"{what} {by}", UserWarning, instance.source, instance.line or 1)


def warn_of_machine(instances: list[Instance]) -> None:
    """Warn once of instances that ask for more than the machine has; of those under pytest the plan tells."""
    if answers.current() is None:
        for note in (*notes_on_cores(instances), *notes_on_memory(instances)):
            _warn_once(note, instances[0].source, instances[0].line or 1)


@lru_cache
def _warn_once(note: str, file: str, line: int) -> None:
    warnings.warn_explicit(note, UserWarning, file, line)


def note_instances(instances: list[Instance], *, at_once: bool) -> None:
    """Note the instances of a call; those of a conductor also on disk, when it exits or at once."""
    called_instances.note(instances)
    script = _script()
    if script is None or not instances or build_variable.surrounding_build() is not None:
        return
    with _lock:
        _note_at_exit(script)
        if answers.current() is None:
            _announce(Path(instances[0].project_root))
        if at_once:
            declared_history.note_script(Path(instances[0].project_root), script, instances, complete=False)


@lru_cache
def _note_at_exit(script: Path) -> None:
    atexit.register(_note_script, script)


@lru_cache
def _announce(root: Path) -> None:
    """Let the command `ductaflow cancel` find this script."""
    from ..core.system.running_now import announce

    atexit.register(announce(root, shlex.join(["python", *sys.argv])))


def _note_script(script: Path) -> None:
    """Note on disk which instances a conductor ran, when it exits."""
    is_whole = len(sys.argv) == 1 and not hasattr(sys, "last_value")  # arguments may select a part
    by_root: dict[str, list[Instance]] = {}
    for instance in called_instances.made():
        by_root.setdefault(instance.project_root, []).append(instance)
    for root, instances in by_root.items():
        declared_history.note_script(Path(root), script, instances, complete=is_whole)


def _script() -> Path | None:
    """Return the conductor that Python is running; None in notebooks and in installed programs."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    path = Path(file).resolve() if file else None
    if path is None or path.suffix != ".py" or "site-packages" in path.parts or looks_like_flow(path):
        return None
    return path


def answer_all(instances: list[Instance], given: Answers) -> None:
    """Take the results of instances that ran under pytest, and run those that were not collected.

    Raises:
        SweepFailed: If some have failed.
    """
    __tracebackhide__ = True
    known = [(instance, given.record_of(instance)) for instance in instances]
    failed = [record for _, record in known if record is not None and not record.status.good]
    failed += run_all([instance for instance, record in known if record is None])
    raise_if_any(failed, len(instances))


def _report_of(root: Path) -> LiveReport:
    """Return the report of a script's run, shared by all its calls of `conduct`."""
    with _lock:
        return _report_in(root)


@lru_cache
def _report_in(root: Path) -> LiveReport:
    from ..report.live import LiveReport

    command = shlex.join(["python", sys.argv[0]])
    report = LiveReport(root, command, html=settings_of_call().html)
    report.keep_all(is_declared_in(root), partial(rows_besides, root))
    atexit.register(_finish, report, root, _script())  # which Python forgets before it exits
    return report


def _finish(report: LiveReport, root: Path, script: Path | None) -> None:
    """Write the last state of a script's report, without instances that the script does not have any more."""
    if script is not None:
        _note_script(script)
        source, is_declared = layout.display_path(script, root), is_declared_in(root)
        report.drop_earlier(lambda row: row["source"] == source and not is_declared(row))
    report.finish("finished")


def report_of_script(instance: Instance) -> LiveReport | None:
    """Return the report to which a single call of a conductor belongs; None for other callers.

    A flow that runs itself from the command line, a build and a notebook are not conductors: a page
    with their one row would replace that of the sweep.
    """
    script = Path(sys.argv[0]).resolve()
    is_conductor = script.is_file() and script == Path(instance.source).resolve()
    if not is_conductor or looks_like_flow(script) or answers.current() is not None:
        return None
    if not settings_of_call().report:
        return None
    return _report_of(Path(instance.project_root))


def run_all(instances: list[Instance], workers: int = 1) -> list[Record]:
    """Run instances with a progress bar, and keep the report up to date.

    Args:
        instances: The instances.
        workers: How many run at a time.

    Returns:
        The records of those that failed or were blocked.
    """
    from tqdm.auto import tqdm

    if not instances:
        return []
    bad: list[Record] = []
    counts = dict.fromkeys((Status.SUCCESS, Status.WARNING, Status.ERROR, Status.BLOCKED), 0)
    is_part = (
        build_variable.surrounding_build() is not None or answers.current() is not None
    )  # of a run that has a report
    report = None if is_part or not settings_of_call().report else _report_of(Path(instances[0].project_root))
    if report is not None:
        for instance in instances:
            report.add(_id_of(instance), instance, _repeat_command(instance))
        report.set_workers(workers)
        report.follow()
    ended = _ended(instances, report, workers)
    bar = tqdm(total=len(instances), desc=instances[0].step, unit="instance")
    with bar, contextlib.closing(ended):
        for record in ended:
            counts[record.status] += 1
            bar.set_postfix_str(" ".join(f"{SIGNS[status]} {n}" for status, n in counts.items() if n))
            bar.update()
            if record.status in (Status.ERROR, Status.BLOCKED):
                bad.append(record)
                tqdm.write(f"{SIGNS[record.status]} {record.step}/{record.instance}: {_why_bad(record)}")
    _finish_pages()
    return bad


def _ended(
    instances: Sequence[Instance], report: LiveReport | None, workers: int
) -> Generator[Record, None, None]:
    """Run instances; yield the record of each when it has ended, or cannot run.

    The next ones start when the next record is asked for.
    """
    settings = settings_of_call()
    with unobserved():  # in a build's kernel, files used to run its flows are not its inputs
        from ..planning.call_order import CallOrder
        from ..running.side_by_side import run_side_by_side

        order = CallOrder(instances, settings)
        queue = order.queue(workers) if workers > 1 else None
        if report is not None:
            report.expect(order.time_left([_id_of(each) for each in instances], workers))

    def run(number: int) -> Record:
        instance = instances[number]
        if (obstacle := order.obstacle(number)) is None:
            wait = None if queue is None else queue.wait_of(number)
            return _run_reported(instance, settings, report, wait, page_may_follow=True)
        if report is not None:
            report.blocked(_id_of(instance), obstacle)
        return answers.without_run(instance, obstacle)

    in_sequence = ((number, run(number)) for number in order.sequence)
    ended = in_sequence if queue is None else run_side_by_side(queue, workers, run)
    with contextlib.closing(ended):
        for number, record in ended:
            order.ended(number, record)
            yield record


def _why_bad(record: Record) -> str:
    if record.status is Status.BLOCKED and record.error is not None:
        return f"blocked: {record.error.message}"
    return f"{record.message} ({record.run_dir})"


def _finish_pages() -> None:
    """Wait for pages, so that code after a call finds them; their problems are in the records."""
    if (runner := sys.modules.get("pytest_ductaflow.running.run_instance")) is not None:
        runner.finish()


def raise_if_any(failed: list[Record], number: int) -> None:
    """Raise an error that names the instances that failed, if any.

    Raises:
        SweepFailed: If any failed.
    """
    __tracebackhide__ = True
    if failed:
        names = ", ".join(f"{record.step}/{record.instance}" for record in failed)
        quiet_traceback()
        raise SweepFailed(f"{len(failed)} of {number} instances failed: {names}")


def _run_reported(
    instance: Instance,
    settings: Settings,
    report: LiveReport | None,
    wait: Wait | None = None,
    *,
    page_may_follow: bool = False,
) -> Record:
    quiet_traceback()
    if report is not None:
        report.started(_id_of(instance), worker_here() or None, wait)
    with unobserved():  # in a build's kernel, files used to run its flows are not its inputs
        from ..running.children.flows_of_build import run_outside

        record = run_outside(instance, settings, page_may_follow=page_may_follow)
        if record is None:
            from ..running.run_instance import run

            record = run(instance, settings, page_may_follow=page_may_follow)
    if report is not None:
        report.ended(_id_of(instance), record)
    return record


def _id_of(instance: Instance) -> str:
    """Return the node id that the instance would have under pytest in the project root."""
    source = layout.display_path(instance.source, instance.project_root)
    return f"{source}::{slug(instance.step)}::{slug(instance.name)}"


def _repeat_command(instance: Instance) -> str:
    return f"pytest --ductaflow {shlex.quote(_id_of(instance))}"


def run_and_print(instance: Instance) -> Record:
    """Run the instance of a single call, and print how it ended."""
    report = report_of_script(instance)
    if report is not None:
        report.add(_id_of(instance), instance, _repeat_command(instance))
        report.follow()
    record = _run_reported(instance, settings_of_call(), report)
    took = f"{record.duration:.1f} s" if record.duration is not None else ""
    done = "unchanged" if record.unchanged else took
    # In one piece: other threads print, too.
    print(f"{SIGNS[record.status]} {instance.stem} {done} {record.run_dir}\n", end="", flush=True)
    return record
