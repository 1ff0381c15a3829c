"""Move what the last run of an instance wrote out of the way before it runs again.

What it wrote is known from its record or, if it was killed, from what its run directory held when it
began. The files of a run that ended well go to `runs/.earlier`, under the name of their run directory;
they stay there until another run has ended well and is itself replaced. All else is deleted. Files that
others put into the run directory stay, and so does what the instance keeps.

A process may be killed between any two of these steps:

1. copy the good record to `.earlier/.moving`,
2. replace the good record by the running one: from now on the instance does not count as unchanged,
3. move the files, one by one, to `.earlier/.moving`,
4. move them from there to their place, the record last.

A record in `.earlier/.moving` beside a running one therefore means that 3 or 4 was cut off: the next run
of the instance completes them. Beside the good record of the same run it means that there is no running
record yet, or that restoring an earlier run was cut off: what was moved is moved back.

An earlier run is restored with its record first, and that record leaves `.earlier` last. If both places
have the same record, the restore was cut off, and is completed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import DuctaflowError
from ..core.instance import RUNS, stem_of
from ..core.record import Record
from ..core.run_directory import atomic, layout, listing, record_files
from ..core.run_directory.layout import RunFiles
from ..core.system import instance_lock

_ATTEMPTS = 100  # to create a folder
_MOVING = ".moving"  # beside the steps in `.earlier`: runs that are being moved there
_UP = ("..", "/")


def is_kept(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a file or folder is kept for the next run.

    Args:
        name: Its path relative to the run directory, with `/` between the parts.
        patterns: Patterns of files, or of folders with all in them; without `/`, of names in any folder.
    """
    parts, ways = name.rstrip("/").split("/"), _ways_to(name)
    for pattern in (pattern.strip("/").removeprefix("./") for pattern in patterns):
        tried = ways if "/" in pattern else parts
        if any(fnmatch.fnmatchcase(text, pattern) for text in tried):
            return True
    return False


def own_names(record: Record) -> set[str]:
    """Return what an instance made in its run directory, not what it only changed or made elsewhere."""
    outputs = {name for name in record.outputs if not name.startswith(_UP) and not os.path.isabs(name)}
    return (outputs - set(record.altered)) | set(record.made)


@dataclass(frozen=True)
class Written:
    """What a run has left in its run directory, for its record.

    Attributes:
        outputs: Files that it wrote, or that were kept from the last run.
        altered: Outputs that others had made.
        made: New folders, pipes, and links that lead nowhere.
    """

    outputs: tuple[str, ...]
    altered: tuple[str, ...]
    made: tuple[str, ...]


