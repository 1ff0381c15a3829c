"""Stop what is running (`cancel`), and list or end what is kept warm (`warm`)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..core.record import Owner, Status
from ..core.run_directory.record_files import read_record
from .shared.find_run import RUN, Run, all_runs, find_run
from .shared.project import project_of, shown
from .shared.refusal import Refusal

if TYPE_CHECKING:
    from ..core.system.running_now import RunningSession

_PATIENCE = 60.0  # seconds for a session to end
_LOOK = 0.2  # seconds between looks at a process that is ending


@click.command()
@click.argument("run", type=RUN, required=False)
@click.option("--session", "pid", type=int, help="Which session, where several are running: its process.")
def cancel(run: str | None, pid: int | None) -> None:
    """Stop the running session of this project, as Ctrl-C does, or only the instance RUN.

    Notebooks, logs, records and the report are saved. The session goes on if only an instance is stopped,
    which then fails with KeyboardInterrupt; a kernel that --ductaflow-keep-kernel has kept of RUN ends.
    `ductaflow status` tells what is running.
    """
    if os.name != "posix":
        raise Refusal("cancel works on Linux and macOS only; press Ctrl-C where the session runs")
    if run is not None:
        _cancel_instance(find_run(run))
    else:
        _cancel_session(project_of(Path.cwd()), pid)


def _cancel_session(root: Path, pid: int | None) -> None:
    from ..core.system.running_now import running_sessions

    sessions = [each for each in running_sessions(root) if pid is None or each.owner.pid == pid]
    if not sessions:
        which = f" with process {pid}" if pid is not None else ""
        raise Refusal(f"no session{which} is running instances of the project {shown(root)}")
    if len(sessions) > 1:
        told = "; ".join(f"{each.owner.pid} is {each.command}" for each in sessions)
        raise Refusal(
            f"{len(sessions)} sessions are running: {told}. Name one: ductaflow cancel --session PID"
        )
    session = sessions[0]
    _refuse_elsewhere(session.owner, f"the session {session.command}")
    running = [label for label, _ in _running(root)]
    _interrupt_session(session)
    click.echo(f"stopping: {session.command} (process {session.owner.pid})")
    if not _has_ended(session.owner):
        raise Refusal(
            f"process {session.owner.pid} has not ended after {_PATIENCE:g} s; it may still be ending"
        )
    stopped = [label for label in running if _was_interrupted(root, label)]
    what = f"; stopped: {', '.join(stopped)}" if stopped else ""
    click.echo(f"the session has ended{what}; the same command goes on with what has not ended")


def _refuse_elsewhere(owner: Owner, what: str) -> None:
    """Refuse to signal a process of another machine.

    Raises:
        Refusal: In that case.
    """
    if owner.host != socket.gethostname():
        raise Refusal(f"{what} runs on {owner.host}: call ductaflow cancel there")


def _interrupt_session(session: RunningSession) -> None:
    """Send what Ctrl-C sends to a session: to its process, and to its children in the same process group.

    A session in which a debugger may be open gets SIGTERM.

    Raises:
        Refusal: If that process is gone, or is another one now.
    """
    import psutil

    from ..core.system.instance_lock import is_alive

    owner = session.owner
    try:
        process = psutil.Process(owner.pid)
        group = os.getpgid(owner.pid)
        targets = [process, *process.children(recursive=True)]
        if not is_alive(owner):
            raise Refusal(f"process {owner.pid} is not the session's any more: nothing was stopped")
        if session.may_be_debugged:
            process.terminate()
            return
        for each in targets:
            with contextlib.suppress(psutil.Error, OSError):
                if os.getpgid(each.pid) == group:
                    each.send_signal(signal.SIGINT)  # checks that the id is still that process's
    except (psutil.Error, OSError) as error:
        raise Refusal(f"process {owner.pid} cannot be stopped: {error}") from None


def _has_ended(owner: Owner) -> bool:
    """Wait until a process has ended, also if its parent has not asked for its exit code yet."""
    import psutil

    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            process = psutil.Process(owner.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            process.wait(_LOOK)
        except psutil.NoSuchProcess:
            return True
        except psutil.TimeoutExpired:
            continue
        return True
    return False


def _running(root: Path) -> list[tuple[str, Run]]:
    found = []
    for run in all_runs(root):
        record, _ = read_record(run.files.record)
        if record is not None and record.status is Status.RUNNING:
            found.append((run.label, run))
    return found


def _was_interrupted(root: Path, label: str) -> bool:
    run = next((run for run in all_runs(root) if run.label == label), None)
    record = read_record(run.files.record)[0] if run is not None else None
    return record is not None and record.status is Status.ERROR


def _cancel_instance(run: Run) -> None:
    """Interrupt the kernel that runs an instance, and wait until the instance has ended."""
    from ..core.system import kept_kernels
    from ..core.system.instance_lock import is_alive
    from ..core.system.running_now import kernel_of

    record = run.record
    owner = record.owner
    kept = kept_kernels.kept_of(run.files, run.root)
    if record.status is not Status.RUNNING and kept is not None:
        if (why := kept_kernels.end(kept)) is not None:
            raise Refusal(why)
        click.echo(f"ended: the kernel of {run.label}, process {kept.owner.pid}, which was kept")
        return
    if record.status is not Status.RUNNING or owner is None:
        raise Refusal(f"{run.label} is not running: its last run ended with {record.status}")
    if not is_alive(owner):
        raise Refusal(
            f"{run.label} is not running: process {owner.pid}, which ran it, has ended without a record"
        )
    _refuse_elsewhere(owner, run.label)
    kernel = kernel_of(run.files, run.root, owner.host)
    if kernel is None:
        raise Refusal(f"{run.label} has no kernel yet, or not any more: try again")
    try:
        os.killpg(kernel.pid, signal.SIGINT)
    except OSError as error:
        raise Refusal(
            f"the kernel of {run.label}, process {kernel.pid}, cannot be stopped: {error}"
        ) from None
    _wait_for_end(run, record.started)


def _wait_for_end(run: Run, started: str) -> None:
    from .shared.file_events import FolderWatch

    end = time.monotonic() + _PATIENCE
    with FolderWatch(run.directory) as watch:
        while time.monotonic() < end:
            record, _ = read_record(run.files.record)
            if record is None or record.status is not Status.RUNNING or record.started != started:
                how = f": {record.message}" if record is not None and record.message else ""
                click.echo(f"stopped: {run.label}{how}")
                return
            watch.wait(1.0)
    raise Refusal(f"{run.label} has not ended after {_PATIENCE:g} s; to stop the session: ductaflow cancel")


@click.command()
@click.option("--stop", is_flag=True, help="End them; one that a session is using ends with that session.")
def warm(*, stop: bool) -> None:
    """List the processes that `--ductaflow-keep-warm` has left behind for the next session."""
    from ..planning.processes.stay_warm import warm_processes

    found = warm_processes(stop=stop)
    for each in found:
        use = f"in use by {each.children} process{'es' * (each.children != 1)}" if each.children else "idle"
        stays = f"for {each.left / 60:.0f} min more" if each.left > 0 else "still starting"
        until = "ended" if stop and not each.children else "ends after that" if stop else stays
        stale = f"; not used any more, as {each.stale} has changed" if each.stale else ""
        click.echo(f"{each.kind}: {use}, {until}{stale}")
    if not found:
        click.echo("no process is kept warm")
