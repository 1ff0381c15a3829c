"""Remove run directories, and nothing else: the commands `ductaflow rm` and `gc`."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import RemovalError
from ...core.instance import RUNS, stem_of
from ...core.record import Record, Status
from ...core.run_directory import layout, record_files
from ...core.run_directory.layout import RunFiles, display_path
from ...core.system.instance_lock import is_free
from ...running.earlier_runs.restore import remove_earlier
from ...running.earlier_runs.shelf import Shelf
from .declared_history import DeclaredRecords, has_lost_its_flow, root_of


@dataclass(frozen=True)
class Removal:
    """A run directory, or files in it, to be removed.

    Attributes:
        run_dir: A run directory.
        root: Its project root.
        flows: Stems of flows whose earlier runs are removed as well, if `files` is given.
        files: Files to remove, if another flow has files there, too; None for all.
        remark: Warning for the user before the removal.
    """

    run_dir: Path
    root: Path
    flows: tuple[str, ...] = ()
    files: tuple[Path, ...] | None = None
    remark: str = ""

    @property
    def text(self) -> str:
        """The removal in one line."""
        what = f"{len(self.files)} files in " if self.files is not None else ""
        return f"{what}{_seen(self.run_dir)}" + (f" ({self.remark})" if self.remark else "")


def removals(run_dirs: Sequence[Path]) -> list[Removal]:
    """Return the removals of run directories, nested ones first.

    Raises:
        RemovalError: If one is not a run directory or cannot be removed alone; it is named.
    """
    chosen = dict.fromkeys(Path(os.path.abspath(run_dir)) for run_dir in run_dirs)
    return [_removal(run_dir, chosen) for run_dir in sorted(chosen, key=_depth)]


def _depth(path: Path) -> int:
    return -len(path.parts)


def _removal(run_dir: Path, chosen: dict[Path, None]) -> Removal:
    if run_dir.is_symlink() or not run_dir.is_dir():
        what = "is a link" if run_dir.is_symlink() else "is no folder"
        raise RemovalError(f"{_seen(run_dir)} {what}")
    found = list(record_files.records(run_dir))
    own = [record for directory, record in found if directory == run_dir]
    if not own:
        _refuse_unreadable(run_dir)
        hint = ", though there are some in it; name these" if found else ""
        raise RemovalError(f"{_seen(run_dir)} is no run directory: it holds no record{hint}")
    root = root_of(run_dir, own[0])
    if root is None or not all(_lies_here(run_dir, record) for record in own):
        raise RemovalError(f"{_seen(run_dir)}: its record is of another place, {own[0].run_dir}")
    inside = [directory for directory, _ in found if directory not in chosen]
    if inside:
        raise RemovalError(f"{_seen(run_dir)} holds another run directory: {_seen(inside[0])}")
    if not all(is_free(RunFiles(run_dir, stem_of(record.flow)), root) for record in own):
        raise RemovalError(f"{_seen(run_dir)} is being run")
    return Removal(run_dir, root, remark=_remark(own))


def _refuse_unreadable(run_dir: Path) -> None:
    """Refuse to remove a folder whose records cannot be read: they would tell whether it is a run's.

    Raises:
        RemovalError: If there is such a record.
    """
    for name in sorted(filter(layout.is_record, os.listdir(run_dir))):
        if problem := record_files.read_record(run_dir / name)[1]:
            raise RemovalError(f"{problem}; if {_seen(run_dir)} is a run's folder, delete it yourself")


def _lies_here(run_dir: Path, record: Record) -> bool:
    """Return whether a run directory is where its record says, in a `runs/`: others may hold user files."""
    return record.run_dir.startswith(f"{RUNS}/") and root_of(run_dir, record) is not None


def _remark(records: Sequence[Record]) -> str:
    return "its last run was killed" if any(r.status is Status.RUNNING for r in records) else ""


def undeclared(folder: Path) -> list[Removal]:
    """Return removals for runs below a folder whose instance is undeclared or whose flow is gone.

    Raises:
        RemovalError: If there is no such folder.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise RemovalError(f"{_seen(folder)} is no folder")
    by_directory: dict[Path, list[Record]] = {}
    for directory, record in record_files.records(folder):
        if not record.stored and _lies_here(directory, record):
            by_directory.setdefault(directory, []).append(record)
    known: dict[Path, DeclaredRecords] = {}
    found = [_undeclared_in(directory, records, known) for directory, records in by_directory.items()]
    whole = {removal.run_dir: None for removal in found if removal is not None and removal.files is None}
    return [
        removal if removal.files is not None else _removal(removal.run_dir, whole)
        for removal in sorted(filter(None, found), key=lambda removal: _depth(removal.run_dir))
    ]


def _undeclared_in(
    directory: Path, records: Sequence[Record], known: dict[Path, DeclaredRecords]
) -> Removal | None:
    root = root_of(directory, records[0]) or directory
    knowledge = known.setdefault(root, DeclaredRecords(root)) if root not in known else known[root]
    left = [record for record in records if _is_left(root, knowledge, directory, record)]
    if not left:
        return None
    if len(left) == len(records):
        return Removal(directory, root)
    kept = [record for record in records if record not in left]
    flows = tuple(stem_of(record.flow) for record in left)
    return Removal(directory, root, flows, tuple(sorted(_files_of(directory, left, kept))))


def _is_left(root: Path, knowledge: DeclaredRecords, directory: Path, record: Record) -> bool:
    file = RunFiles(directory, Path(record.flow).stem).record
    return has_lost_its_flow(root, record) or not knowledge.is_declared(file, record)


def _files_of(directory: Path, left: Sequence[Record], kept: Sequence[Record]) -> Iterator[Path]:
    """Yield the files of some flows in a run directory, except those that others wrote as well."""
    others = {name for record in kept for name in record.outputs}
    for record in left:
        ours = RunFiles(directory, Path(record.flow).stem).names
        theirs = {name for name in record.outputs if not name.startswith("../")} - others
        yield from (directory / name for name in ours | theirs if os.path.lexists(directory / name))


def remove(removal: Removal) -> None:
    """Carry out a removal, including earlier runs and parent folders left empty.

    Raises:
        RemovalError: If the file system refuses.
    """
    if removal.files is None:
        remove_earlier(removal.run_dir, removal.root)
    for stem in removal.flows:
        Shelf(RunFiles(removal.run_dir, stem), removal.root).clear()
    try:
        for path in (removal.run_dir,) if removal.files is None else removal.files:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise RemovalError(f"{_seen(removal.run_dir)} cannot be removed: {error}") from None
    folder = removal.run_dir.parent
    with contextlib.suppress(OSError):
        while folder.name != RUNS:
            folder.rmdir()
            folder = folder.parent


def _seen(path: Path) -> str:
    return display_path(path, Path.cwd())