class CleanStart:
    """The run directory of an instance before, between and after the attempts of one run.

    Args:
        files: The files of the instance, which no other process is running.
        root: The project root.
        earlier: The record of its last run.
        keep: Patterns of what is kept for the next run, including the project's.
        generations: Number of good runs to keep.
    """

    def __init__(
        self,
        files: RunFiles,
        root: str | Path,
        earlier: Record | None,
        *,
        keep: Sequence[str] = (),
        generations: int = 0,
    ) -> None:
        self._files, self._root = files, root
        self._earlier = earlier
        self._keep = keep
        self._generations = generations
        self._shelf = Shelf(files, root)
        if earlier is not None and earlier.owner is not None:
            instance_lock.wait_for_orphans(earlier.owner, files.directory)
        self._shelf.finish(earlier)
        there = listing.contents(files, self._run_dirs_within())
        left = self._left(there)
        self._kept = {name for name in left if is_kept(name, keep)}
        self._going = left - self._kept
        self._found = there.keys() - left
        self._before: dict[str, str | None] = {}

    def announce(self, running: Record) -> Record:
        """Write the record that says that the instance is running, and what its run directory holds.

        Args:
            running: The record without that list.

        Returns:
            The record as written.
        """
        _make_folder(self._files.directory)
        self._announce_good_run()
        running = running.with_(
            found=tuple(sorted(self._found)), owner=instance_lock.this_process(), last_good=self._shelf.latest
        )
        record_files.publish(self._files, running)
        return running

    def _announce_good_run(self) -> None:
        if self._earlier is not None and self._earlier.status.good:
            self._shelf.forget()
            if self._generations:
                self._shelf.announce(self._earlier)
            else:
                self._shelf.clear()  # what is there is older than the good run, which is not kept

    def set_aside_others_than(self, flows: Iterable[Record]) -> None:
        """Clear the folders of flows that a build ran earlier, but not this time.

        Args:
            flows: The flows that it ran this time.
        """
        known = {
            (flow.run_dir, flow.flow) for record in (*self._others(), *flows) for flow in record.with_flows()
        }
        for folder, record in list(record_files.records(self._files.directory / RUNS)):
            if not record.source and not any((r.run_dir, r.flow) in known for r in record.with_flows()):
                for each in record.with_flows():
                    self._retire(RunFiles(Path(self._root, each.run_dir), stem_of(each.flow)))
                _remove_empty(folder, self._files.directory)

    def _retire(self, files: RunFiles) -> None:
        """Clear a folder in which nothing will run."""
        record, _ = record_files.read_record(files.record)
        start = CleanStart(files, self._root, record, generations=self._generations)
        start._announce_good_run()
        start.clear()
        files.config.unlink(missing_ok=True)
        files.record.unlink(missing_ok=True)
        _remove_empty(files.directory, self._files.directory)

    def clear(self) -> None:
        """Move or delete what the last run left; complete a move that was cut off."""
        if (moving := self._shelf.moving) is not None:
            names = own_names(moving) - self._kept - self._of_others()
            within = [os.path.relpath(folder, self._files.directory) for folder in self._within(moving.flows)]
            names = {name for name in names if not any(Path(name).is_relative_to(sub) for sub in within)}
            self._shelf.take(names, max(self._generations, 1))
        self._delete(self._going)
        for ours in (self._files.notebook, self._files.html, self._files.log):
            ours.unlink(missing_ok=True)  # they would describe an earlier run, whatever comes now
        self._drop_leftovers_of_ours()
        self._before = listing.contents(self._files)

    def clear_attempt(self) -> None:
        """Delete what an attempt wrote, before the next attempt."""
        there = listing.contents(self._files, self._run_dirs_within())
        self._delete(name for name in there.keys() - self._found if not is_kept(name, self._keep))
        self._before = listing.contents(self._files)

    def in_the_way(self, names: Iterable[str]) -> list[str]:
        """Return what others made, or what is kept, where an earlier run is to be restored."""
        theirs = self._found | self._kept
        ways = ({*_ways_to(name), f"{name}/" if not name.endswith("/") else ""} for name in names)
        return sorted(theirs & set().union(*ways))

    def written(self) -> Written:
        """Return what is new or changed in the run directory since the last attempt began."""
        there = listing.contents(self._files)
        changed = {
            name for name, stat in there.items() if stat is not None and self._before.get(name) != stat
        }
        again = {name for name in self._kept if there.get(name) is not None}
        made = {name for name, stat in there.items() if stat is None and name not in self._found}
        return Written(
            tuple(sorted(changed | again)), tuple(sorted(changed & self._found)), tuple(sorted(made))
        )

    def _left(self, there: Iterable[str]) -> set[str]:
        """Return those names in the run directory that the last run left."""
        earlier = self._earlier
        if earlier is None:
            return set()
        others = self._of_others()
        if earlier.found is None:
            return (own_names(earlier) & set(there)) - others
        if any(_is_running(record) for record in self._others()):
            return set()  # what is new may be that one's
        return set(there) - set(earlier.found) - others

    def _others(self) -> Iterator[Record]:
        """Return the records of other flows in the same run directory."""
        found = record_files.records_in(self._files.directory)
        return (record for stem, record in found.items() if stem != self._files.stem)

    def _of_others(self) -> set[str]:
        """Return what other flows have made in the same run directory."""
        return {name for record in self._others() for name in own_names(record)}

    def _run_dirs_within(self) -> list[str]:
        """Return the run directories of a build's flows, each of which clears its own."""
        told = record_files.read_journal(self._files.journal)
        return self._within((*told, *(self._earlier.flows if self._earlier is not None else ())))

    def _within(self, flows: Iterable[Record]) -> list[str]:
        within = (os.path.join(self._root, flow.run_dir) for flow in flows)
        return [folder for folder in within if Path(folder) != self._files.directory]

    def _delete(self, names: Iterable[str]) -> None:
        _remove(self._files.directory, names)

    def _drop_leftovers_of_ours(self) -> None:
        """Delete our temporary files that a killed process left incomplete."""
        ours = self._files.names
        for path in self._files.directory.glob(".*.tmp"):
            if atomic.is_temporary(path.name, ours):
                path.unlink(missing_ok=True)


