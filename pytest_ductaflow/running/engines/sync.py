"""Send a project to workers that do not share its file system, and bring run directories back.

The project goes once to each machine, into a folder for temporary files; with each instance go the run
directories of its upstreams, and what it finds in its own. There it runs as anywhere, with the paths of its
config leading into that folder. Its run directory comes back with its record.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import EngineError
from ...core.instance import JSON, RUNS, Instance, Neighbours
from ...core.record import Failure, Record, Status
from ...core.run_directory import record_files
from ...tracking.digests import config_digest
from ..clean_start import CleanStart
from ..earlier_runs.move_files import remove as remove_files
from ..html.instance_page import InstancePage
from ..single_run import Task
from .attempt import Outcome, run_attempt, want

_LEFT_OUT = {".git", ".venv", "venv", "__pycache__", ".pytest_cache"}  # folders of a project, anywhere
_MEGABYTE = 1_000_000
_SETTING = "ductaflow_sync_limit"


@dataclass(frozen=True)
class Parcel:
    """What goes with an instance to a worker that does not share the file system.

    Attributes:
        session: Id of the session.
        limit: Megabytes that may come back.
        files: An archive of run directories, relative to the project root.
    """

    session: str
    limit: float
    files: bytes


def pack_project(root: str, limit: float) -> bytes:
    """Return an archive of a project: what Git does not ignore, or, without Git, all but `runs` and the like.

    Raises:
        EngineError: If its files have more megabytes than the limit.
    """
    names: Iterable[str] | None = _names_by_git(root)
    names = _names_in(root, _LEFT_OUT, {RUNS}) if names is None else names
    return _packed(root, names, limit, f"the project {root}")


def _names_by_git(root: str) -> list[str] | None:
    """Return the files that Git knows or would add; None outside of a repository."""
    command = ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        told = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    names = [os.fsdecode(name) for name in told.split(b"\0") if name]
    return [name for name in names if name.split("/")[0] not in {RUNS, *_LEFT_OUT}]


def _names_in(
    top: str, left_out: Collection[str] = (), left_out_at_top: Collection[str] = ()
) -> Iterator[str]:
    """Yield the files in a folder and in those below it, relative to it, and empty folders with a final `/`.

    Args:
        top: The folder.
        left_out: Names of folders that are left out wherever they are.
        left_out_at_top: Names of folders that are left out in `top` only.
    """
    for folder, folders, names in os.walk(top):
        without = {*left_out, *left_out_at_top} if folder == top else left_out
        folders[:] = sorted(name for name in folders if name not in without)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        if not (names or folders or folder == top):
            yield os.path.join(os.path.relpath(folder, top), "")
        yield from (os.path.relpath(os.path.join(folder, name), top) for name in sorted([*names, *links]))


def _packed(root: str, names: Iterable[str], limit: float, what: str) -> bytes:
    """Return an archive of files of a folder.

    Raises:
        EngineError: If they have more megabytes than the limit.
    """
    sizes = {}
    for name in dict.fromkeys(names):
        with contextlib.suppress(OSError):  # Git knows it, and it is gone
            sizes[name] = os.lstat(os.path.join(root, name)).st_size
    if sum(sizes.values()) > limit * _MEGABYTE:
        largest = max(sizes, key=sizes.__getitem__)
        raise EngineError(
            f"{what} has {sum(sizes.values()) / _MEGABYTE:.1f} MB to be sent, more than {limit:g} "
            f"({_SETTING}); the largest file is {largest}"
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name in sizes:
            archive.add(os.path.join(root, name), name, recursive=False)
    return buffer.getvalue()


def _unpack(data: bytes, folder: Path) -> None:
    """Unpack an archive, nothing of which gets outside of the folder.

    Files that are there already are left alone: other instances may be reading them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        new = [member for member in archive.getmembers() if not _is_there(member, folder)]
        archive.extractall(folder, new, filter="tar")


def _is_there(member: tarfile.TarInfo, folder: Path) -> bool:
    with contextlib.suppress(OSError):
        there = os.stat(folder / member.name)
        return member.isfile() and (there.st_size, int(there.st_mtime)) == (member.size, int(member.mtime))
    return False


