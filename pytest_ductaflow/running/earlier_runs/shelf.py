"""Keep the earlier good runs of an instance in `runs/.earlier`, under the name of its run directory.

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
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ...core.record import Record
from ...core.run_directory import layout, record_files
from ...core.run_directory.layout import RunFiles
from .move_files import make_folder, move, remove, remove_empty

_MOVING = ".moving"  # beside the steps in `.earlier`: runs that are being moved there
_UP = ("..", "/")


def own_names(record: Record) -> set[str]:
    """Return what an instance made in its run directory, not what it only changed or made elsewhere."""
    outputs = {name for name in record.outputs if not name.startswith(_UP) and not os.path.isabs(name)}
    return (outputs - set(record.altered)) | set(record.made)


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
        make_folder(self._staging.directory)
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
        move(source, target, names)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(self._files.config, self._staging.config)  # the next run overwrites the original
        move(source, target, _ours(self._files))

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
        make_folder(target.directory)
        move(source.directory, target.directory, own_names(record))
        move(source.directory, target.directory, [source.config.name, *_ours(source)])
        move(source.directory, target.directory, [source.record.name])

    def _bring_back(self, source: RunFiles) -> None:
        """Move a whole run to the run directory: write its record there first, delete it here last."""
        record, _ = record_files.read_record(source.record)
        if record is None:
            return
        record_files.write_record(self._files, record)
        target = self._files.directory
        move(source.directory, target, own_names(record))
        move(source.directory, target, [source.config.name, *_ours(source)])
        source.record.unlink()

    def clear(self) -> None:
        """Delete all earlier runs of the instance."""
        self._drop(self._staging)
        self._drop_from(1)

    def _drop_from(self, number: int) -> None:
        """Delete a run that is here, and those before it: more may have been kept than are now."""
        while self.record(number) is not None:
            self._drop(self._generation(number))
            remove_empty(self._generation(number).directory, self._base.parent)
            number += 1

    def _drop(self, files: RunFiles) -> None:
        """Delete a run that is here."""
        record, _ = record_files.read_record(files.record)
        if record is not None:
            remove(files.directory, own_names(record))
            remove(files.directory, [files.config.name, *_ours(files), files.record.name])

    def _remove_empty_folders(self, generations: int) -> None:
        """Remove the empty folders of all runs."""
        runs = [self._generation(number) for number in range(1, generations + 2)]
        for files in (self._staging, *runs):
            remove_empty(files.directory, self._base.parent)


def _ours(files: RunFiles) -> Iterator[str]:
    """Return the names of our files that move with the outputs of a run, except config and record."""
    return (path.name for path in (files.notebook, files.html, files.log))