def _is_running(record: Record) -> bool:
    return record.owner is not None and instance_lock.is_alive(record.owner)


class Shelf:
    """The earlier good runs of an instance in `.earlier`, the latest under the name of its run directory.

    Args:
        files: The files of the instance.
        root: The project root.
    """

    def __init__(self, files: RunFiles, root: str | Path) -> None:
        self._files = files
        self._root = root
        base, name = layout.place_of_earlier(files, root)
        self._base, self._name = base / layout.EARLIER, name

    @property
    def latest(self) -> str:
        """The folder of the latest run, as in records, if it is there or being moved there; else empty."""
        there = self.record() or self.moving
        return layout.display_path(self._generation(1).directory, self._root) if there is not None else ""

    def record(self, number: int = 1) -> Record | None:
        """Return the record of the latest run (1), or of the run before it (2), and so on."""
        return record_files.read_record(self._generation(number).record)[0]

    def stems(self) -> list[str]:
        """Return the stems of the flows that have an earlier run."""
        folders = (self._generation(1).directory, self._staging.directory)
        return sorted({stem for folder in folders for stem in record_files.records_in(folder)})

    @property
    def moving(self) -> Record | None:
        """The record of a run that is being moved here."""
        return record_files.read_record(self._staging.record)[0]

    def announce(self, record: Record) -> None:
        """Note that a run will be moved here; until then its files stay where they are."""
        _make_folder(self._staging.directory)
        record_files.write_record(self._staging, record)

    def forget(self) -> None:
        """Discard the announced run."""
        self._drop(self._staging)

    def take(self, names: Iterable[str], generations: int) -> None:
        """Move an announced run here from its run directory, and those before it one place further.

        Args:
            names: What it made there.
            generations: Number of places.
        """
        self._fetch(names)
        self._drop_from(generations)
        for number in range(generations, 1, -1):
            self._shift(self._generation(number - 1), self._generation(number))
        self._shift(self._staging, self._generation(1))
        self._remove_empty_folders(generations)

    def exchange(self, names: Iterable[str]) -> None:
        """Exchange the latest run and the announced one, which is in the run directory."""
        self._fetch(names)
        self._bring_back(self._generation(1))
        self._shift(self._staging, self._generation(1))
        self._remove_empty_folders(1)

    def names_back(self) -> list[str]:
        """Return the files and folders that are restored with the latest run."""
        moving, latest = self.moving, self.record()
        record, found = (moving, self._staging) if moving is not None else (latest, self._generation(1))
        names = own_names(record) if record is not None else ()
        return [name for name in names if os.path.lexists(found.directory / name)]

    def finish(self, current: Record | None) -> None:
        """Complete what a killed process had begun in restoring the latest run.

        Args:
            current: The record in the run directory.
        """
        if current is None or not current.status.good:
            return
        if self.record() == current:
            self._bring_back(self._generation(1))
        if self.moving == current:
            self._bring_back(self._staging)
        elif self.record() is None:
            self._shift(self._staging, self._generation(1))

    def give_back(self) -> None:
        """Move the latest run back to its run directory, which is clear, and shift those before it."""
        self._bring_back(self._generation(1))
        number = 1
        while self.record(number + 1) is not None:
            self._shift(self._generation(number + 1), self._generation(number))
            number += 1
        self._remove_empty_folders(number)

    def _fetch(self, names: Iterable[str]) -> None:
        """Move the files of an announced run out of its run directory."""
        source, target = self._files.directory, self._staging.directory
        _move(source, target, names)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(self._files.config, self._staging.config)  # the next run overwrites the original
        _move(source, target, _ours(self._files))

    def _generation(self, number: int) -> RunFiles:
        base = self._base if number == 1 else self._base / f".{number}"
        return replace(self._files, directory=Path(os.path.normpath(base / self._name)))

    @property
    def _staging(self) -> RunFiles:
        return replace(self._files, directory=Path(os.path.normpath(self._base / _MOVING / self._name)))

    def _shift(self, source: RunFiles, target: RunFiles) -> None:
        """Move a whole run, its record last, so that a move that was cut off is found and completed."""
        record, _ = record_files.read_record(source.record)
        if record is None:
            return
        _make_folder(target.directory)
        _move(source.directory, target.directory, own_names(record))
        _move(source.directory, target.directory, [source.config.name, *_ours(source)])
        _move(source.directory, target.directory, [source.record.name])

    def _bring_back(self, source: RunFiles) -> None:
        """Move a whole run to the run directory: write its record there first, delete it here last."""
        record, _ = record_files.read_record(source.record)
        if record is None:
            return
        record_files.write_record(self._files, record)
        target = self._files.directory
        _move(source.directory, target, own_names(record))
        _move(source.directory, target, [source.config.name, *_ours(source)])
        source.record.unlink()

    def clear(self) -> None:
        """Delete all earlier runs of the instance."""
        self._drop(self._staging)
        self._drop_from(1)

    def _drop_from(self, number: int) -> None:
        """Delete a run that is here, and those before it: more may have been kept than are now."""
        while self.record(number) is not None:
            self._drop(self._generation(number))
            _remove_empty(self._generation(number).directory, self._base.parent)
            number += 1

    def _drop(self, files: RunFiles) -> None:
        """Delete a run that is here."""
        record, _ = record_files.read_record(files.record)
        if record is not None:
            _remove(files.directory, own_names(record))
            _remove(files.directory, [files.config.name, *_ours(files), files.record.name])

    def _remove_empty_folders(self, generations: int) -> None:
        """Remove the empty folders of all runs."""
        runs = [self._generation(number) for number in range(1, generations + 2)]
        for files in (self._staging, *runs):
            _remove_empty(files.directory, self._base.parent)


