"""Run an instance on behalf of a session in another process, which may be lost at any moment.

    runs/.locks/{key}.wanted        from the session: the token of the work that an engine is to do
    runs/.locks/{key}.attempt       while an instance runs in an engine: which attempt is the current one
    runs/.locks/{key}.{id}.ended    by an attempt that was given up, and has noticed

A worker that is lost is not always dead: it may be frozen, or cut off. So each attempt writes a token first,
and goes on only as long as the token is its own: it looks four times a second, and before anything that it
writes takes its place. What comes after it waits for its end if that can be known, and moves the run
directory from under it if not. The final record is written by the session alone; until then it is beside the
token, so that nothing runs again if only its way to the session was lost. An engine may also repeat work of
which the session has the result already, as it has lost the worker that had it: no attempt goes on of work
that the session does not want any more.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ...core.instance import JSON
from ...core.record import Owner, Record
from ...core.run_directory import atomic, layout, record_files
from ...core.run_directory.layout import RunFiles
from ...core.system.fence import GivenUp, fenced
from ...core.system.instance_lock import is_alive, lock_file, this_process
from ...core.system.interrupts import interrupt, keyboard_of_main_thread, raise_if_pressed
from ...core.system.machine import core_in_use
from ..single_run import Task

MOST_LOST = 3  # workers that one instance may take down
_LOOK = 0.25  # seconds between looks whether an attempt is still wanted
_INTERRUPTS = 2  # of an attempt that was given up: the second one kills its kernel
_PATIENCE = 10.0  # seconds for an attempt that was given up to end
_PAUSE = 0.05
_WANTED, _ATTEMPT = ".wanted", ".attempt"  # ends of the names of the files beside an instance's lock


@dataclass(frozen=True)
class Outcome:
    """What has become of an instance that ran in an engine.

    Attributes:
        record: Its record, which the session completes and writes; None if it was not run to an end.
        interrupted: Whether it was stopped.
        lost: The workers that were lost while they ran it, each with its host.
        worker: The worker that ran it last.
        files: An archive of its run directory, if the session does not see it.
    """

    record: Record | None
    interrupted: bool = False
    lost: tuple[str, ...] = ()
    worker: str = ""
    files: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Attempt:
    """An attempt to run an instance.

    Attributes:
        work: Token of the work.
        id: Its own token.
        worker: Name of the worker.
        owner: The process.
        lost: `Outcome.lost`, before it.
        is_given_up: Whether it is to end without a result.
        record: Its record, in the form of JSON, once it has ended.
    """

    work: str
    id: str
    worker: str
    owner: Owner
    lost: tuple[str, ...] = ()
    is_given_up: bool = False
    record: dict[str, JSON] | None = None

    @property
    def lost_with_it(self) -> tuple[str, ...]:
        """Return `lost` for what comes after it."""
        return (*self.lost, f"{self.worker} on {self.owner.host}")


def want(task: Task, token: str) -> None:
    """Say that an instance is to run elsewhere, as work with this token.

    Raises:
        OSError: If that cannot be written.
    """
    with open(_beside_lock(task, _WANTED), "wb") as file:
        file.write(token.encode())


def run_attempt(task: Task, token: str, label: str, worker: str, is_wanted: Callable[[], bool]) -> Outcome:
    """Run an instance in this thread; see `protocol.Work.run`.

    Raises:
        RuntimeError: If the attempt was given up meanwhile, or is not wanted any more; it has written nothing
            more.
        OSError: If its token cannot be written.
    """
    marker = _marker(task)
    if (ended := ended_attempt(task, token)) is not None:
        return ended
    before = read_attempt(marker)
    lost = before.lost_with_it if before is not None and before.work == token else ()
    if len(lost) >= MOST_LOST:
        marker.unlink(missing_ok=True)
        return Outcome(None, lost=lost, worker=worker)
    mine = Attempt(token, secrets.token_hex(6), worker, this_process(), lost)
    _begin(mine, task, label)
    if before is not None:
        task = _after(before, marker, task)
    try:
        with _guarded(mine, marker, is_wanted):
            outcome = replace(_run(task, worker), lost=lost)
            if outcome.record is not None and not outcome.interrupted:
                _write(replace(mine, record=outcome.record.to_json()), marker)
            return outcome
    except GivenUp:
        _ended_file(marker, mine).touch()
        raise RuntimeError(f"{label}: this attempt was given up, another one has taken its place") from None
    finally:
        if before is not None and _is_current(mine, marker):
            _remove_traces_of_others(marker)


def _begin(mine: Attempt, task: Task, label: str) -> None:
    """Make an attempt the current one.

    Raises:
        RuntimeError: If the session has the result already, or has ended.
    """
    marker = _marker(task)
    if _is_awaited(task, mine):
        _write(mine, marker)
        if _is_awaited(task, mine):
            return
        if _is_current(mine, marker):  # the session has finished with it in between
            marker.unlink(missing_ok=True)
    raise RuntimeError(f"{label}: nobody waits for it any more")


def _is_awaited(task: Task, attempt: Attempt) -> bool:
    """Return whether the session still waits for the work of an attempt."""
    with contextlib.suppress(OSError):
        return _wanted(task).read_text(encoding="utf-8") == attempt.work
    return False


def _run(task: Task, worker: str) -> Outcome:
    """Run an instance with the record that says where it runs."""
    from ..run_instance import run_task_here

    running = task.running
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    lineage = {**running.lineage, "host": platform.node()}
    task = replace(task, running=running.with_(worker=worker, lineage=lineage, started=now))
    try:
        raise_if_pressed()
        record, interrupted = run_task_here(task, None)
    except KeyboardInterrupt:
        return Outcome(None, interrupted=True, worker=worker)
    return Outcome(record, interrupted, worker=worker)


@contextlib.contextmanager
def _guarded(mine: Attempt, marker: Path, is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Let this thread write only while its attempt is the current one, and stop it once it is not wanted."""
    done, thread = threading.Event(), threading.get_ident()

    def watch() -> None:
        told = 0
        while told < _INTERRUPTS and not done.wait(_LOOK):
            if not _is_current(mine, marker) or (not told and not is_wanted()):
                told += 1
                interrupt(thread)

    with keyboard_of_main_thread(), core_in_use(), fenced(lambda: _is_current(mine, marker)):
        watcher = threading.Thread(target=watch, name="ductaflow-watch", daemon=True)
        watcher.start()
        try:
            yield
            if not _is_current(mine, marker):
                raise GivenUp
        finally:
            done.set()
            watcher.join()


