"""Restore the last good run of an instance, or delete all earlier ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import DuctaflowError
from ...core.instance import stem_of
from ...core.record import Record
from ...core.run_directory import layout, record_files
from ...core.run_directory.layout import RunFiles
from ..clean_start import CleanStart, is_kept
from .move_files import remove_empty
from .shelf import Shelf, own_names


@dataclass(frozen=True)
class Restored:
    """The result of restoring a run.

    Attributes:
        record: Record of the restored run.
        replaced: Record of the run that it replaced, None if there was none.
        missing: Flows of a build without a kept earlier run.
    """

    record: Record
    replaced: Record | None
    missing: tuple[str, ...] = ()


def flow_of_earlier_run(run_dir: Path, root: Path, flow: str | None) -> str:
    """Return the stem of the flow of which a run directory has an earlier run.

    Args:
        run_dir: The run directory.
        root: The project root.
        flow: The flow, None if there is only one.

    Raises:
        DuctaflowError: If there is none, or there are several and none is named.
    """
    if flow is not None:
        return stem_of(flow)
    found = Shelf(RunFiles(run_dir, ""), root).stems()
    where = layout.display_path(run_dir, root)
    if not found:
        raise DuctaflowError(f"{where}: no earlier good run is kept of it")
    if len(found) > 1:
        raise DuctaflowError(f"{where}: several flows have run there, say which: --flow {found[0]}")
    return found[0]


def restore(files: RunFiles, root: Path, keep: Sequence[str] = ()) -> Restored:
    """Restore the last good run of an instance to its run directory, with its record.

    The present run is deleted or, if it also ended well, changes places with the restored one. The
    flows of a build are restored with it.

    Args:
        files: The files of the instance, which no process is running.
        root: The project root.
        keep: Patterns of what is left as it is, in addition to the instance's.

    Raises:
        DuctaflowError: If no earlier good run is kept, or files of others are in its way; nothing is changed.
    """
    shelf = Shelf(files, root)
    replaced, _ = record_files.read_record(files.record)
    is_good = replaced is not None and replaced.status.good
    shelf.finish(replaced)
    if is_good:
        shelf.forget()
    record = shelf.moving or shelf.record()
    if record is None:
        where = layout.display_path(files.directory, root)
        raise DuctaflowError(f"{where}: no earlier good run of {files.stem} is kept")
    kept = (*keep, *(replaced.reserved.get("_keep", ()) if replaced is not None else ()))
    start = CleanStart(files, root, replaced, keep=kept)
    if blocking := start.in_the_way(shelf.names_back()):
        place = layout.display_path(files.directory / blocking[0], root)
        raise DuctaflowError(f"{place} is in the way of the earlier run: move it elsewhere first")
    if replaced is not None and is_good:
        shelf.announce(replaced)
        shelf.exchange(name for name in own_names(replaced) if not is_kept(name, kept))
    else:
        start.clear()
        shelf.give_back()
    missing = [name for flow in record.flows for name in _restore_flow(flow, root, keep)]
    return Restored(record, replaced, tuple(missing))


def remove_earlier(run_dir: Path, root: Path) -> None:
    """Delete all earlier runs of all instances in a run directory, and of flows in builds there."""
    base, name = layout.place_of_earlier(RunFiles(run_dir, ""), root)
    for place in (base / layout.EARLIER, *(base / layout.EARLIER).glob(".*")):
        shutil.rmtree(place / name, ignore_errors=True)
        remove_empty((place / name).parent, base)


def _restore_flow(flow: Record, root: Path, keep: Sequence[str]) -> Iterator[str]:
    """Restore a flow as its build had left it; yield its run directory if that run is no longer kept."""
    files = RunFiles(Path(root, flow.run_dir), stem_of(flow.flow))
    there, _ = record_files.read_record(files.record)
    if there is not None and there.started == flow.started:
        return
    kept = Shelf(files, root).record()
    if kept is not None and kept.started == flow.started:
        yield from restore(files, root, keep).missing
    else:
        yield flow.run_dir