def _ours(files: RunFiles) -> Iterator[str]:
    """Return the names of our files that move with the outputs of a run, except config and record."""
    return (path.name for path in (files.notebook, files.html, files.log))


def _move(source: Path, target: Path, names: Iterable[str]) -> None:
    """Move files to the same names in another folder, and create folders there."""
    names = set(names)
    for name in sorted(name for name in names if not name.endswith("/")):
        if _is_file_or_link(source / name):
            _make_folder((target / name).parent)
            _move_file(source / name, target / name)
    for name in sorted(name for name in names if name.endswith("/")):
        if (source / name).is_dir():
            _make_folder(target / name)
    _remove(source, (name for name in names if name.endswith("/")))


def _move_file(source: Path, target: Path) -> None:
    """Move a file, a link, a pipe or a socket."""
    if source.is_symlink() or source.is_file():
        shutil.move(source, target)
        return
    try:
        source.replace(target)
    except OSError:  # it cannot move to another disk, and holds nothing
        source.unlink(missing_ok=True)


def _ways_to(name: str) -> list[str]:
    """Return a path and the folders that lead to it, without a final `/`."""
    parts = name.rstrip("/").split("/")
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _make_folder(folder: Path) -> None:
    """Create a folder and those above it, while other workers remove empty ones that they share with it."""
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def _remove_empty(folder: Path, top: Path) -> None:
    """Delete an empty folder, and the empty folders around it, up to another one."""
    while folder != top and folder.is_relative_to(top):
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            break
        folder = folder.parent


def _is_file_or_link(path: Path) -> bool:
    """Return whether something other than a folder exists: a former file may be another's folder now."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir())


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Delete files, and those of the folders that are empty then."""
    names = set(names)
    for name in names:
        if not name.endswith("/") and _is_file_or_link(folder / name):
            (folder / name).unlink(missing_ok=True)
    for name in sorted((name for name in names if name.endswith("/")), reverse=True):  # deepest first
        shutil.rmtree(folder / name / "__pycache__", ignore_errors=True)
        with contextlib.suppress(OSError):  # another's file is in it
            (folder / name).rmdir()


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
        _remove_empty((place / name).parent, base)


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


def clear_replay(files: RunFiles) -> None:
    """Empty the run directory of a replay: an old output could pass for one of the next replay."""
    if files.directory.exists():
        shutil.rmtree(files.directory)