def _after(before: Attempt, marker: Path, task: Task) -> Task:
    """Make sure that an earlier attempt changes nothing any more, and return the task as it is after it."""
    files = task.files
    is_dead = before.owner.host == this_process().host and not is_alive(before.owner)
    is_over = is_dead or before.record is not None
    if not is_over and not _has_ended(before, marker):
        _move_from_under(files, marker.with_suffix(f".{before.id}.given_up"))
    return replace(task, earlier=record_files.read_record(files.record)[0])


def _has_ended(before: Attempt, marker: Path) -> bool:
    """Wait until an attempt has noticed that it was given up; return whether it has."""
    end = time.monotonic() + _PATIENCE
    while not _ended_file(marker, before).exists():
        if time.monotonic() > end:
            return False
        raise_if_pressed()
        time.sleep(_PAUSE)
    return True


def _move_from_under(files: RunFiles, aside: Path) -> None:
    """Give a new run directory its name, so that a process in the old one writes where nobody looks.

    What was there before that attempt goes to the new one.
    """
    record, _ = record_files.read_record(files.record)
    if record is None or record.found is None:
        return  # it had not begun
    os.rename(files.directory, aside)
    files.directory.mkdir()
    kept = {*record.found, *layout.names_of_ours(str(aside))} - {files.log.name, files.notebook.name}
    for name in os.listdir(aside):
        if name in kept or f"{name}/" in kept:
            os.rename(aside / name, files.directory / name)


def read_attempt(marker: Path) -> Attempt | None:
    """Return the current attempt that a file names; None if there is none."""
    try:
        data = json.loads(marker.read_text(encoding="utf-8"))
        owner, lost = Owner(**data.pop("owner")), tuple(map(str, data.pop("lost")))
        return Attempt(**data, owner=owner, lost=lost)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def ended_attempt(task: Task, token: str) -> Outcome | None:
    """Return the outcome of work that has run to its end, whether or not its worker could tell."""
    attempt = read_attempt(_marker(task))
    if attempt is None or attempt.work != token or attempt.record is None:
        return None
    return Outcome(Record.from_json(attempt.record), lost=attempt.lost, worker=attempt.worker)


def lost_workers(task: Task, token: str) -> tuple[str, ...]:
    """Return the workers that were lost with some work, of which nothing will come any more."""
    attempt = read_attempt(_marker(task))
    return attempt.lost_with_it if attempt is not None and attempt.work == token else ()


def give_up(task: Task) -> None:
    """Have whatever attempt still runs an instance end, and write nothing more; none begins any more."""
    marker = _marker(task)
    with contextlib.suppress(OSError):
        _wanted(task).unlink(missing_ok=True)
    if (attempt := read_attempt(marker)) is not None:
        with contextlib.suppress(OSError):
            _write(replace(attempt, is_given_up=True), marker)


def forget(task: Task) -> None:
    """Remove the tokens of an instance that has ended, once its record is written."""
    stem = _beside_lock(task, "")
    for ending in (_WANTED, _ATTEMPT):
        with contextlib.suppress(OSError):  # there is a marker only if an attempt has begun
            os.unlink(stem + ending)


def _write(attempt: Attempt, marker: Path) -> None:
    atomic.write_atomic(marker, json.dumps(asdict(attempt), default=str))


def _is_current(mine: Attempt, marker: Path) -> bool:
    """Return whether an attempt is the current one."""
    current = read_attempt(marker)
    return current is not None and current.id == mine.id and not current.is_given_up


def _marker(task: Task) -> Path:
    return Path(_beside_lock(task, _ATTEMPT))


def _wanted(task: Task) -> Path:
    return Path(_beside_lock(task, _WANTED))


def _beside_lock(task: Task, ending: str) -> str:
    return os.path.splitext(lock_file(task.files, task.instance.project_root))[0] + ending


def _ended_file(marker: Path, attempt: Attempt) -> Path:
    return marker.with_suffix(f".{attempt.id}.ended")


def _remove_traces_of_others(marker: Path) -> None:
    """Remove what attempts that were given up have left."""
    for path in marker.parent.glob(f"{marker.stem}.*.given_up"):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        for path in marker.parent.glob(f"{marker.stem}.*.ended"):
            path.unlink(missing_ok=True)