def parcel_of(task: Task, session: str) -> tuple[Parcel, Task]:
    """Clear the run directory of an instance, and return what it needs elsewhere.

    Returns:
        The parcel, and the task with its record as it is written.

    Raises:
        EngineError: If that is too large.
        OSError: If the run directory cannot be used.
    """
    instance, settings, root = task.instance, task.settings, task.instance.project_root
    keep = (*settings.keep, *instance.keep)
    start = CleanStart(task.files, root, task.earlier, keep=keep, generations=settings.generations)
    running = start.announce(task.running)
    start.clear()
    folders = [run_dir for _, record in task.upstreams for run_dir in _run_dirs(record)]
    names = [
        os.path.join(folder, name)
        for folder in dict.fromkeys([os.path.relpath(instance.run_dir, root), *folders])
        for name in _names_in(os.path.join(root, folder))
        if Path(root, folder, name) != task.files.record  # there, it is the one of an earlier attempt
    ]
    label = f"{instance.step}/{instance.name}"
    files = _packed(root, names, settings.sync_limit, f"what {label} needs of other instances")
    return Parcel(session, settings.sync_limit, files), replace(task, running=running)


def _run_dirs(record: Record) -> Iterator[str]:
    return (each.run_dir for each in record.with_flows())


def place_of(session: str, root: str) -> Path:
    """Return where a project of a session is on a machine that does not share its file system."""
    key = hashlib.sha256(root.encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir(), f"ductaflow-{session}", key, os.path.basename(root))


def receive(session: str, projects: dict[str, bytes]) -> None:
    """Unpack projects on a worker's machine, if another worker has not done so.

    Raises:
        EngineError: If one cannot be written there.
    """
    for root, data in projects.items():
        place = place_of(session, root)
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=place.parent) as folder:
                new = Path(folder, "new")
                _unpack(data, new)
                with contextlib.suppress(OSError):  # it is there
                    os.rename(new, place)
        except OSError as error:
            raise EngineError(f"{place.parent} cannot be written: {error.strerror or error}") from error


def remove(session: str) -> None:
    """Remove a session's projects from a worker's machine."""
    shutil.rmtree(Path(tempfile.gettempdir(), f"ductaflow-{session}"), ignore_errors=True)


def run_parcel(
    task: Task, parcel: Parcel, token: str, label: str, worker: str, is_wanted: Callable[[], bool]
) -> Outcome:
    """Run an instance in the copy of its project; its run directory is in the outcome."""
    root = task.instance.project_root
    place = place_of(parcel.session, root)
    _unpack(parcel.files, place)
    instance = _moved(task.instance, root, str(place))
    files = replace(task.files, directory=Path(instance.run_dir))
    earlier, _ = record_files.read_record(files.record)  # of an attempt that was lost there
    there = replace(
        task,
        instance=instance,
        files=files,
        earlier=earlier,
        settings=replace(task.settings, html="none"),  # a page needs what is beside the others
        made_beside=Neighbours().made_beside,
    )
    want(there, token)
    outcome = run_attempt(there, token, label, worker, is_wanted)
    try:
        names = list(_names_in(str(files.directory)))
        packed = _packed(str(files.directory), names, parcel.limit, f"the run directory of {label}")
    except EngineError as error:
        failure = Failure("TooLarge", str(error))
        record = None if outcome.record is None else outcome.record.with_(status=Status.ERROR, error=failure)
        return replace(outcome, record=record)
    return replace(outcome, files=packed)


def _moved(instance: Instance, root: str, place: str) -> Instance:
    """Return an instance with all paths in the project leading into its copy."""

    def moved(value: JSON) -> JSON:
        if isinstance(value, str):
            return place if value == root else value.replace(root + os.sep, place + os.sep)
        if isinstance(value, dict):
            return {key: moved(each) for key, each in value.items()}
        return [moved(each) for each in value] if isinstance(value, list | tuple) else value

    return Instance.from_json(moved(instance.to_json()))


def bring_back(task: Task, outcome: Outcome) -> Record:
    """Unpack a run directory that came back, write its page, and return the record as it is here."""
    record, files, instance = outcome.record, task.files, task.instance
    if record is None:
        return task.running
    if outcome.files is not None:
        there = list(_names_in(str(files.directory)))
        remove_files(files.directory, (name for name in there if name != files.record.name))
        _unpack(outcome.files, files.directory)
    record_files.write_config(files, instance.full_config)
    page = InstancePage(instance, files, task.settings, may_follow=True)
    page.write(failed=record.status is Status.ERROR)
    return record.with_(
        stats={},  # of other files
        config_digest=config_digest(instance.config),
        last_good="" if record.status.good else task.running.last_good,
        owner=None,
    )
